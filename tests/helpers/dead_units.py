"""Models with units that were killed by hand, so that the right shapes are known."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

Shapes = dict[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class Specimen:
    """A model to be shrunk.

    Attributes:
        weights: Its variables, by name.
        call: What it computes of its variables and its input.
        shape: Of the input, None for the batch.
        after: The shapes of those variables that become smaller.
        dtype: Of the input.
    """

    weights: dict[str, np.ndarray]
    call: Callable[[dict[str, tf.Variable], tf.Tensor], Any]
    shape: tuple[int | None, ...]
    after: Shapes
    dtype: tf.DType = tf.float32

    def save(self, path: str) -> None:
        """Saves the model with the signature 'serving_default', from 'x' to 'y'."""
        module = tf.Module()
        for name, value in self.weights.items():
            setattr(module, name, tf.Variable(value, name=name))
        weights = {name: getattr(module, name) for name in self.weights}

        @tf.function(input_signature=[tf.TensorSpec(self.shape, self.dtype, name="x")], autograph=False)
        def serve(x):
            return {"y": self.call(weights, x)}

        tf.saved_model.save(module, path, signatures={"serving_default": serve})

    def inputs(self, batch: int = 5) -> tf.Tensor:
        """Inputs of its own, not those that Stripper draws."""
        random = np.random.default_rng(41)
        shape = [batch if size is None else size for size in self.shape]
        if self.dtype.is_integer:
            return tf.constant(random.integers(0, 7, shape), self.dtype)
        return tf.constant(random.normal(size=shape), self.dtype)


ZOO: dict[str, Specimen] = {}


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    """Random numbers, none of them near 0."""
    random = np.random.default_rng([seed, *shape])
    return (random.choice([-1.0, 1.0], shape) * random.uniform(0.2, 0.8, shape)).astype(np.float32)


def without(array: np.ndarray, axis: int, *indices: int) -> np.ndarray:
    """An array with zeros at some indices of an axis."""
    array = array.copy()
    np.moveaxis(array, axis, 0)[list(indices)] = 0
    return array


def _add(build: Callable[[], Specimen]) -> Callable[[], Specimen]:
    ZOO[build.__name__.strip("_")] = build()
    return build


def _mlp(a, ba, b, activation, after) -> Specimen:
    return Specimen(
        {"a": a, "ba": ba, "b": b},
        lambda w, x: activation(x @ w["a"] + w["ba"]) @ w["b"],
        (None, 6),
        after,
    )


def _smaller(units: int) -> Shapes:
    return {"a": (6, units), "ba": (units,), "b": (units, 3)}


@_add
def _unread() -> Specimen:
    return _mlp(drawn(6, 8), drawn(8), without(drawn(8, 3), 0, 1, 4), tf.nn.relu, _smaller(6))


@_add
def _constant_after_relu() -> Specimen:
    return _mlp(without(drawn(6, 8), 1, 0, 3, 7), drawn(8), drawn(8, 3), tf.nn.relu, _smaller(5))


def _leaky(x):
    return tf.nn.leaky_relu(x, 0.3)


for _name, _activation in {
    "sigmoid": tf.sigmoid,
    "tanh": tf.tanh,
    "softplus": tf.math.softplus,
    "elu": tf.nn.elu,
    "selu": tf.nn.selu,
    "relu6": tf.nn.relu6,
    "leaky_relu": _leaky,
    "gelu": tf.nn.gelu,
    "gelu_approximate": lambda x: tf.nn.gelu(x, approximate=True),
    "swish": tf.nn.silu,
    "hard_sigmoid": lambda x: tf.clip_by_value(x * 0.2 + 0.5, 0.0, 1.0),
    "division": lambda x: x / (1.0 + tf.abs(x)),
    "select": lambda x: tf.where(x > 0.1, x, 0.1 * x),
}.items():
    ZOO[f"constant_after_{_name}"] = _mlp(
        without(drawn(6, 8), 1, 0, 3), drawn(8), without(drawn(8, 3), 0, 5), _activation, _smaller(5)
    )


@_add
def _bias_behind_takes_the_constant() -> Specimen:
    return Specimen(
        {"a": without(drawn(6, 8), 1, 2), "ba": drawn(8), "b": drawn(8, 3), "bb": drawn(3)},
        lambda w, x: tf.nn.bias_add(tf.nn.sigmoid(tf.nn.bias_add(x @ w["a"], w["ba"])) @ w["b"], w["bb"]),
        (None, 6),
        _smaller(7),
    )


@_add
def _chain_of_the_unread() -> Specimen:
    def call(w, x):
        for name in "abcd":
            x = tf.nn.relu(x @ w[name])
        return x @ w["e"]

    weights = {"a": drawn(6, 8), "b": drawn(8, 7), "c": drawn(7, 6), "d": drawn(6, 5), "e": drawn(5, 2)}
    weights["e"] = without(weights["e"], 0, 0)
    weights["d"][1, 1:] = 0  # unit 1 of c is read by unit 0 of d alone
    weights["c"][2, np.arange(6) != 1] = 0  # and so on
    weights["b"][3, np.arange(7) != 2] = 0
    return Specimen(weights, call, (None, 6), {"a": (6, 7), "b": (7, 6), "c": (6, 5), "d": (5, 4), "e": (4, 2)})


@_add
def _chain_of_constants() -> Specimen:
    b = drawn(8, 7)
    b[np.arange(8) != 2, 4] = 0  # unit 4 of b depends on unit 2 of a alone
    weights = {"a": without(drawn(6, 8), 1, 2), "ba": drawn(8), "b": b, "bb": drawn(7), "c": drawn(7, 2)}
    return Specimen(
        weights,
        lambda w, x: tf.tanh(tf.tanh(x @ w["a"] + w["ba"]) @ w["b"] + w["bb"]) @ w["c"],
        (None, 6),
        {"a": (6, 7), "ba": (7,), "b": (7, 6), "bb": (6,), "c": (6, 2)},
    )


def _residual(w, x):
    x = x @ w["a"]
    x = x + tf.nn.relu(x @ w["b"]) @ w["c"]
    return x @ w["d"]


@_add
def _residual_sum() -> Specimen:
    weights = {"a": drawn(6, 8), "b": drawn(8, 5), "c": drawn(5, 8), "d": drawn(8, 2)}
    # Unit 1 of the sum is read by neither; unit 2 by one; unit 3 is made of nothing; unit 4 not by one branch.
    weights["b"] = without(weights["b"], 0, 1, 2)
    weights["d"] = without(weights["d"], 0, 1)
    weights["a"] = without(weights["a"], 1, 3, 4)
    weights["c"] = without(weights["c"], 1, 3)
    weights["b"][:, 0] = 0  # relu(0) is 0
    return Specimen(weights, _residual, (None, 6), {"a": (6, 6), "b": (6, 4), "c": (4, 6), "d": (6, 2)})


@_add
def _residual_circle() -> Specimen:
    # Unit 0 of the sum is read by unit 0 of b alone, which is read by unit 0 of the sum alone.
    weights = {"a": drawn(6, 8), "b": drawn(8, 5), "c": drawn(5, 8), "d": without(drawn(8, 2), 0, 0)}
    weights["b"][0, 1:] = 0
    weights["c"][0, 1:] = 0
    return Specimen(weights, _residual, (None, 6), {"a": (6, 7), "b": (7, 4), "c": (4, 7), "d": (7, 2)})


@_add
def _concat() -> Specimen:
    weights = {"a": drawn(6, 5), "b": without(drawn(6, 4), 1, 3), "bb": drawn(4), "c": without(drawn(9, 3), 0, 0, 6)}
    return Specimen(
        weights,
        lambda w, x: tf.concat([tf.nn.relu(x @ w["a"]), tf.sigmoid(x @ w["b"] + w["bb"])], -1) @ w["c"],
        (None, 6),
        {"a": (6, 4), "b": (6, 2), "bb": (2,), "c": (6, 3)},
    )


@_add
def _gate() -> Specimen:
    # A product is 0 where one factor is; a gate that is a constant, 1/2, kills nothing.
    weights = {"a": without(drawn(6, 8), 1, 1), "g": without(drawn(6, 8), 1, 1, 2), "c": without(drawn(8, 3), 0, 5)}
    return Specimen(
        weights,
        lambda w, x: ((x @ w["a"]) * tf.sigmoid(x @ w["g"])) @ w["c"],
        (None, 6),
        {"a": (6, 6), "g": (6, 6), "c": (6, 3)},
    )


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
    ZOO["fused_batch_norm" if _fused else "primitive_batch_norm"] = Specimen(
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
def _layer_norm_is_a_barrier() -> Specimen:
    # What is normalised over its units keeps them; what is before and behind does not.
    def call(w, x):
        x = tf.nn.relu(x @ w["a"]) @ w["b"]
        mean, variance = tf.nn.moments(x, -1, keepdims=True)
        return tf.nn.relu(((x - mean) * tf.math.rsqrt(variance + 1e-3)) @ w["c"]) @ w["d"]

    weights = {
        "a": drawn(6, 8),
        "b": without(without(drawn(8, 5), 0, 0), 1, 3),
        "c": without(drawn(5, 7), 0, 2),
        "d": without(drawn(7, 2), 0, 1),
    }
    return Specimen(weights, call, (None, 6), {"a": (6, 7), "b": (7, 5), "c": (5, 6), "d": (6, 2)})


@_add
def _unknown_operation_is_a_barrier() -> Specimen:
    weights = {"a": drawn(6, 8), "b": without(drawn(8, 5), 0, 0), "c": without(drawn(5, 2), 0, 1)}
    return Specimen(
        weights,
        lambda w, x: tf.cumsum(tf.nn.relu(x @ w["a"]) @ w["b"], axis=-1) @ w["c"],
        (None, 6),
        {"a": (6, 7), "b": (7, 5)},
    )


def _attention(w, x):
    query, key, value = (tf.einsum("btd,dhk->bthk", x, w[name]) for name in "qkv")
    scores = tf.nn.softmax(tf.einsum("bthk,bshk->bhts", query, key))
    return tf.einsum("bthk,hkd->btd", tf.einsum("bhts,bshk->bthk", scores, value), w["o"])


@_add
def _attention_by_einsum() -> Specimen:
    q = drawn(6, 2, 5)
    q[:, :, 1] = 0  # no query has this part, so that the keys' does not matter
    q[:, 0, 2] = 0  # one head's has not, the other's has
    o = drawn(2, 5, 6)
    o[:, 3] = 0
    weights = {"q": q, "k": drawn(6, 2, 5), "v": drawn(6, 2, 5), "o": o}
    after = {"q": (6, 2, 4), "k": (6, 2, 4), "v": (6, 2, 4), "o": (2, 4, 6)}
    return Specimen(weights, _attention, (None, 4, 6), after)


@_add
def _attention_by_batch_matmul() -> Specimen:
    def call(w, x):
        scores = tf.nn.softmax(tf.matmul(tf.matmul(x, w["q"]), tf.matmul(x, w["k"]), transpose_b=True))
        return tf.matmul(tf.matmul(scores, tf.matmul(x, w["v"])), w["o"])

    weights = {"q": drawn(6, 5), "k": without(drawn(6, 5), 1, 1, 2), "v": without(drawn(6, 7), 1, 0), "o": drawn(7, 6)}
    after = {"q": (6, 3), "k": (6, 3), "v": (6, 6), "o": (6, 6)}
    return Specimen(weights, call, (None, 4, 6), after)


@_add
def _layouts() -> Specimen:
    def call(w, x):
        x = tf.expand_dims(x @ w["a"], 1)
        x = tf.transpose(tf.tile(tf.squeeze(x, 1)[:, tf.newaxis, :, tf.newaxis], [1, 1, 1, 1]), [0, 3, 1, 2])
        x = tf.squeeze(x)
        return tf.reshape(x, [-1, 8]) @ w["b"]

    return Specimen({"a": drawn(6, 8), "b": drawn(8, 2)}, call, (None, 6), {})


@_add
def _transposed_and_squeezed() -> Specimen:
    def call(w, x):
        x = tf.transpose(tf.expand_dims(x @ w["a"], 1), [2, 1, 0])
        x = tf.squeeze(tf.transpose(x, [2, 0, 1]), -1)
        return tf.matmul(x, w["b"], transpose_b=True)

    weights = {"a": drawn(6, 8), "b": without(drawn(2, 8), 1, 3, 4)}
    return Specimen(weights, call, (None, 6), {"a": (6, 6), "b": (2, 6)})


@_add
def _squeezed_to_one() -> Specimen:
    # One unit is left, whose axis must not be squeezed for that.
    def call(w, x):
        return tf.squeeze(tf.reshape(w["a"], [1, 1, 6, 8])) + tf.zeros([6, 8])

    def whole(w, x):
        return tf.matmul(x, call(w, x)) @ w["b"]

    weights = {"a": drawn(6, 8), "b": without(drawn(8, 2), 0, *range(1, 8))}
    return Specimen(weights, whole, (None, 6), {"a": (6, 1), "b": (1, 2)})


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
def _split() -> Specimen:
    def call(w, x):
        one, two = tf.split(x @ w["a"], 2, axis=-1)
        return tf.concat([tf.nn.relu(one), tf.tanh(two)], -1) @ w["b"]

    weights = {"a": drawn(6, 8), "b": without(drawn(8, 2), 0, 0, 1, 6)}
    return Specimen(weights, call, (None, 6), {"a": (6, 5), "b": (5, 2)})


@_add
def _split_to_several_sizes() -> Specimen:
    def call(w, x):
        one, two = tf.split(x @ w["a"], [3, 5], axis=-1)
        return one @ w["b"] + two @ w["c"]

    weights = {"a": drawn(6, 8), "b": without(drawn(3, 2), 0, 0), "c": without(drawn(5, 2), 0, 2, 3)}
    return Specimen(weights, call, (None, 6), {"a": (6, 5), "b": (2, 2), "c": (3, 2)})


@_add
def _slices() -> Specimen:
    # What no slice takes is not read.
    def call(w, x):
        x = x @ w["a"]
        return x[:, :3] @ w["b"] + tf.slice(x, [0, 5], [-1, 4]) @ w["c"] + tf.nn.relu(x[..., 7:9]) @ w["d"]

    weights = {"a": drawn(6, 10), "b": drawn(3, 2), "c": without(drawn(4, 2), 0, 0, 3), "d": drawn(2, 2)}
    # 3, 4 and 9 are in no slice; 5 is multiplied by 0; so is 8, which another slice reads.
    return Specimen(weights, call, (None, 6), {"a": (6, 6), "c": (3, 2)})


@_add
def _stacked() -> Specimen:
    def call(w, x):
        both = tf.stack([x @ w["a"], x @ w["b"]], axis=1)
        return tf.reduce_sum(tf.matmul(tf.nn.relu(both), w["c"]), 1)

    weights = {"a": drawn(6, 8), "b": without(drawn(6, 8), 1, 1), "c": without(drawn(8, 2), 0, 2)}
    return Specimen(weights, call, (None, 6), {"a": (6, 7), "b": (6, 7), "c": (7, 2)})


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
def _embedding() -> Specimen:
    weights = {"table": without(drawn(7, 8), 1, 4), "b": without(drawn(8, 2), 0, 1)}
    return Specimen(
        weights,
        lambda w, x: tf.reduce_mean(tf.nn.embedding_lookup(w["table"], x), 1) @ w["b"],
        (None, 3),
        {"table": (7, 6), "b": (6, 2)},
        tf.int64,
    )


@_add
def _tied_embedding() -> Specimen:
    # Its columns are the units; its rows are words, which the answer has.
    weights = {"table": without(drawn(7, 8), 1, 4), "b": drawn(8, 8)}
    return Specimen(
        weights,
        lambda w, x: tf.matmul(tf.reduce_mean(tf.gather(w["table"], x), 1) @ w["b"], w["table"], transpose_b=True),
        (None, 3),
        {"table": (7, 7), "b": (7, 7)},
        tf.int64,
    )


@_add
def _shared_weight() -> Specimen:
    # Unit 1 is dead in one of two uses, unit 2 in both.
    weights = {"a": drawn(6, 8), "b": without(drawn(8, 2), 0, 1, 2), "c": without(drawn(8, 2), 0, 2)}
    return Specimen(
        weights,
        lambda w, x: tf.nn.relu(x @ w["a"]) @ w["b"] + tf.tanh(-x @ w["a"]) @ w["c"],
        (None, 6),
        {"a": (6, 7), "b": (7, 2), "c": (7, 2)},
    )


@_add
def _answers_the_hidden_units() -> Specimen:
    def call(w, x):
        return tf.concat([tf.nn.relu(x @ w["a"]), tf.nn.relu(x @ w["a"]) @ w["b"]], -1)

    return Specimen({"a": without(drawn(6, 8), 1, 3), "b": without(drawn(8, 2), 0, 1)}, call, (None, 6), {})


@_add
def _branches() -> Specimen:
    def call(w, x):
        hidden = tf.nn.relu(x @ w["a"])
        return tf.cond(tf.reduce_sum(x) > 0, lambda: hidden @ w["b"], lambda: tf.tanh(hidden) @ w["c"])

    weights = {"a": drawn(6, 8), "b": without(drawn(8, 2), 0, 1, 2), "c": without(drawn(8, 2), 0, 2, 3)}
    return Specimen(weights, call, (None, 6), {"a": (6, 7), "b": (7, 2), "c": (7, 2)})


@_add
def _loop_is_a_barrier() -> Specimen:
    def call(w, x):
        hidden = tf.nn.relu(x @ w["a"]) @ w["b"]
        hidden = tf.while_loop(lambda i, _: i < 3, lambda i, each: (i + 1, tf.tanh(each @ w["c"])), [0, hidden])[1]
        return hidden @ w["d"]

    weights = {
        "a": drawn(6, 8),
        "b": without(drawn(8, 4), 0, 1),
        "c": without(drawn(4, 4), 0, 2),
        "d": without(drawn(4, 2), 0, 2),
    }
    return Specimen(weights, call, (None, 6), {"a": (6, 7), "b": (7, 4)})


@tf.function(autograph=False)
def _dense(x, kernel, bias):
    return tf.tanh(x @ kernel + bias)


@_add
def _function_with_two_weights() -> Specimen:
    weights = {"a": drawn(6, 6), "ba": drawn(6), "b": without(drawn(6, 6), 0, 1), "bb": drawn(6)}
    weights["c"] = without(drawn(6, 2), 0, 2, 3)
    return Specimen(
        weights,
        lambda w, x: _dense(_dense(x, w["a"], w["ba"]), w["b"], w["bb"]) @ w["c"],
        (None, 6),
        {"a": (6, 5), "ba": (5,), "b": (5, 4), "bb": (4,), "c": (4, 2)},
    )


@_add
def _weights_in_the_graph() -> Specimen:
    bias = drawn(8, seed=3)

    def call(w, x):
        return tf.nn.relu(x @ w["a"] + tf.constant(bias)) @ w["b"]

    weights = {"a": without(drawn(6, 8), 1, 1), "b": without(drawn(8, 2), 0, 2)}
    return Specimen(weights, call, (None, 6), {"a": (6, 6), "b": (6, 2)})


@_add
def _captured_constant() -> Specimen:
    bias = tf.constant(drawn(8, seed=3))
    weights = {"a": without(drawn(6, 8), 1, 1), "b": without(drawn(8, 2), 0, 2)}
    return Specimen(
        weights,
        lambda w, x: tf.nn.relu(x @ w["a"] + bias) @ w["b"],
        (None, 6),
        {"a": (6, 6), "b": (6, 2)},
    )


@_add
def _sequence_of_any_length() -> Specimen:
    def call(w, x):
        x = tf.tensordot(x, w["a"], 1)
        return tf.reduce_mean(tf.tensordot(tf.nn.gelu(x + w["ba"]), w["b"], 1), 1)

    weights = {"a": without(drawn(6, 8), 1, 0), "ba": drawn(8), "b": without(drawn(8, 3), 0, 1)}
    return Specimen(weights, call, (None, None, 6), _smaller(6))


@_add
def _weight_computed_of_another() -> Specimen:
    # Scaled, cast and transposed on its way to the product.
    def call(w, x):
        return tf.nn.relu(x @ (2.0 * w["a"])) @ tf.transpose(tf.cast(w["b"], tf.float32) * w["scale"])

    weights = {
        "a": drawn(6, 8),
        "b": without(drawn(3, 8), 1, 1).astype(np.float16),
        "scale": without(drawn(8), 0, 2),
    }
    return Specimen(weights, call, (None, 6), {"a": (6, 6), "b": (3, 6), "scale": (6,)})


@_add
def _half_precision() -> Specimen:
    weights = {
        "a": without(drawn(6, 8), 1, 0).astype(np.float16),
        "ba": drawn(8).astype(np.float16),
        "b": without(drawn(8, 3), 0, 1).astype(np.float16),
    }
    return Specimen(weights, lambda w, x: tf.tanh(x @ w["a"] + w["ba"]) @ w["b"], (None, 6), _smaller(6), tf.float16)


@_add
def _double_precision() -> Specimen:
    weights = {
        "a": without(drawn(6, 8), 1, 0).astype(np.float64),
        "ba": drawn(8).astype(np.float64),
        "b": without(drawn(8, 3), 0, 1).astype(np.float64),
    }
    return Specimen(weights, lambda w, x: tf.tanh(x @ w["a"] + w["ba"]) @ w["b"], (None, 6), _smaller(6), tf.float64)


@_add
def _all_of_a_branch_is_dead() -> Specimen:
    # The branch adds nothing; one unit of it is left, for a tensor needs one.
    weights = {"a": drawn(6, 8), "b": drawn(8, 5), "c": np.zeros((5, 8), np.float32), "d": without(drawn(8, 2), 0, 0)}
    return Specimen(weights, _residual, (None, 6), {"a": (6, 7), "b": (7, 1), "c": (1, 7), "d": (7, 2)})


@_add
def _label_of_the_largest() -> Specimen:
    weights = {"a": drawn(6, 8), "ba": drawn(8), "b": without(drawn(8, 3), 0, 1, 4)}
    return Specimen(
        weights,
        lambda w, x: tf.argmax(tf.nn.relu(x @ w["a"] + w["ba"]) @ w["b"], -1),
        (None, 6),
        _smaller(6),
    )


@_add
def _rows_that_are_not_read_of_the_input() -> Specimen:
    # The input keeps its shape; the kernel is given those of its columns that count.
    weights = {"a": without(drawn(200, 96), 0, *range(0, 200, 2)), "b": without(drawn(96, 3), 0, 5)}
    return Specimen(weights, lambda w, x: tf.nn.relu(x @ w["a"]) @ w["b"], (None, 200), {"a": (100, 95), "b": (95, 3)})


@_add
def _rows_behind_a_barrier() -> Specimen:
    weights = {
        "a": drawn(6, 128),
        "b": without(without(drawn(128, 80), 0, *range(110)), 1, 3),
        "c": drawn(80, 2),
    }
    return Specimen(
        weights,
        lambda w, x: tf.nn.relu(tf.cumsum(tf.sin(x @ w["a"]), axis=1) @ w["b"]) @ w["c"],
        (None, 6),
        {"b": (18, 79), "c": (79, 2)},
    )


@_add
def _rows_too_few_to_pay() -> Specimen:
    weights = {"a": without(drawn(40, 96), 0, *range(0, 40, 2)), "b": drawn(96, 3)}
    return Specimen(weights, lambda w, x: tf.nn.relu(x @ w["a"]) @ w["b"], (None, 40), {})


@_add
def _recurrent_cell() -> Specimen:
    # An LSTM of three steps, unrolled: a unit is one column in each of four gates, and one row.
    def call(w, x):
        h, c = tf.zeros([tf.shape(x)[0], 5]), tf.zeros([tf.shape(x)[0], 5])
        for step in range(3):
            z = tf.nn.bias_add(x[:, step] @ w["kernel"] + h @ w["recurrent"], w["bias"])
            i, f, g, o = tf.split(z, 4, axis=1)
            c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            h = tf.sigmoid(o) * tf.tanh(c)
        return h @ w["score"]

    weights = {
        "kernel": drawn(4, 20),
        "recurrent": without(drawn(5, 20), 0, 1),
        "bias": drawn(20),
        "score": without(drawn(5, 2), 0, 1, 3),
    }
    after = {"kernel": (4, 16), "recurrent": (4, 16), "bias": (16,), "score": (4, 2)}
    return Specimen(weights, call, (None, 3, 4), after)


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


@_add
def _bias_of_two_axes() -> Specimen:
    # A bias of heads and units: what is 0 in all heads is known along the units.
    weights = {"q": drawn(6, 2, 5), "bq": drawn(2, 5), "k": drawn(6, 2, 5)}
    weights["q"][:, :, 1], weights["bq"][:, 1] = 0, 0
    return Specimen(
        weights,
        lambda w, x: tf.einsum(
            "bthk,bshk->bhts", tf.einsum("btd,dhk->bthk", x, w["q"]) + w["bq"], tf.einsum("btd,dhk->bthk", x, w["k"])
        ),
        (None, 4, 6),
        {"q": (6, 2, 4), "bq": (2, 4), "k": (6, 2, 4)},
    )
