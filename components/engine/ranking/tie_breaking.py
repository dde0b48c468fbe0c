"""Tie-breaking: which of the scores that equal the k-th largest are kept.

Ties are broken at random: every tied score has a random key, a hash of its position and the seed, and those with the
largest keys are kept. No two keys are equal.
"""

import functools

import tensorflow as tf

from .position_hash import SeedWords, hashed
from .radix_select import PART, Formula, Keys, Parts, Scalars, score_keys

RANDOM_BITS = 32
# The key of a score that is not tied. It is beyond all others, whatever the digits, so that no digit of it is counted.
_NOT_TIED = 1 << 62
_FOLDS = 16


@functools.cache
def random_keys_of_tied(formula: Formula) -> Keys:
    """Random keys of the scores that are tied: those whose own key is the first scalar. The others are seed words."""

    def random_keys(start: tf.Tensor, scalars: Scalars, inputs: tuple[tf.Tensor, ...]) -> tf.Tensor:
        kth, *words = scalars
        keys = score_keys(formula(*inputs))
        return tie_keys(keys, kth, start + tf.range(tf.size(keys)), words)

    return random_keys


def tie_keys(keys: tf.Tensor, kth: tf.Tensor, positions: tf.Tensor, words: SeedWords) -> tf.Tensor:
    """Random keys, int64, of the scores whose key is that of the k-th score, and for all others what is no such key.

    Args:
        keys: Keys of scores.
        kth: Key of the k-th score, or one for each of `keys`.
        positions: Their positions, int32.
        words: The words of a seed, or of one for each of `keys`.
    """
    return tf.where(keys == kth, tf.cast(hashed(tf.cast(positions, tf.uint32), words), tf.int64), _NOT_TIED)


def above_or_drawn(keys: tf.Tensor, kth: tf.Tensor, random_keys: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
    """Which scores are above the k-th, or equal to it with `tie_keys` of `last` or more; bool."""
    return (keys > kth) | ((random_keys >= last) & (random_keys < _NOT_TIED))


def tied_mask(
    formula: Formula,
    start: tf.Tensor,
    scalars: Scalars,
    last: tf.Tensor,
    inputs: tuple[tf.Tensor, ...],
    dtype: tf.DType,
) -> tf.Tensor:
    """Mask of the scores above the k-th, and of those equal to it whose random keys are `last` or more.

    Args:
        formula: Computes the scores.
        start: Position of the first input in the whole tensor.
        scalars: The key of the k-th score and the words of a seed.
        last: The smallest random key that is kept.
        inputs: Inputs of the formula, flat.
        dtype: Dtype of the mask.
    """
    keys, random_keys = score_keys(formula(*inputs)), random_keys_of_tied(formula)(start, scalars, inputs)
    return tf.cast(above_or_drawn(keys, scalars[0], random_keys, last), dtype)


_compiled_tied_mask = tf.function(tied_mask, jit_compile=True, autograph=False)


class LargeTieBreak:
    """Breaks the ties of a large weight. Most of its parts have no ties and are masked without random keys."""

    def __init__(self, formula: Formula, kth: tf.Tensor, inputs: tuple[tf.Tensor, ...], dtype: tf.DType) -> None:
        """Finds the parts with ties.

        Args:
            formula: Computes the scores.
            kth: Key of the k-th score.
            inputs: Inputs of the formula, flat, at least `PART` elements each.
            dtype: Dtype of the mask.
        """
        self._formula = formula
        self._inputs = inputs
        self._dtype = dtype
        self._size = tf.size(inputs[0])
        whole = self._size // PART
        # One row for each whole part, and one for the rest.
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
        """`tied_mask` of the whole weight."""

        def replace(index: tf.Tensor, rows: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            number = self.parts.order[index]
            at, part = self._part(number)
            mask = _compiled_tied_mask(self._formula, start + at, scalars, last, part, self._dtype)
            return index + 1, rows.write(number, self._row(number, at, mask))

        _, rows = tf.while_loop(lambda index, _: index < self.parts.count, replace, (tf.constant(0), self._above))
        return tf.reshape(rows.stack(), [-1])[: self._size]

    def _part(self, number: tf.Tensor) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        """Where a part begins, and its inputs. The last part begins earlier, so that it is as long as the others."""
        at = tf.minimum(number * PART, self._size - PART)
        return at, tuple(tf.slice(value, [at], [PART]) for value in self._inputs)

    def _row(self, number: tf.Tensor, at: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """A row of the mask, from the mask of its part. What comes after the last input is cut off later."""
        return tf.slice(tf.concat([mask, mask], axis=0), [number * PART - at], [PART])


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _above_and_tied(
    formula: Formula, kth: tf.Tensor, inputs: tuple[tf.Tensor, ...], dtype: tf.DType
) -> tuple[tf.Tensor, tf.Tensor]:
    """The mask of the scores of a part that are above the k-th, and whether any score equals the k-th."""
    keys = score_keys(formula(*inputs))
    # XLA vectorises a fold, but not a reduction.
    folded = functools.reduce(tf.logical_or, tf.split(keys == kth, _FOLDS))
    return tf.cast(keys > kth, dtype), tf.reduce_any(folded)
