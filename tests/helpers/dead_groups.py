"""Models with convolutions of groups of channels, with units that were killed by hand."""

import numpy as np
import tensorflow as tf

from helpers.specimen import Specimen, drawn, without

_IMAGE = (None, 5, 5, 3)


@tf.function(jit_compile=True, autograph=False)
def _grouped(x: tf.Tensor, kernel: tf.Tensor, padding: str = "SAME") -> tf.Tensor:
    """A convolution, compiled as Keras does it, for TensorFlow's own takes no groups on every processor."""
    return tf.nn.conv2d(x, kernel, 1, padding)


def _call(w, x):
    x = tf.nn.relu(tf.nn.conv2d(x, w["a"], 1, "SAME"))
    x = tf.nn.sigmoid(tf.nn.bias_add(_grouped(x, w["g"]), w["bg"]))
    return tf.reduce_mean(x, [1, 2]) @ w["b"]


def _weights(groups: int, each: int, made: int) -> dict[str, np.ndarray]:
    channels, outputs = groups * each, groups * made
    return {
        "a": drawn(3, 3, 3, channels),
        "g": drawn(3, 3, each, outputs),
        "bg": drawn(outputs),
        "b": drawn(outputs, 2),
    }


def _after(groups: int, each: int, made: int) -> dict[str, tuple[int, ...]]:
    before, after = _weights(4, 3, 2), _weights(groups, each, made)
    return {name: value.shape for name, value in after.items() if value.shape != before[name].shape}


def _specimen(weights: dict[str, np.ndarray], after: dict[str, tuple[int, ...]]) -> Specimen:
    return Specimen(weights, _call, _IMAGE, after)


def _whole_group_is_unread() -> Specimen:
    # Four groups of 3 channels in and 2 out; of group 1 nothing is read.
    weights = _weights(4, 3, 2)
    return _specimen({**weights, "b": without(weights["b"], 0, 2, 3)}, _after(3, 3, 2))


def _whole_group_is_a_constant() -> Specimen:
    # All that goes into group 2 is 0, so that what it makes is its bias; that goes into a bias.
    weights = _weights(4, 3, 2)
    return _specimen({**weights, "a": without(weights["a"], 3, 6, 7, 8)}, _after(3, 3, 2))


def _same_places_of_all_groups() -> Specimen:
    # In each group channel 1 is not read, and what output 0 makes is not.
    weights = _weights(4, 3, 2)
    weights["g"] = without(weights["g"], 2, 1)
    weights["b"] = without(weights["b"], 0, 0, 2, 4, 6)
    return _specimen(weights, _after(4, 2, 1))


def _groups_and_places() -> Specimen:
    # Group 3 is not read; in the other groups channel 0 is a constant 0.
    weights = _weights(4, 3, 2)
    weights["b"] = without(weights["b"], 0, 6, 7)
    weights["a"] = without(weights["a"], 3, 0, 3, 6)
    return _specimen(weights, _after(3, 2, 2))


def _different_places_stay() -> Specimen:
    # As many channels of each group are dead, but not the same ones.
    weights = _weights(4, 3, 2)
    for group, place in enumerate([0, 1, 2, 0]):
        weights["g"][:, :, place, 2 * group : 2 * group + 2] = 0
    weights["b"] = without(weights["b"], 0, 0, 3, 4, 7)
    return _specimen(weights, {})


def _one_group_is_left() -> Specimen:
    weights = _weights(4, 3, 2)
    return _specimen({**weights, "b": without(weights["b"], 0, 0, 1, 4, 5, 6, 7)}, _after(1, 3, 2))


def _group_that_others_read() -> Specimen:
    # Group 1 makes nothing that is read, but the channels that it is made of are read beside it.
    def call(w, x):
        x = tf.nn.relu(tf.nn.conv2d(x, w["a"], 1, "SAME"))
        y = tf.nn.relu(_grouped(x, w["g"]))
        return tf.reduce_mean(y, [1, 2]) @ w["b"] + tf.reduce_mean(x, [1, 2]) @ w["c"]

    weights = {"a": drawn(3, 3, 3, 6), "g": drawn(3, 3, 3, 4), "b": without(drawn(4, 2), 0, 2, 3), "c": drawn(6, 2)}
    return Specimen(weights, call, _IMAGE, {})


def _residual_of_groups() -> Specimen:
    # A sum ties channels in and out of each group; channel 1 of each is dead in all uses.
    def call(w, x):
        x = tf.nn.relu(tf.nn.conv2d(x, w["a"], 1, "SAME"))
        x = x + tf.nn.relu(_grouped(x, w["g"]))
        return tf.reduce_mean(x, [1, 2]) @ w["b"]

    weights = {"a": drawn(3, 3, 3, 6), "g": without(drawn(3, 3, 3, 6), 2, 1), "b": without(drawn(6, 2), 0, 1, 4)}
    return Specimen(weights, call, _IMAGE, {"a": (3, 3, 3, 4), "g": (3, 3, 2, 4), "b": (4, 2)})


def _groups_of_one_channel() -> Specimen:
    # A depthwise convolution, two to one.
    def call(w, x):
        x = tf.nn.relu(tf.nn.conv2d(x, w["a"], 1, "SAME"))
        return tf.reduce_mean(tf.nn.relu(_grouped(x, w["g"])), [1, 2]) @ w["b"]

    weights = {"a": drawn(3, 3, 3, 5), "g": drawn(3, 3, 1, 10), "b": without(drawn(10, 2), 0, 2, 4, 5)}
    return Specimen(weights, call, _IMAGE, {"a": (3, 3, 3, 4), "g": (3, 3, 1, 8), "b": (8, 2)})


def _groups_of_constants() -> Specimen:
    # Channel 1 of each group is a constant, and nothing is padded: it goes into the bias behind.
    def call(w, x):
        x = tf.nn.sigmoid(tf.nn.bias_add(tf.nn.conv2d(x, w["a"], 1, "SAME"), w["ba"]))
        x = tf.nn.tanh(tf.nn.bias_add(_grouped(x, w["g"], "VALID"), w["bg"]))
        return tf.reduce_mean(x, [1, 2]) @ w["b"]

    weights = {**_weights(2, 3, 2), "ba": drawn(6)}
    weights["a"] = without(weights["a"], 3, 1, 4)
    return Specimen(weights, call, _IMAGE, {"a": (3, 3, 3, 4), "ba": (4,), "g": (3, 3, 2, 4)})


GROUPS = {
    "group_that_is_not_read": _whole_group_is_unread(),
    "group_of_constants": _whole_group_is_a_constant(),
    "same_places_of_all_groups": _same_places_of_all_groups(),
    "groups_and_places": _groups_and_places(),
    "different_places_of_groups_stay": _different_places_stay(),
    "one_group_is_left": _one_group_is_left(),
    "group_whose_channels_others_read": _group_that_others_read(),
    "residual_of_groups": _residual_of_groups(),
    "groups_of_one_channel": _groups_of_one_channel(),
    "constants_in_groups": _groups_of_constants(),
}
