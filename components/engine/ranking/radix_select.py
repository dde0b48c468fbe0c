"""The k-th largest of many keys, by a radix select.

The bits of non-negative floats order as the floats do, so two histograms of 16 bits each determine a float32 (one a
16-bit float, four a float64). Nothing is sorted and every shape is static. The same integer operations run eagerly, in
a graph and under XLA, and give the same result.

Several rankings may be selected from at once: tensors of the shape [rankings] hold what each has of its own.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import TypeAlias

import tensorflow as tf

_DIGIT_BITS = 16
# Of keys that are fewer than `SMALL`, smaller digits are counted: a histogram of large ones costs more than they do.
SMALL = 1 << 14
SMALL_DIGIT_BITS = 11
# A digit's bin is found in steps of as many bits.
_STEP_BITS = 4
# Large tensors are processed in parts, in parallel on the processor's cores. All parts have one size, so that XLA
# compiles their code once; the last part begins earlier and overlaps the one before. XLA processes a part in tiles that
# fit into a core's cache. For small tensors, calling compiled code would cost more than it saves.
PART = 1 << 18
_TILE = 1 << 15
# By the size of the scores' dtype in bytes: the dtype of their bits, and that of their keys.
_BITS = {2: tf.uint16, 4: tf.uint32, 8: tf.uint64}
KEYS = {2: tf.int32, 4: tf.int32, 8: tf.int64}

Formula: TypeAlias = Callable[..., tf.Tensor]
Scalars: TypeAlias = tuple[tf.Tensor, ...]
# (position of the first input, scalars, inputs) -> keys: non-negative integers, one for each element of the inputs.
Keys: TypeAlias = Callable[[tf.Tensor, Scalars, tuple[tf.Tensor, ...]], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Parts:
    """Some of the parts of a large tensor.

    Attributes:
        order: Numbers of all parts, the chosen ones first, int32.
        count: How many are chosen, int32 scalar.
    """

    order: tf.Tensor
    count: tf.Tensor

    def begin(self, index: tf.Tensor) -> tf.Tensor:
        """Where the part at an index of `order` begins, if it is not the last of the tensor, which begins earlier."""
        return self.order[index] * PART


def score_keys(scores: tf.Tensor) -> tf.Tensor:
    """Non-negative integers with the order of the floating scores. NaN and negative scores count as zero.

    Processors and XLA may treat denormal floats as zeros when they compare them, but not integers.
    """
    bits = tf.bitcast(scores, _BITS[scores.dtype.size])
    infinity = tf.bitcast(tf.constant(float("inf"), scores.dtype), bits.dtype)
    # The bits of NaN and of all negative numbers lie above those of infinity.
    bits = tf.where(bits <= infinity, bits, tf.zeros([], bits.dtype))
    key = KEYS[bits.dtype.size]
    return tf.bitcast(bits, key) if bits.dtype.size == key.size else tf.cast(bits, key)


def kth_largest(
    counts: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    sizes: tf.Tensor,
    k: tf.Tensor,
    dtype: tf.DType,
    bits: int,
    digit_bits: int = _DIGIT_BITS,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The k-th largest of non-negative keys below 2^bits, how many keys are larger, and how many are equal to it.

    Args:
        counts: (known, places) -> how many keys have each digit, int32 of shape [rankings, 2^digit_bits]; `known` is of
            shape [rankings], and both are as in `digit_counts`.
        sizes: How many keys there are, int32 of shape [rankings].
        k: int32 of that shape, 1 <= k; k <= sizes, or any key is returned.
        dtype: Dtype of the keys.
        bits: See above.
        digit_bits: How many bits of the keys are found at a time.

    Returns:
        Three tensors of shape [rankings]: of `dtype`, int32 and int32.
    """
    kth = tf.zeros_like(k, dtype)
    above = tf.zeros_like(k)
    equal = sizes
    for digit in reversed(range(math.ceil(bits / digit_bits))):
        places = tf.constant(digit * digit_bits, dtype)
        value, larger, equal = _kth_digit(counts(kth, places), k - above)
        kth = tf.bitwise.bitwise_or(kth, tf.bitwise.left_shift(tf.cast(value, dtype), places))
        above += larger
    return kth, above, equal


def digit_counts(
    keys: Keys,
    start: tf.Tensor,
    scalars: Scalars,
    inputs: tuple[tf.Tensor, ...],
    first: tf.Tensor | None,
    known: tf.Tensor,
    places: tf.Tensor,
) -> tf.Tensor:
    """How many keys have each digit.

    Args:
        keys: See `Keys`.
        start: Position of the first of `inputs`.
        scalars: See `Keys`.
        inputs: See `Scores`; flat.
        first: Index of the first of `inputs` that is counted; None for all.
        known: The digits of the wanted key that are known. Keys that differ from it there are not counted.
        places: Number of bits below the digit.

    Returns:
        int32 of shape [65536].
    """
    digits = _digits(keys(start, scalars, inputs), known, places)
    beyond = tf.constant(1 << _DIGIT_BITS, digits.dtype)
    if first is not None:
        digits = tf.where(tf.range(tf.size(digits)) < first, beyond, digits)
    return tf.raw_ops.DenseBincount(input=digits, size=beyond, weights=tf.constant([], tf.int32))


