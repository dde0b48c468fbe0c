"""Channels: which indices go together, and what is left without them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_pruning.structure.channels import NONE, channels_of
from tfx_pruning.structure.live_function import trace_function


def channels(model, shape, **choice):
    """The channels of a Keras model, and its weights' names; weights are holders by their places."""
    variables = [weight.value for weight in model.weights]
    forward = tf.function(lambda x: model(x, training=False))
    trace = trace_function(forward.get_concrete_function(tf.TensorSpec([None, *shape])), variables)
    trained = [place for place, weight in enumerate(model.weights) if weight.trainable]
    names = ["/".join(weight.path.split("/")[-2:]) for weight in model.weights]
    places = {option: [names.index(name) for name in given] for option, given in choice.items()}
    return channels_of(trace, trained, **{"made_by": trained, **places}), names


def convolutional():
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Conv2D(4, 3, name="first"),
            layers.BatchNormalization(name="norm"),
            layers.Conv2D(5, 3, name="second"),
            layers.Flatten(),
            layers.Dense(3, name="hidden", activation="relu"),
            layers.Dense(2, name="head"),
        ]
    )


def test_channels_run_through_all_that_belongs_to_them():
    found, names = channels(convolutional(), (6, 6, 1))
    assert found.count == 4 + 5 + 3
    assert found.family.tolist() == [0] * 4 + [1] * 5 + [2] * 3
    axes = {
        names[place]: [None if axis is None else axis.tolist() for axis in each] for place, each in found.axes.items()
    }
    first, second, hidden = list(range(4)), list(range(4, 9)), list(range(9, 12))
    assert axes == {
        "first/kernel": [None, None, None, first],
        "first/bias": [first],
        "norm/gamma": [first],
        "norm/beta": [first],
        "second/kernel": [None, None, first, second],
        "second/bias": [second],
        "hidden/kernel": [second * 4, hidden],  # 2 x 2 places
        "hidden/bias": [hidden],
        "head/kernel": [hidden, None],
    }


def test_what_is_left_by_hand():
    found, _ = channels(convolutional(), (6, 6, 1))
    kept = np.array([2, 4, 1])
    kernels = 9 * 1 * 2 + 9 * 2 * 4 + (4 * 4) * 1 + 1 * 2
    vectors = 2 + 2 + 2 + 4 + 1
    assert found.total(found.parameters, kept) == kernels + vectors
    assert found.total(found.parameters) == 9 * 4 + 9 * 4 * 5 + 20 * 3 + 3 * 2 + 3 * 4 + 5 + 3
    assert found.total(found.multiply_adds, kept) == 16 * 9 * 2 + 4 * 9 * 2 * 4 + 16 * 1 + 1 * 2
    assert found.total(found.multiply_adds) == 16 * 9 * 4 + 4 * 9 * 4 * 5 + 20 * 3 + 3 * 2


def test_a_frozen_weight_keeps_all_its_channels():
    found, names = channels(convolutional(), (6, 6, 1), frozen=["second/kernel"])
    assert {names[place] for place in found.axes} == {"hidden/kernel", "hidden/bias", "head/kernel"}
    # The rows of the kernel are the channels of the frozen one.
    rows, columns = found.axes[names.index("hidden/kernel")]
    assert rows is None
    assert columns.tolist() == [0, 1, 2]


def test_channels_are_those_that_the_named_weights_make():
    found, names = channels(convolutional(), (6, 6, 1), made_by=["second/kernel"])
    assert found.count == 5
    assert {names[place] for place in found.axes} == {"second/kernel", "second/bias", "hidden/kernel"}


def test_branches_of_a_sum_and_of_a_concatenation():
    layers = keras.layers
    x = keras.Input((8,))
    one, other = layers.Dense(3, name="one")(x), layers.Dense(3, name="other")(x)
    wide = layers.Dense(2, name="wide")(x)
    y = layers.Concatenate()([layers.Add()([one, other]), wide])
    found, names = channels(keras.Model(x, layers.Dense(1, name="head")(y)), (8,))
    assert found.axes[names.index("one/kernel")][1].tolist() == found.axes[names.index("other/kernel")][1].tolist()
    assert found.axes[names.index("head/kernel")][0].tolist() == [0, 1, 2, 3, 4]
    assert found.family.tolist() == [0, 0, 0, 1, 1]


def test_channels_that_cost_different_numbers_are_no_family():
    layers = keras.layers
    x = keras.Input((8,))
    y = layers.Dense(4, name="hidden")(x)
    # The first two units are read twice.
    z = layers.Concatenate()([y, y[:, :2]])
    found, _ = channels(keras.Model(x, layers.Dense(1)(z)), (8,))
    assert found.family.tolist() == [0, 0, 1, 1]
    assert found.total(found.parameters) - found.total(found.parameters, np.array([1, 2])) == 8 + 1 + 2
    assert found.total(found.parameters) - found.total(found.parameters, np.array([2, 1])) == 8 + 1 + 1


