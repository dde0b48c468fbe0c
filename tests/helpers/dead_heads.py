"""Models with attention whose heads share matrices, with units that were killed by hand."""

import numpy as np
import tensorflow as tf

from helpers.specimen import Specimen, drawn, without

_HEADS, _PLACES = 4, 2
_UNITS = _HEADS * _PLACES


def _attended(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    scores = tf.nn.softmax(tf.einsum("bthk,bshk->bhts", query, key))
    return tf.reshape(tf.einsum("bhts,bshk->bthk", scores, value), [-1, 7, _UNITS])


def _of_three_matrices(w, x):
    query, key, value = (tf.reshape(tf.matmul(x, w[name]), [-1, 7, _HEADS, _PLACES]) for name in "qkv")
    return tf.matmul(_attended(query, key, value), w["o"])


def _of_one_matrix(w, x):
    parts = tf.split(tf.nn.bias_add(tf.matmul(x, w["qkv"]), w["bias"]), 3, axis=-1)
    query, key, value = (tf.reshape(each, [-1, 7, _HEADS, _PLACES]) for each in parts)
    return tf.matmul(_attended(query, key, value), w["o"])


def _in_two_steps(w, x):
    # Heads are split to pairs of heads, and joined otherwise than they were split.
    units = tf.reshape(tf.nn.relu(tf.matmul(x, w["q"])), [-1, 7, 2, 2, _PLACES])
    units = tf.reshape(tf.reshape(units, [-1, 7, _HEADS, _PLACES]), [-1, 7, 2, 2 * _PLACES])
    return tf.matmul(tf.reshape(units, [-1, 7, _UNITS]), w["o"])


def _matrices() -> dict[str, np.ndarray]:
    return {**{name: drawn(6, _UNITS, seed=at) for at, name in enumerate("qkv")}, "o": drawn(_UNITS, 5)}


def _dead_head() -> Specimen:
    weights = _matrices()
    weights["o"] = without(weights["o"], 0, 2, 3, 5)  # head 1, and a place of head 2 that others have
    return Specimen(weights, _of_three_matrices, (None, 7, 6), dict.fromkeys("qkv", (6, 6)) | {"o": (6, 5)})


def _dead_head_and_places() -> Specimen:
    weights = _matrices()
    weights["o"] = without(weights["o"], 0, 2, 3, 1, 5, 7)  # head 1, and place 1 of all values
    weights["q"] = without(weights["q"], 1, 0, 2, 4, 6)  # place 0 of all queries
    after = {"q": (6, 3), "k": (6, 3), "v": (6, 3), "o": (3, 5)}
    return Specimen(weights, _of_three_matrices, (None, 7, 6), after)


def _dead_head_of_one_matrix() -> Specimen:
    weights = {"qkv": drawn(6, 3 * _UNITS), "bias": drawn(3 * _UNITS), "o": without(drawn(_UNITS, 5), 0, 6, 7, 1)}
    return Specimen(weights, _of_one_matrix, (None, 7, 6), {"qkv": (6, 18), "bias": (18,), "o": (6, 5)})


def _heads_in_two_steps() -> Specimen:
    # All that is dead is place 1 of each head, which both ways of joining keep apart.
    weights = {"q": drawn(6, _UNITS), "o": without(drawn(_UNITS, 5), 0, 1, 3, 5, 7)}
    return Specimen(weights, _in_two_steps, (None, 7, 6), {"q": (6, 4), "o": (4, 5)})


HEADS = {
    "dead_head": _dead_head(),
    "dead_head_and_places": _dead_head_and_places(),
    "dead_head_of_one_matrix": _dead_head_of_one_matrix(),
    "heads_in_two_steps": _heads_in_two_steps(),
}
