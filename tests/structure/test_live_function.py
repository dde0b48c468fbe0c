"""The structure of functions that are traced in this process."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning.structure.groups import PINNED
from tfx_pruning.structure.live_function import trace_function
from tfx_pruning.structure.liveness import live_units


def _tied(trace, one, other) -> bool:
    """Whether two axes, each of a variable and its number, are tied index by index."""
    (first, axis), (second, at) = one, other
    groups = trace.groups.of(trace.holders[first].axes[axis])
    return groups.tolist() == trace.groups.of(trace.holders[second].axes[at]).tolist()


def _groups(trace, variable, axis):
    return trace.groups.of(trace.holders[variable].axes[axis])


def test_a_channel_is_tied_from_its_producer_to_its_consumers():
    layers = keras.layers
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(6, 3, padding="same", name="first")(x)
    y = layers.ReLU()(layers.BatchNormalization(name="norm")(y))
    z = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(y)
    z = layers.Conv2D(6, 1, use_bias=False, name="branch")(z)
    y = layers.Flatten()(layers.Add()([y, z]))
    model = keras.Model(x, layers.Dense(4, name="head")(y))
    variables = [weight.value for weight in model.weights]
    names = [weight.path for weight in model.weights]
    function = tf.function(lambda x: model(x, training=False))
    trace = trace_function(function.get_concrete_function(tf.TensorSpec([None, 8, 8, 3])), variables)

    kernel = names.index("first/kernel"), 3
    for name, axis in {
        "first/bias": 0,
        "norm/gamma": 0,
        "norm/beta": 0,
        "norm/moving_mean": 0,
        "norm/moving_variance": 0,
        "depthwise/kernel": 2,
        "branch/kernel": 3,
    }.items():
        assert _tied(trace, kernel, (names.index(name), axis)), name
    # The inputs of 'branch' are those of the depthwise convolution, and so of all.
    assert _tied(trace, kernel, (names.index("branch/kernel"), 2))
    assert len(set(_groups(trace, *kernel))) == 6
    # A channel is a run of rows of the last kernel, which the image's 64 places make.
    rows = _groups(trace, names.index("head/kernel"), 0)
    assert rows.tolist() == _groups(trace, *kernel).tolist() * 64
    # What goes in and what comes out is never cut.
    assert set(_groups(trace, names.index("first/kernel"), 2)) == {PINNED}
    assert set(_groups(trace, names.index("head/kernel"), 1)) == {PINNED}


def test_functions_in_functions_are_followed():
    kernels = [tf.Variable(np.ones(shape, np.float32)) for shape in ((3, 4), (4, 5), (5, 2))]

    @tf.function
    def hidden(x, kernel):
        return tf.nn.relu(x @ kernel)

    @tf.function(input_signature=[tf.TensorSpec([None, 3])])
    def forward(x):
        return hidden(hidden(x, kernels[0]), kernels[1]) @ kernels[2]

    trace = trace_function(forward.get_concrete_function(), kernels)
    assert _tied(trace, (0, 1), (1, 0))
    assert _tied(trace, (1, 1), (2, 0))
    assert not set(_groups(trace, 0, 1)) & set(_groups(trace, 1, 1))
    assert live_units(trace)[trace.holders[0].axes[1]].all()


@pytest.mark.parametrize("dead", [0, 2])
def test_values_are_those_that_variables_have_now(dead):
    kernels = [tf.Variable(np.ones(shape, np.float32)) for shape in ((3, 4), (4, 2))]
    forward = tf.function(lambda x: tf.nn.relu(x @ kernels[0]) @ kernels[1])
    concrete = forward.get_concrete_function(tf.TensorSpec([None, 3]))
    value = np.ones((4, 2), np.float32)
    value[dead] = 0
    kernels[1].assign(value)
    trace = trace_function(concrete, kernels)
    alive = live_units(trace)[trace.holders[0].axes[1]]
    assert alive.tolist() == [unit != dead for unit in range(4)]
