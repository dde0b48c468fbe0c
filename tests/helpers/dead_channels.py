"""Models of images with channels that were killed by hand."""

import numpy as np
import tensorflow as tf

from helpers.specimen import Specimen, adding_to, drawn, without

CHANNELS: dict[str, Specimen] = {}
_add = adding_to(CHANNELS)


def _conv(w, x, padding, activation=tf.nn.relu):
    x = activation(tf.nn.bias_add(tf.nn.conv2d(x, w["a"], 1, "SAME"), w["ba"]))
    return tf.reduce_mean(tf.nn.conv2d(x, w["b"], 1, padding), [1, 2])


_IMAGE = (None, 6, 6, 3)


def _conv_weights(size: int) -> dict[str, np.ndarray]:
    # Unit 1 is the constant 0, unit 2 one above 0, unit 3 is not read.
    ba = np.abs(drawn(8))
    ba[1] = -1.0
    b = without(drawn(size, size, 8, 4), 2, 3)
    return {"a": without(drawn(3, 3, 3, 8), 3, 1, 2), "ba": ba, "b": b}


@_add
def _conv_same_keeps_a_constant() -> Specimen:
    after = {"a": (3, 3, 3, 6), "ba": (6,), "b": (3, 3, 6, 4)}
    return Specimen(_conv_weights(3), lambda w, x: _conv(w, x, "SAME"), _IMAGE, after)


@_add
def _conv_valid() -> Specimen:
    after = {"a": (3, 3, 3, 5), "ba": (5,), "b": (3, 3, 5, 4)}
    return Specimen(_conv_weights(3), lambda w, x: _conv(w, x, "VALID"), _IMAGE, after)


@_add
def _conv_same_of_one_place() -> Specimen:
    after = {"a": (3, 3, 3, 5), "ba": (5,), "b": (1, 1, 5, 4)}
    return Specimen(_conv_weights(1), lambda w, x: _conv(w, x, "SAME"), _IMAGE, after)


@_add
def _conv_of_a_padded_constant() -> Specimen:
    def call(w, x):
        x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, w["a"], 1, "SAME"), w["ba"]))
        x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
        return tf.reduce_mean(tf.nn.conv2d(x, w["b"], 1, "VALID"), [1, 2])

    return Specimen(_conv_weights(3), call, _IMAGE, {"a": (3, 3, 3, 6), "ba": (6,), "b": (3, 3, 6, 4)})


@_add
def _conv_explicit_padding() -> Specimen:
    padding = [[0, 0], [1, 0], [0, 0], [0, 0]]
    after = {"a": (3, 3, 3, 6), "ba": (6,), "b": (3, 3, 6, 4)}
    return Specimen(_conv_weights(3), lambda w, x: _conv(w, x, padding), _IMAGE, after)


@_add
def _pools_and_flatten() -> Specimen:
    d = drawn(2 * 2 * 8, 3)
    d[[3 + 8 * place for place in range(4)]] = 0  # channel 3 is read nowhere
    d[4] = 0  # channel 4 at one place is not, at others it is

    def call(w, x):
        x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, w["a"], 1, "SAME"), w["ba"]))
        x = tf.nn.avg_pool2d(tf.nn.max_pool2d(x, 3, 2, "SAME"), 2, 1, "VALID")
        return tf.reshape(x, [-1, 2 * 2 * 8]) @ w["d"]

    weights = {"a": without(drawn(3, 3, 3, 8), 3, 2), "ba": np.abs(drawn(8)), "d": d}
    return Specimen(weights, call, _IMAGE, {"a": (3, 3, 3, 6), "ba": (6,), "d": (2 * 2 * 6, 3)})


@_add
def _flatten_of_an_asked_shape() -> Specimen:
    def call(w, x):
        x = tf.nn.conv2d(x, w["a"], 2, "VALID")
        x = tf.reshape(x, tf.stack([tf.shape(x)[0], 2 * 2 * 4]))
        return x @ w["b"]

    b = without(drawn(16, 3), 0, *range(1, 16, 4))
    return Specimen({"a": drawn(3, 3, 3, 4), "b": b}, call, _IMAGE, {"a": (3, 3, 3, 3), "b": (12, 3)})


@_add
def _dense_to_image() -> Specimen:
    # Dense, Reshape to an image, transposed convolution: a channel is a run of columns of the first kernel.
    def call(w, x):
        x = tf.nn.relu(tf.reshape(x @ w["a"], [-1, 2, 2, 5]))
        x = tf.nn.conv2d_transpose(x, w["b"], tf.stack([tf.shape(x)[0], 4, 4, 6]), 2, "SAME")
        return tf.reduce_max(tf.nn.relu(x), [1, 2]) @ w["c"]

    weights = {"a": drawn(6, 20), "b": without(drawn(3, 3, 6, 5), 3, 1), "c": without(drawn(6, 2), 0, 2, 3)}
    return Specimen(weights, call, (None, 6), {"a": (6, 16), "b": (3, 3, 4, 4), "c": (4, 2)})


@_add
def _conv1d() -> Specimen:
    weights = {"a": without(drawn(3, 4, 6), 2, 1), "b": without(drawn(1, 6, 5), 1, 2), "c": drawn(5, 2)}
    return Specimen(
        weights,
        lambda w, x: (
            tf.reduce_mean(tf.nn.conv1d(tf.nn.relu(tf.nn.conv1d(x, w["a"], 2, "SAME")), w["b"], 1, "VALID"), 1) @ w["c"]
        ),
        (None, 9, 4),
        {"a": (3, 4, 4), "b": (1, 4, 5)},
    )