def test_a_model_of_one_layer_has_no_channels():
    found, _ = channels(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]), (4,))
    assert found.count == 0
    assert found.axes == {}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(2, 5), min_size=1, max_size=4), st.booleans(), st.data())
def test_the_total_is_what_masks_leave(widths, residual, data):
    x = keras.Input((3,))
    y = x
    for width in widths:
        y = keras.layers.Dense(width)(y)
        if residual:
            y = keras.layers.Add()([y, keras.layers.Dense(width, activation="relu")(y)])
    found, _ = channels(keras.Model(x, keras.layers.Dense(2)(y)), (3,))
    alive = np.array(data.draw(st.lists(st.booleans(), min_size=found.count, max_size=found.count)))
    left = 0
    for axes, product in zip(found.axes.values(), found.parameters, strict=True):
        sizes = [len(axis) if axis is not None else 1 for axis in axes]
        mask = np.ones(sizes, bool)
        for at, axis in enumerate(axes):
            if axis is not None:
                kept = np.where(axis == NONE, True, alive[axis])
                mask &= kept.reshape([-1 if each == at else 1 for each in range(len(axes))])
        left += product.factor * int(mask.sum())
    kept = np.bincount(found.family[alive], minlength=len(found.family_sizes))
    assert found.total(found.parameters, kept) == left


@pytest.mark.parametrize("width", [2, 3])
def test_indices_of_one_axis_that_are_tied_are_one_channel(width):
    kernel, head = tf.Variable(tf.ones([4, 2 * width])), tf.Variable(tf.ones([width, 1]))

    @tf.function(input_signature=[tf.TensorSpec([None, 4])])
    def gated(x):
        one, other = tf.split(x @ kernel, 2, axis=1)
        return (one * tf.sigmoid(other)) @ head

    found = channels_of(trace_function(gated.get_concrete_function(), [kernel, head]), [0, 1], made_by=[0, 1])
    assert found.axes[0][1].tolist() == [*range(width), *range(width)]
    assert found.axes[1][0].tolist() == [*range(width)]
    assert found.total(found.parameters, np.array([1])) == 4 * 2 + 1


def grouped():
    layers = keras.layers
    x = keras.Input((5, 5, 3))
    y = layers.Conv2D(6, 3, name="first")(x)
    y = layers.Conv2D(4, 3, groups=2, name="grouped")(y)
    return keras.Model(x, layers.Dense(2, name="head")(layers.Flatten()(y)))


def test_a_convolution_with_groups_makes_none_of_the_channels_that_it_reads():
    found, names = channels(grouped(), (5, 5, 3), made_by=["grouped/kernel"])
    assert {names[place] for place in found.axes} == {"grouped/kernel", "grouped/bias", "head/kernel"}


def test_a_channel_is_the_same_place_in_all_groups():
    found, names = channels(grouped(), (5, 5, 3))
    assert found.axes[names.index("first/kernel")][3].tolist() == [0, 1, 2, 0, 1, 2]
    assert found.axes[names.index("grouped/kernel")][2].tolist() == [0, 1, 2]
    assert found.axes[names.index("grouped/kernel")][3].tolist() == [3, 4, 3, 4]
    assert found.axes[names.index("head/kernel")][0].tolist() == [3, 4, 3, 4]
    # One channel of either kind: 9 places, and 2 groups of one channel.
    assert found.total(found.multiply_adds, np.array([1, 1])) == 9 * 9 * 3 * 2 + 9 * 1 * 2 + 2 * 2
    assert found.total(found.multiply_adds) == 9 * 9 * 3 * 6 + 9 * 3 * 4 + 4 * 2


def test_a_channel_is_the_same_place_in_all_heads():
    layers = keras.layers
    x = keras.Input((7, 6))
    y = layers.MultiHeadAttention(2, 3, value_dim=4, name="attention")(x, x)
    found, names = channels(keras.Model(x, layers.Dense(2, name="head")(layers.Flatten()(y))), (7, 6))
    shown = {names[place]: axes for place, axes in found.axes.items()}
    assert [
        [None if axis is None else axis.tolist() for axis in shown[name]] for name in ("key/kernel", "key/bias")
    ] == [
        [None, None, [0, 1, 2]],
        [None, [0, 1, 2]],
    ]
    (query,), (value,) = ({tuple(shown[f"{each}/kernel"][2])} for each in ("query", "value"))
    assert query == (0, 1, 2)
    assert shown["attention_output/kernel"][1].tolist() == list(value)


def test_a_recurrent_layer_reads_channels_but_has_none_of_its_own():
    layers = keras.layers
    x = keras.Input((7, 6))
    y = layers.Dense(3, name="before")(x)
    y = layers.LSTM(4, name="loop")(y)
    found, names = channels(keras.Model(x, layers.Dense(2, name="head")(y)), (7, 6))
    shown = {names[place]: axes for place, axes in found.axes.items()}
    assert set(shown) == {"before/kernel", "before/bias", "lstm_cell/kernel"}
    rows, columns = shown["lstm_cell/kernel"]
    assert (rows.tolist(), columns) == ([0, 1, 2], None)
