"""Selection: the mask that keeps the k largest scores, exactly k of them.

The k-th score is found by a radix select: the bits of non-negative floats order as the floats do, so two histograms of
16 bits each pin down a float32 (one does for a 16-bit float, four for a float64). Nothing is sorted, every shape is
static, and the same integer operations run eagerly, in a graph and under XLA, so all three give the same mask.
"""

import functools
from collections.abc import Callable

import tensorflow as tf

_DIGIT_BITS = 16
_HALF_DIGIT = 1 << _DIGIT_BITS // 2
_TIE_KEY_BITS = 3 * _DIGIT_BITS
# Large tensors are gone through in parts that stay in the processor's cache, by code that XLA compiles: without XLA
# every part would cost more than it saves, and for small tensors compiling would.
_LARGE = 1 << 20
_PART = 1 << 15
# By bytes of the scores' dtype: the dtype of their bits, and of keys that hold them.
_BITS = {2: tf.uint16, 4: tf.uint32, 8: tf.uint64}
_KEYS = {2: tf.int32, 4: tf.int32, 8: tf.int64}


def top_k_mask(
    scores: tf.Tensor, k: int | tf.Tensor, seed: tf.Tensor, dtype: tf.DType = tf.float32
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mask of the k largest scores.

    Args:
        scores: Non-negative floating tensor of any shape. NaN and negative scores count as zero.
        k: How many to keep, integer scalar, 0 <= k <= size.
        seed: int32 or int64 tensor of shape [2]. Where more scores equal the k-th than there is room for, it decides
            which of them are kept; each has the same chance.
        dtype: Dtype of the mask.

    Returns:
        The mask, of the shape of `scores`: 1 where kept, 0 elsewhere, exactly k ones. And the k-th largest score,
        float32 scalar, infinity if k is 0.

    Raises:
        TypeError: `scores` is not floating, or `k` not an integer.
        ValueError: `k` is not a scalar, or lies outside [0, size] and is known when the graph is built.
        tf.errors.InvalidArgumentError: `k` lies outside [0, size] when the graph runs. Code compiled by XLA cannot
            raise: there the nearest possible k is taken.

    Example:
        >>> import tensorflow as tf
        >>> mask, threshold = top_k_mask(tf.constant([0.125, 0.75, 0.0, 0.5]), k=2, seed=tf.constant([0, 0]))
        >>> mask.numpy().tolist(), float(threshold)
        ([0.0, 1.0, 0.0, 1.0], 0.5)
    """
    scores = tf.convert_to_tensor(scores)
    if not scores.dtype.is_floating:
        raise TypeError(f"top_k_mask ranks floating scores, got {scores.dtype.name}. Cast them to float32 first.")
    flat = tf.reshape(scores, [-1])
    k = _checked_count(k, flat)
    select = _compiled_select(dtype) if _is_large(flat) else _traced_select(flat.dtype, dtype)
    mask, threshold = select(flat, k, tf.cast(seed, tf.int64))
    return tf.reshape(mask, tf.shape(scores)), threshold


def _checked_count(k: int | tf.Tensor, flat: tf.Tensor) -> tf.Tensor:
    k = tf.convert_to_tensor(k)
    if not k.dtype.is_integer:
        raise TypeError(f"k is a number of weights and must be an integer, got {k.dtype.name}. Round it first.")
    if k.shape.rank not in (0, None):
        raise ValueError(f"k must be a scalar, got shape {k.shape}. Call top_k_mask once for each count.")
    known, size = tf.get_static_value(k), flat.shape[0]
    if known is not None and (known < 0 or (size is not None and known > size)):
        raise ValueError(f"k must lie between 0 and the number of scores, {size}, got {known}.")
    limit = tf.size(flat, out_type=k.dtype)
    check = tf.debugging.Assert(
        (k >= 0) & (k <= limit), ["k must lie between 0 and the number of scores; k and the number:", k, limit]
    )
    with tf.control_dependencies([] if check is None else [check]):
        return tf.cast(tf.clip_by_value(k, 0, limit), tf.int32)


def _is_large(tensor: tf.Tensor) -> bool:
    return tensor.shape[0] is not None and tensor.shape[0] >= _LARGE


def _select(flat: tf.Tensor, k: tf.Tensor, seed: tf.Tensor, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
    kth, above, equal = _kth_largest(flat, score_keys, tf.maximum(k, 1), 8 * flat.dtype.size)
    score = tf.bitcast(tf.cast(kth, tf.uint16) if flat.dtype.size == 2 else kth, flat.dtype)
    threshold = tf.where(k > 0, tf.cast(score, tf.float32), float("inf"))
    kth = tf.where(k > 0, kth, kth.dtype.max)
    room = k - above

    def some_of_the_tied() -> tf.Tensor:
        keys = score_keys(flat)
        return tf.cast((keys > kth) | _lots(keys == kth, room, seed), dtype)

    mask = tf.cond((k > 0) & (equal > room), some_of_the_tied, lambda: tf.cast(score_keys(flat) >= kth, dtype))
    return mask, threshold


@functools.cache
def _traced_select(scores: tf.DType, mask: tf.DType) -> tf.types.experimental.PolymorphicFunction:
    """`_select`, traced once: a graph that prunes a hundred weights calls it a hundred times."""
    signature = [tf.TensorSpec([None], scores), tf.TensorSpec([], tf.int32), tf.TensorSpec([2], tf.int64)]
    return tf.function(functools.partial(_select, dtype=mask), input_signature=signature, autograph=False)


@functools.cache
def _compiled_select(mask: tf.DType) -> tf.types.experimental.PolymorphicFunction:
    """`_select`, compiled once for each size."""
    return tf.function(functools.partial(_select, dtype=mask), jit_compile=True, autograph=False)


def score_keys(scores: tf.Tensor) -> tf.Tensor:
    """Non-negative integers that order as floating scores do; NaN and negative scores count as zero.

    Processors and XLA may compare denormal floats as zeros; integers they compare as they are.
    """
    bits = tf.bitcast(scores, _BITS[scores.dtype.size])
    infinity = tf.bitcast(tf.constant(float("inf"), scores.dtype), bits.dtype)
    # NaN, and all that has a minus sign, lies above infinity.
    bits = tf.where(bits <= infinity, bits, tf.zeros([], bits.dtype))
    key = _KEYS[bits.dtype.size]
    return tf.bitcast(bits, key) if bits.dtype.size == key.size else tf.cast(bits, key)


def _lots(tied: tf.Tensor, room: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Which `room` of the `tied` to keep, drawn at random.

    A key is a random number with its own position below it: no two keys are equal, so none is left to decide.
    """
    size = tf.size(tied, out_type=tf.int64)
    # Not from the static shape: the same scores must give the same mask where it is unknown.
    position_bits = tf.math.count_nonzero(tf.bitwise.right_shift(size, tf.range(32, dtype=tf.int64)))
    draws = tf.random.stateless_uniform(tf.shape(tied), seed, None, None, tf.int32, alg="philox")
    draws = tf.bitwise.bitwise_and(
        tf.cast(draws, tf.int64), tf.bitwise.left_shift(tf.ones([], tf.int64), _TIE_KEY_BITS - position_bits) - 1
    )
    keys = tf.bitwise.bitwise_or(tf.bitwise.left_shift(draws, position_bits), tf.range(1, size + 1))
    keys = tf.where(tied, keys, 0)
    kth, _, _ = _kth_largest(keys, tf.identity, room, _TIE_KEY_BITS)
    return keys >= kth


def _kth_largest(
    values: tf.Tensor, keys: Callable[[tf.Tensor], tf.Tensor], k: tf.Tensor, bits: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The k-th largest of the non-negative `keys` of `values`, all below 2^bits; how many are larger, how many equal.

    Digit by digit from the top: exclusive or with the digits already known leaves, of the keys that share them, the
    rest, and puts all others beyond the histogram, which does not count them.
    """
    kth = tf.zeros([], keys(values[:0]).dtype)
    above = tf.zeros([], tf.int32)
    equal = tf.size(values)
    for shift in range(bits - _DIGIT_BITS, -1, -_DIGIT_BITS):
        places = tf.constant(shift, kth.dtype)

        def digits(part: tf.Tensor, known: tf.Tensor = kth, places: tf.Tensor = places) -> tf.Tensor:
            return tf.bitwise.right_shift(tf.bitwise.bitwise_xor(keys(part), known), places)

        digit, larger, equal = _kth_digit(_digit_counts(values, digits), k - above)
        kth = tf.bitwise.bitwise_or(kth, tf.bitwise.left_shift(tf.cast(digit, kth.dtype), places))
        above += larger
    return kth, above, equal


def _digit_counts(values: tf.Tensor, digits: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """How many of `values` have each digit, int32 of shape [65536]; what is no digit is not counted."""

    def counts(part: tf.Tensor) -> tf.Tensor:
        found = digits(part)
        return tf.raw_ops.DenseBincount(
            input=found, size=tf.constant(1 << _DIGIT_BITS, found.dtype), weights=tf.constant([], tf.int32)
        )

    if not _is_large(values):
        return counts(values)
    parts, rest = divmod(values.shape[0], _PART)
    _, total = tf.while_loop(
        lambda part, total: part < parts,
        lambda part, total: (part + 1, total + counts(tf.slice(values, [part * _PART], [_PART]))),
        (tf.constant(0), counts(values[values.shape[0] - rest :])),
    )
    return total


def _kth_digit(counts: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The digit of the k-th largest, how many have a larger one, and how many the same; `counts` int32, one a digit."""
    table = tf.reshape(counts, [_HALF_DIGIT, _HALF_DIGIT])
    high, above = _kth_bin(tf.reduce_sum(table, axis=1), k)
    row = tf.gather(table, high)
    low, larger = _kth_bin(row, k - above)
    return high * _HALF_DIGIT + low, above + larger, tf.gather(row, low)


def _kth_bin(counts: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The bin that holds the k-th largest, and how many lie in the bins above it."""
    # tf.cumsum would do, but XLA takes many seconds to compile one that a lookup follows.
    bins = tf.range(_HALF_DIGIT)
    above = tf.reduce_sum(tf.where(bins[:, None] < bins, counts, 0), axis=1)
    chosen = tf.reduce_sum(tf.cast(above >= k, tf.int32))
    return chosen, tf.gather(above, chosen)
