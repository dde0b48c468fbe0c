"""Models whose units are repeated by Tile, with units that were killed by hand."""

import numpy as np
import tensorflow as tf

from helpers.specimen import Specimen, drawn, without


def _repeated_units(kernel: np.ndarray, after: dict[str, tuple[int, ...]]) -> Specimen:
    return Specimen(
        {"a": without(drawn(6, 4), 1, 0), "ba": drawn(4), "b": kernel},
        lambda w, x: tf.tile(tf.sigmoid(x @ w["a"] + w["ba"]), [1, 3]) @ w["b"],
        (None, 6),
        after,
    )


def _as_often_as_there_are_examples() -> Specimen:
    def call(w, x):
        units = tf.tile(tf.expand_dims(tf.nn.relu(x @ w["a"]), 0), tf.stack([tf.shape(x)[0], 1, 1]))
        return tf.reduce_sum(tf.tensordot(units, w["b"], 1), 1)

    weights = {"a": drawn(6, 5), "b": without(drawn(5, 2), 0, 1, 2)}
    return Specimen(weights, call, (None, 6), {"a": (6, 3), "b": (3, 2)})


def _as_often_as_there_are_units() -> Specimen:
    # The units of a would be repeated fewer times if one went.
    def call(w, x):
        units = x @ w["a"]
        repeated = tf.tile(x[:, :1], tf.stack([1, tf.shape(units)[1]]))
        return tf.reduce_sum(repeated, 1, keepdims=True) + tf.nn.relu(units) @ w["b"]

    return Specimen({"a": drawn(6, 5), "b": without(drawn(5, 2), 0, 1)}, call, (None, 6), {})


def _one_repeated() -> Specimen:
    # All of the repetitions are one number, which a cut of Tile's multiples alone could leave out.
    return Specimen(
        {"a": drawn(6, 1), "b": without(drawn(5, 2), 0, 1)},
        lambda w, x: tf.tile(x @ w["a"], [1, 5]) @ w["b"],
        (None, 6),
        {},
    )


def _repeated_an_unknown_number_of_times() -> Specimen:
    def call(w, x):
        return tf.reshape(tf.tile(tf.nn.relu(x @ w["a"]), tf.stack([1, tf.shape(x)[0]])), [-1, 5]) @ w["b"]

    return Specimen({"a": drawn(6, 5), "b": without(drawn(5, 2), 0, 1)}, call, (None, 6), {})


TILES = {
    # Unit 0 is a constant; unit 1 is read by no repetition; unit 2 is read by the last.
    "tile_of_units": _repeated_units(without(drawn(12, 2), 0, 1, 5, 9, 2, 6), {"a": (6, 2), "ba": (2,), "b": (6, 2)}),
    "tile_for_each_example": _as_often_as_there_are_examples(),
    "tile_as_often_as_there_are_units": _as_often_as_there_are_units(),
    "tile_of_one": _one_repeated(),
    "tile_an_unknown_number_of_times": _repeated_an_unknown_number_of_times(),
}
