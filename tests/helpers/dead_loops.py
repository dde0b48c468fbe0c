"""Models with loops, with units that were killed by hand."""

import numpy as np
import tensorflow as tf

from helpers.specimen import Specimen, drawn, without

_SEQUENCE = (None, 5, 6)


def _matrices() -> dict[str, np.ndarray]:
    return {"a": drawn(6, 4), "b": without(drawn(4, 3), 0, 1)}


def _zeros(x: tf.Tensor) -> tf.Tensor:
    return tf.zeros([tf.shape(x)[0], 3])


def _what_each_turn_reads() -> Specimen:
    # A loop captures the hidden units, and multiplies them by a weight that it reads.
    def call(w, x):
        h = tf.nn.relu(x @ w["a"])
        return tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.tanh(y + h @ w["b"])), [0, _zeros(x)])[1]

    return _specimen(call, {"a": (6, 3), "b": (3, 3)}, (None, 6))


def _what_turns_change() -> Specimen:
    # Two tensors change places in each turn: what is dead in one would be alive in the other.
    def call(w, x):
        h = tf.nn.relu(x @ w["a"])
        return tf.while_loop(lambda i, *_: i < 3, lambda i, y, z: (i + 1, z, y), [0, h, tf.sin(h)])[1] @ w["b"]

    return _specimen(call, {}, (None, 6))


def _units_of_a_turn() -> Specimen:
    # A turn has hidden units of its own, one of which is a constant, and another one not read.
    def call(w, x):
        def turn(i, y):
            return i + 1, tf.tanh(tf.sigmoid(y @ w["a"] + w["ba"]) @ w["b"])

        return tf.while_loop(lambda i, _: i < 3, turn, [0, x])[1]

    weights = {"a": without(drawn(3, 4), 1, 2), "ba": drawn(4), "b": without(drawn(4, 3), 0, 1)}
    return Specimen(weights, call, (None, 3), {"a": (3, 2), "ba": (2,), "b": (2, 3)})


def _condition_that_reads_units() -> Specimen:
    def call(w, x):
        h = tf.nn.relu(x @ w["a"])
        loop = tf.while_loop(
            lambda i, _: i < 3 + tf.cast(tf.reduce_max(h), tf.int32), lambda i, y: (i + 1, y + 1), [0, x]
        )
        return h @ w["b"] + loop[1][:, :3]

    return _specimen(call, {}, (None, 6))


def _mapped() -> Specimen:
    # A list of what stands at each place, in time as in recurrent layers.
    def call(w, x):
        h = tf.transpose(tf.nn.relu(x @ w["a"]), [1, 0, 2])
        return tf.reduce_mean(tf.map_fn(lambda each: tf.tanh(each @ w["b"]), h), 0)

    return _specimen(call, {"a": (6, 3), "b": (3, 3)})


def _list_of_rows_of_a_weight() -> Specimen:
    def call(w, x):
        h = tf.nn.relu(x @ w["a"])
        array = tf.TensorArray(tf.float32, 5).unstack(w["t"])
        return tf.while_loop(
            lambda i, _: i < 5, lambda i, y: (i + 1, y + (h * array.read(i)) @ w["b"]), [0, _zeros(x)]
        )[1]

    after = {"a": (6, 3), "b": (3, 3), "t": (5, 3)}
    return Specimen({**_matrices(), "t": drawn(5, 4)}, call, (None, 6), after)


def _one_row_of_a_weight() -> Specimen:
    def call(w, x):
        row = tf.TensorArray(tf.float32, 5).unstack(w["t"]).read(2)
        return (tf.nn.relu(x @ w["a"]) * row) @ w["b"]

    after = {"a": (6, 3), "b": (3, 3), "t": (5, 3)}
    return Specimen({**_matrices(), "t": drawn(5, 4)}, call, (None, 6), after)


def _list_that_is_read_otherwise_too() -> Specimen:
    def call(w, x):
        h = tf.transpose(tf.nn.relu(x @ w["a"]), [1, 0, 2])
        array = tf.TensorArray(tf.float32, 5).unstack(h)
        y = tf.while_loop(lambda i, _: i < 5, lambda i, y: (i + 1, y + array.read(i) @ w["b"]), [0, _zeros(x)])[1]
        return tf.concat([y, array.stack()[0]], 1)

    return _specimen(call, {})


def _list_of_one_branch() -> Specimen:
    def call(w, x):
        h = tf.transpose(tf.nn.relu(x @ w["a"]), [1, 0, 2])
        one, other = (tf.raw_ops.TensorListFromTensor(tensor=each, element_shape=[-1, 4]) for each in (h, tf.sin(h)))
        chosen = tf.cond(tf.reduce_sum(x) > 0, lambda: one, lambda: other)
        return (
            tf.raw_ops.TensorListGetItem(input_handle=chosen, index=2, element_shape=[-1, 4], element_dtype=tf.float32)
            @ w["b"]
        )

    return _specimen(call, {})


def _list_of_elements_of_any_shape() -> Specimen:
    def call(w, x):
        h = tf.transpose(tf.nn.relu(x @ w["a"]), [1, 0, 2])
        handle = tf.raw_ops.TensorListFromTensor(tensor=h, element_shape=-1)
        read = tf.raw_ops.TensorListGetItem(
            input_handle=handle, index=2, element_shape=[-1, 4], element_dtype=tf.float32
        )
        return read @ w["b"]

    return _specimen(call, {"a": (6, 3), "b": (3, 3)})


def _backwards(axis: int) -> Specimen:
    def call(w, x):
        return tf.tanh(tf.reverse(tf.nn.relu(x @ w["a"]), [axis]) @ w["b"])[:, 1]

    return _specimen(call, {"a": (6, 3), "b": (3, 3)} if axis == 1 else {})


def _specimen(call, after: dict[str, tuple[int, ...]], shape: tuple[int | None, ...] = _SEQUENCE) -> Specimen:
    return Specimen(_matrices(), call, shape, after)


LOOPS = {
    "what_each_turn_of_a_loop_reads": _what_each_turn_reads(),
    "what_turns_of_a_loop_change": _what_turns_change(),
    "units_of_a_turn_of_a_loop": _units_of_a_turn(),
    "condition_that_reads_units": _condition_that_reads_units(),
    "mapped_places": _mapped(),
    "list_of_rows_of_a_weight": _list_of_rows_of_a_weight(),
    "one_row_of_a_weight_in_a_list": _one_row_of_a_weight(),
    "list_that_is_read_otherwise_too": _list_that_is_read_otherwise_too(),
    "list_of_one_branch": _list_of_one_branch(),
    "places_backwards": _backwards(1),
    "units_backwards": _backwards(-1),
    "list_of_elements_of_any_shape": _list_of_elements_of_any_shape(),
}
