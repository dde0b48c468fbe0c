"""Ties: which of the scores that equal the k-th largest are kept.

Each draws a lot, a hash of its position: no two are equal, so none is left to decide. The largest lots win.
"""

import functools

import tensorflow as tf

from .position_hash import hashed
from .radix_select import PART, Formula, Keys, Parts, Scalars, score_keys

LOT_BITS = 32
# What is not tied has this in place of a lot; no digit of it is counted.
_NO_LOT = 1 << LOT_BITS


@functools.cache
def lots_of_tied(formula: Formula) -> Keys:
    """Lots, as keys, of the scores whose key is the first of the scalars; the others are the words of a seed."""

    def lots(start: tf.Tensor, scalars: Scalars, inputs: tuple[tf.Tensor, ...]) -> tf.Tensor:
        kth, *words = scalars
        keys = score_keys(formula(*inputs))
        positions = tf.cast(start + tf.range(tf.size(keys)), tf.uint32)
        return tf.where(keys == kth, tf.cast(hashed(positions, words), tf.int64), _NO_LOT)

    return lots


def tied_mask(
    formula: Formula,
    start: tf.Tensor,
    scalars: Scalars,
    last: tf.Tensor,
    inputs: tuple[tf.Tensor, ...],
    dtype: tf.DType,
) -> tf.Tensor:
    """Mask of the scores above the k-th, and of those equal to it whose lots are `last` or more.

    Args:
        formula: The scores'.
        start: Position of the first of the inputs.
        scalars: The key of the k-th score, and the words of a seed.
        last: The least lot that wins.
        inputs: The formula's; flat.
        dtype: Of the mask.
    """
    keys, lots = score_keys(formula(*inputs)), lots_of_tied(formula)(start, scalars, inputs)
    return tf.cast((keys > scalars[0]) | ((lots >= last) & (lots < _NO_LOT)), dtype)


_compiled_tied_mask = tf.function(tied_mask, jit_compile=True, autograph=False)


class LargeTies:
    """The ties of a large weight, most of whose parts may have none."""

    def __init__(self, formula: Formula, kth: tf.Tensor, inputs: tuple[tf.Tensor, ...], dtype: tf.DType) -> None:
        """Finds them.

        Args:
            formula: The scores'.
            kth: Key of the k-th score.
            inputs: The formula's; flat, at least `PART`.
            dtype: Of the mask.
        """
        self._formula = formula
        self._inputs = inputs
        self._above, tied = _above_and_tied_parts(formula, kth, inputs, dtype)
        self.parts = Parts(tf.argsort(tf.cast(tied, tf.int32), direction="DESCENDING", stable=True), _count(tied))

    def mask(self, start: tf.Tensor, scalars: Scalars, last: tf.Tensor) -> tf.Tensor:
        """`tied_mask`, put together of the scores above the k-th and the parts with ties."""
        whole = tf.size(self._above) // PART
        rows = tf.reshape(self._above[: whole * PART], [whole, PART])

        def tied_part(at: tf.Tensor) -> tf.Tensor:
            part = tuple(tf.slice(value, [at], [PART]) for value in self._inputs)
            return _compiled_tied_mask(self._formula, start + at, scalars, last, part, rows.dtype)

        def replace(index: tf.Tensor, rows: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            # What fills no part is seen to below; replacing a row that has no ties changes nothing.
            row = tf.minimum(self.parts.order[index], whole - 1)
            return index + 1, rows.write(row, tied_part(row * PART))

        # An array of parts: XLA takes no update of a slice whose place it does not know, and a scatter is slow.
        array = tf.TensorArray(rows.dtype, whole, element_shape=[PART], clear_after_read=False).unstack(rows)
        _, array = tf.while_loop(lambda index, _: index < self.parts.count, replace, (tf.constant(0), array))
        rest = tied_part(tf.size(self._above) - PART)[(whole + 1) * PART - tf.size(self._above) :]
        return tf.concat([tf.reshape(array.stack(), [-1]), rest], axis=0)


def _count(flags: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(flags, tf.int32))


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _above_and_tied_parts(
    formula: Formula, kth: tf.Tensor, inputs: tuple[tf.Tensor, ...], dtype: tf.DType
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mask of the scores above the k-th; and which parts hold one equal to it: bool, the last for what fills none."""
    keys = score_keys(formula(*inputs))
    tied = keys == kth
    parts = tf.size(tied) // PART
    whole = tf.reshape(tied[: parts * PART], [parts, PART])
    flags = [tf.reduce_any(whole, axis=1), tf.reduce_any(tied[parts * PART :], keepdims=True)]
    return tf.cast(keys > kth, dtype), tf.concat(flags, axis=0)