@_add
def _conv3d() -> Specimen:
    weights = {"a": drawn(2, 2, 2, 2, 6), "b": without(drawn(1, 1, 1, 6, 3), 3, 0, 4)}
    return Specimen(
        weights,
        lambda w, x: tf.reduce_mean(
            tf.nn.conv3d(
                tf.nn.max_pool3d(tf.nn.conv3d(x, w["a"], [1] * 5, "SAME"), 2, 2, "VALID"), w["b"], [1] * 5, "VALID"
            ),
            [1, 2, 3],
        ),
        (None, 4, 4, 4, 2),
        {"a": (2, 2, 2, 2, 4), "b": (1, 1, 1, 4, 3)},
    )


@_add
def _depthwise() -> Specimen:
    def call(w, x):
        x = tf.nn.relu(tf.nn.conv2d(x, w["a"], 1, "SAME"))
        x = tf.nn.relu(tf.nn.bias_add(tf.nn.depthwise_conv2d(x, w["d"], [1, 1, 1, 1], "SAME"), w["bd"]))
        return tf.reduce_mean(tf.nn.conv2d(x, w["p"], 1, "SAME"), [1, 2])

    weights = {
        "a": without(drawn(3, 3, 3, 6), 3, 0),
        "d": without(drawn(3, 3, 6, 1), 2, 1),
        "bd": np.abs(drawn(6)),
        "p": without(drawn(1, 1, 6, 4), 2, 2),
    }
    after = {"a": (3, 3, 3, 3), "d": (3, 3, 3, 1), "bd": (3,), "p": (1, 1, 3, 4)}
    return Specimen(weights, call, _IMAGE, after)


@_add
def _depthwise_to_two() -> Specimen:
    # Channel 1 is read through one of its two, channel 2 through none.
    weights = {"a": drawn(3, 3, 3, 4), "d": drawn(3, 3, 4, 2), "p": without(drawn(1, 1, 8, 3), 2, 2, 4, 5)}
    return Specimen(
        weights,
        lambda w, x: tf.reduce_mean(
            tf.nn.separable_conv2d(tf.nn.conv2d(x, w["a"], 1, "SAME"), w["d"], w["p"], [1] * 4, "VALID"), [1, 2]
        ),
        _IMAGE,
        {"a": (3, 3, 3, 3), "d": (3, 3, 3, 2), "p": (1, 1, 6, 3)},
    )


def _normalized(w, x, fused):
    x = tf.nn.conv2d(x, w["a"], 1, "SAME")
    if fused:
        x = tf.compat.v1.nn.fused_batch_norm(x, w["gamma"], w["beta"], w["mean"], w["variance"], is_training=False)[0]
    else:
        x = tf.nn.batch_normalization(x, w["mean"], w["variance"], w["beta"], w["gamma"], 1e-3)
    return tf.reduce_max(tf.nn.relu(x), [1, 2]) @ w["b"]


for _fused in (True, False):
    CHANNELS["fused_batch_norm" if _fused else "primitive_batch_norm"] = Specimen(
        {
            "a": without(drawn(3, 3, 3, 7), 3, 0),  # a constant that is no 0
            "gamma": without(drawn(7), 0, 1),  # what is multiplied by 0
            "beta": np.abs(drawn(7)),
            "mean": drawn(7),
            "variance": np.abs(drawn(7)),
            "b": without(drawn(7, 2), 0, 2),
        },
        lambda w, x, fused=_fused: _normalized(w, x, fused),
        _IMAGE,
        {"a": (3, 3, 3, 4), "gamma": (4,), "beta": (4,), "mean": (4,), "variance": (4,), "b": (4, 2)},
    )


@_add
def _conv_bias_squeezed_to_one() -> Specimen:
    # As Keras adds it: reshaped to [1, 1, 1, n], and squeezed.
    def call(w, x):
        x = tf.nn.conv2d(x, w["a"], 1, "SAME")
        x = tf.nn.bias_add(x, tf.squeeze(tf.reshape(w["ba"], [1, 1, 1, 8]), [0, 1, 2]))
        return tf.reduce_mean(tf.nn.relu(x), [1, 2]) @ w["b"]

    weights = {"a": drawn(3, 3, 3, 8), "ba": drawn(8), "b": without(drawn(8, 2), 0, *range(7))}
    return Specimen(weights, call, _IMAGE, {"a": (3, 3, 3, 1), "ba": (1,), "b": (1, 2)})


@_add
def _upsampled() -> Specimen:
    def call(w, x):
        x = tf.image.resize(tf.nn.relu(tf.nn.conv2d(x, w["a"], 1, "SAME")), [12, 12])
        x = tf.image.resize(x, [9, 9], "nearest")
        x = tf.pad(x, [[0, 0], [1, 1], [0, 0], [0, 0]], "REFLECT")
        return tf.reduce_mean(tf.nn.conv2d(x, w["b"], 1, "VALID"), [1, 2])

    weights = {"a": without(drawn(3, 3, 3, 6), 3, 2), "b": without(drawn(3, 3, 6, 2), 2, 0)}
    return Specimen(weights, call, _IMAGE, {"a": (3, 3, 3, 4), "b": (3, 3, 4, 2)})


@_add
def _dilated_convolution() -> Specimen:
    def call(w, x):
        x = tf.nn.relu(tf.nn.conv1d(x, w["a"], 1, "SAME"))
        x = tf.nn.conv1d(x, w["b"], 1, "VALID", dilations=2)
        return tf.reduce_max(x, 1) @ w["c"]

    weights = {
        "a": drawn(3, 4, 6),
        "b": without(drawn(3, 6, 5), 1, 2),
        "c": without(drawn(5, 2), 0, 0, 4),
    }
    return Specimen(weights, call, (None, 12, 4), {"a": (3, 4, 5), "b": (3, 5, 3), "c": (3, 2)})