def joined_digit_counts(
    keys: tf.Tensor, rankings: tf.Tensor, count: int, known: tf.Tensor, places: tf.Tensor
) -> tf.Tensor:
    """How many keys of each ranking have each digit of `SMALL_DIGIT_BITS` bits.

    Args:
        keys: The keys of all rankings, end to end; flat.
        rankings: Number of the ranking of each key, int32.
        count: How many rankings there are.
        known: As `digit_counts` takes it, of each ranking.
        places: As `digit_counts` takes it.

    Returns:
        int32 of shape [rankings, 2^SMALL_DIGIT_BITS].
    """
    bins = 1 << SMALL_DIGIT_BITS
    digits = _digits(keys, tf.gather(known, rankings), places)
    digits = tf.where(digits < bins, rankings * bins + tf.cast(digits, tf.int32), count * bins)
    counts = tf.raw_ops.DenseBincount(input=digits, size=count * bins, weights=tf.constant([], tf.int32))
    return tf.reshape(counts, [count, bins])


def _digits(keys: tf.Tensor, known: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """The digits above `places` of the keys that share the known ones; of all other keys what is beyond any digit."""
    return tf.bitwise.right_shift(tf.bitwise.bitwise_xor(keys, known), places)


def _counts_by_parts(
    counts: Callable[..., tf.Tensor],
    length: int,
    keys: Keys,
    start: tf.Tensor,
    scalars: Scalars,
    inputs: tuple[tf.Tensor, ...],
    first: tf.Tensor | None,
    known: tf.Tensor,
    places: tf.Tensor,
    parts: Parts | None = None,
) -> tf.Tensor:
    """`digit_counts`, as the sum of `counts`, which has the same arguments, over parts of `length`, at least one.

    With `parts`, the sum over those only; `length` is `PART` then.
    """
    size = tf.size(inputs[0])
    last = size - length

    def add(index: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        begin = index * length if parts is None else parts.begin(index)
        at = tf.minimum(begin, last)
        fresh = begin if first is None else tf.maximum(begin, first)
        part = tuple(tf.slice(value, [at], [length]) for value in inputs)
        return index + 1, total + counts(keys, start + at, scalars, part, fresh - at, known, places)

    index = tf.constant(0) if first is None else first // length
    end = (size + length - 1) // length if parts is None else parts.count
    nothing = tf.zeros([1 << _DIGIT_BITS], tf.int32)
    _, total = tf.while_loop(lambda index, _: index < end, add, (index, nothing))
    return total


_compiled_part_counts = tf.function(
    functools.partial(_counts_by_parts, digit_counts, _TILE), jit_compile=True, autograph=False
)


def _large_digit_counts(
    keys: Keys,
    start: tf.Tensor,
    scalars: Scalars,
    inputs: tuple[tf.Tensor, ...],
    known: tf.Tensor,
    places: tf.Tensor,
    parts: tuple[tf.Tensor, tf.Tensor] | None,
) -> tf.Tensor:
    chosen = None if parts is None else Parts(*parts)
    return _counts_by_parts(_compiled_part_counts, PART, keys, start, scalars, inputs, None, known, places, chosen)


# reduce_retracing traces it once for all sizes: a loop takes long to trace, and there is one for each tensor.
_traced_large_digit_counts = tf.function(_large_digit_counts, reduce_retracing=True, autograph=False)


def large_digit_counts(
    keys: Keys,
    start: tf.Tensor,
    scalars: Scalars,
    inputs: tuple[tf.Tensor, ...],
    known: tf.Tensor,
    places: tf.Tensor,
    parts: Parts | None = None,
) -> tf.Tensor:
    """`digit_counts` of at least `PART` inputs, all of which are counted; with `parts`, only those of these parts."""
    chosen = None if parts is None else (parts.order, parts.count)
    return _traced_large_digit_counts(keys, start, scalars, inputs, known, places, chosen)


def _kth_digit(counts: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The digits of the k-th largest, how many keys have a larger one, and how many have the same; for each row."""
    digit, above = tf.zeros_like(k), tf.zeros_like(k)
    while counts.shape[1] > 1:
        bins = counts.shape[1]
        steps = min(1 << _STEP_BITS, bins)
        table = tf.reshape(counts, [-1, steps, bins // steps])
        step, larger = _kth_bin(tf.reduce_sum(table, axis=2), k - above)
        digit, above = digit * steps + step, above + larger
        counts = tf.gather(table, step, axis=1, batch_dims=1)
    return digit, above, counts[:, 0]


def _kth_bin(counts: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The bin of each row that holds the k-th largest, and how many lie in the bins above it."""
    # Not tf.cumsum: XLA takes many seconds to compile it before a lookup.
    bins = tf.range(counts.shape[1])
    above = tf.reduce_sum(tf.where(bins[:, None] < bins, counts[:, None], 0), axis=2)
    chosen = tf.reduce_sum(tf.cast(above >= k[:, None], tf.int32), axis=1)
    return chosen, tf.gather(above, chosen, axis=1, batch_dims=1)
