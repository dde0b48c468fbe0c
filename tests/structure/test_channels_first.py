"""The structure of functions whose images have their channels first; they are traced, for no CPU runs them."""

import numpy as np
import pytest
import tensorflow as tf

from helpers.specimen import drawn, without
from tfx_pruning.structure.groups import PINNED
from tfx_pruning.structure.live_function import trace_function
from tfx_pruning.structure.liveness import live_units

_LAYOUTS = {"NCHW": (None, 3, 6, 6), "NHWC": (None, 6, 6, 3)}


def _shrunk(call, weights, layout):
    """The trace of a function of images, and the shapes that are left of its weights."""
    variables = {name: tf.Variable(value) for name, value in weights.items()}
    function = tf.function(lambda x: call(variables, x, layout)).get_concrete_function(tf.TensorSpec(_LAYOUTS[layout]))
    trace = trace_function(function, list(variables.values()))
    alive = live_units(trace)
    shapes = {}
    for place, name in enumerate(weights):
        axes = zip(weights[name].shape, trace.holders[place].axes, strict=True)
        shapes[name] = tuple(size if axis is None else int(alive[axis].sum()) for size, axis in axes)
    return trace, shapes


def _image(x, layout):
    return [2, 3] if layout == "NCHW" else [1, 2]


def _normalized(w, x, layout):
    x = tf.nn.conv2d(x, w["a"], 1, "SAME", layout)
    x = tf.nn.bias_add(x, w["ba"], layout)
    x = tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=w["gamma"],
        offset=w["beta"],
        mean=w["mean"],
        variance=w["variance"],
        is_training=False,
        data_format=layout,
    )[0]
    x = tf.nn.max_pool2d(tf.nn.relu(x), 2, 2, "SAME", layout)
    x = tf.nn.conv2d(x, w["b"], 1, "VALID", layout)
    return tf.reduce_mean(x, _image(x, layout))


def _depthwise(w, x, layout):
    x = tf.nn.conv2d(x, w["a"], 1, "SAME", layout)
    x = tf.nn.relu(tf.nn.depthwise_conv2d(x, w["d"], [1, 1, 1, 1], "SAME", layout))
    return tf.reduce_mean(tf.nn.conv2d(x, w["b"], 1, "VALID", layout), _image(x, layout))


def _flattened(w, x, layout):
    x = tf.nn.avg_pool2d(tf.nn.conv2d(x, w["a"], 1, "SAME", layout), 3, 3, "VALID", layout)
    return tf.reshape(x, [-1, 2 * 2 * 5]) @ w["b"]


@pytest.mark.parametrize("layout", _LAYOUTS)
def test_units_die_by_channel(layout):
    weights = {
        "a": without(drawn(3, 3, 3, 8), 3, 0),  # a constant
        "ba": np.abs(drawn(8)),
        "gamma": without(drawn(8), 0, 1),  # what is multiplied by 0
        "beta": np.abs(drawn(8)),
        "mean": drawn(8),
        "variance": np.abs(drawn(8)),
        "b": without(drawn(1, 1, 8, 4), 2, 2),  # not read
    }
    trace, shapes = _shrunk(_normalized, weights, layout)
    assert shapes == {
        "a": (3, 3, 3, 5),
        **dict.fromkeys(("ba", "gamma", "beta", "mean", "variance"), (5,)),
        "b": (1, 1, 5, 4),
    }
    # What goes in and what comes out is never cut.
    assert set(trace.groups.of(trace.holders[0].axes[2])) == {PINNED}
    assert set(trace.groups.of(trace.holders[6].axes[3])) == {PINNED}
    # 6 by 6 places of 9 taps, then 3 by 3 of one, all for 8 channels.
    (call,) = trace.roots
    assert [
        np.prod([np.size(each) if isinstance(each, np.ndarray) else each for each in cost]) for cost in call.costs
    ] == [
        36 * 9 * 3 * 8,
        9 * 8 * 4,
    ]


@pytest.mark.parametrize("layout", _LAYOUTS)
def test_a_constant_under_padding_stays(layout):
    weights = {"a": without(drawn(3, 3, 3, 6), 3, 0), "d": without(drawn(3, 3, 6, 1), 2, 1), "b": drawn(1, 1, 6, 4)}
    # Both are 0, whatever the input is, and 0 is a constant at the border too.
    assert _shrunk(_depthwise, weights, layout)[1] == {"a": (3, 3, 3, 4), "d": (3, 3, 4, 1), "b": (1, 1, 4, 4)}

    def shifted(w, x, layout):
        x = tf.nn.bias_add(tf.nn.conv2d(x, w["a"], 1, "SAME", layout), tf.ones(6), layout)
        x = tf.nn.depthwise_conv2d(x, w["d"], [1, 1, 1, 1], "SAME", layout)
        return tf.reduce_mean(tf.nn.conv2d(x, w["b"], 1, "VALID", layout), _image(x, layout))

    # Unit 0 is 1 inside and less at the border; unit 1 is multiplied by 0.
    assert _shrunk(shifted, weights, layout)[1] == {"a": (3, 3, 3, 5), "d": (3, 3, 5, 1), "b": (1, 1, 5, 4)}


@pytest.mark.parametrize(("layout", "rows"), [("NCHW", slice(4, 8)), ("NHWC", slice(1, None, 5))])
def test_a_channel_is_the_rows_that_flatten_makes_of_it(layout, rows):
    kernel = drawn(20, 2)
    kernel[rows] = 0  # channel 1, at all 2 by 2 places
    weights = {"a": drawn(3, 3, 3, 5), "b": kernel}
    assert _shrunk(_flattened, weights, layout)[1] == {"a": (3, 3, 3, 4), "b": (16, 2)}


@pytest.mark.parametrize(("layout", "rows"), [("NHWC", slice(4, 8)), ("NCHW", slice(1, None, 5))])
def test_rows_of_the_other_layout_are_no_channel(layout, rows):
    kernel = drawn(20, 2)
    kernel[rows] = 0
    weights = {"a": drawn(3, 3, 3, 5), "b": kernel}
    assert _shrunk(_flattened, weights, layout)[1] == {"a": (3, 3, 3, 5), "b": (20, 2)}
