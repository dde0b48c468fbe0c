"""Models with units that were killed by hand."""

import numpy as np
import tensorflow as tf

from helpers.specimen import Shapes, Specimen, adding_to, drawn, without

ZOO: dict[str, Specimen] = {}
_add = adding_to(ZOO)


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
