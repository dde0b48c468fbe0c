"""Ties: which of the scores that equal the k-th largest are kept.

Each draws a lot, a hash of its position: no two are equal, so none is left to decide. The largest lots win.
"""

import functools

import tensorflow as tf

from .position_hash import hashed
from .radix_select import PART, Formula, Keys, Parts, Scalars, score_keys

RANDOM_BITS = 32
# What is not tied has this in place of a lot; no digit of it is counted.
_NOT_TIED = 1 << RANDOM_BITS
_FOLDS = 16


@functools.cache
def random_keys_of_tied(formula: Formula) -> Keys:
    """Lots, as keys, of the scores whose key is the first of the scalars; the others are the words of a seed."""

    def lots(start: tf.Tensor, scalars: Scalars, inputs: tuple[tf.Tensor, ...]) -> tf.Tensor:
        kth, *words = scalars
        keys = score_keys(formula(*inputs))
        positions = tf.cast(start + tf.range(tf.size(keys)), tf.uint32)
        return tf.where(keys == kth, tf.cast(hashed(positions, words), tf.int64), _NOT_TIED)

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
    keys, lots = score_keys(formula(*inputs)), random_keys_of_tied(formula)(start, scalars, inputs)
    return tf.cast((keys > scalars[0]) | ((lots >= last) & (lots < _NOT_TIED)), dtype)


_compiled_tied_mask = tf.function(tied_mask, jit_compile=True, autograph=False)


class LargeTieBreak:
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
        self._dtype = dtype
        self._size = tf.size(inputs[0])
        whole = self._size // PART
        # One more than are filled, for what fills none.
        rows = tf.TensorArray(dtype, whole + 1, element_shape=[PART], clear_after_read=False)
        flags = tf.TensorArray(tf.bool, whole + 1, element_shape=[])

        def add(
            index: tf.Tensor, rows: tf.TensorArray, flags: tf.TensorArray
        ) -> tuple[tf.Tensor, tf.TensorArray, tf.TensorArray]:
            above, tied = _above_and_tied(formula, kth, self._part(index)[1], dtype)
            return index + 1, rows.write(index, above), flags.write(index, tied)

        _, rows, flags = tf.while_loop(lambda index, *_: index < whole, add, (tf.constant(0), rows, flags))
        at, part = self._part(whole)
        above, tied = _above_and_tied(formula, kth, part, dtype)
        self._above, flags = rows.write(whole, self._row(whole, at, above)), flags.write(whole, tied)
        tied = tf.cast(flags.stack(), tf.int32)
        self.parts = Parts(tf.argsort(tied, direction="DESCENDING", stable=True), tf.reduce_sum(tied))

    def mask(self, start: tf.Tensor, scalars: Scalars, last: tf.Tensor) -> tf.Tensor:
        """`tied_mask`, put together of the scores above the k-th and the parts with ties."""

        def replace(index: tf.Tensor, rows: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            number = self.parts.order[index]
            at, part = self._part(number)
            mask = _compiled_tied_mask(self._formula, start + at, scalars, last, part, self._dtype)
            return index + 1, rows.write(number, self._row(number, at, mask))

        _, rows = tf.while_loop(lambda index, _: index < self.parts.count, replace, (tf.constant(0), self._above))
        return tf.reshape(rows.stack(), [-1])[: self._size]

    def _part(self, number: tf.Tensor) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        """Where a part begins, and its inputs; the last one begins so early that it is as long as the others."""
        at = tf.minimum(number * PART, self._size - PART)
        return at, tuple(tf.slice(value, [at], [PART]) for value in self._inputs)

    def _row(self, number: tf.Tensor, at: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """The mask of a part, from where a row of this number begins; what comes after the last input is of no use."""
        return tf.slice(tf.concat([mask, mask], axis=0), [number * PART - at], [PART])


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _above_and_tied(
    formula: Formula, kth: tf.Tensor, inputs: tuple[tf.Tensor, ...], dtype: tf.DType
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mask of the scores of a part that are above the k-th; and whether one equals it."""
    keys = score_keys(formula(*inputs))
    # XLA goes through a fold with vectors, not through a reduction.
    folded = functools.reduce(tf.logical_or, tf.split(keys == kth, _FOLDS))
    return tf.cast(keys > kth, dtype), tf.reduce_any(folded)
