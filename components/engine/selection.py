"""Selection: the mask that keeps the k largest scores, exactly k of them.

The k-th score is found by a radix select: the bits of non-negative floats order as the floats do, so two histograms of
16 bits each pin down a float32 (one does for a 16-bit float, four for a float64). Nothing is sorted, every shape is
static, and the same integer operations run eagerly, in a graph and under XLA, so all three give the same mask.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TypeAlias

import tensorflow as tf

from .position_hash import hashed, seed_words

_DIGIT_BITS = 16
_HALF_DIGIT = 1 << _DIGIT_BITS // 2
_LOT_BITS = 32
# What is not tied has this in place of a lot; no digit of it is counted.
_NO_LOT = 1 << _LOT_BITS
# Large tensors are gone through in parts, side by side on the processor's cores, by code that XLA compiles once, for a
# part has one size; the last part begins so early that it is as long as the others. XLA goes through a part in tiles
# that stay in a core's cache. For small tensors, calling compiled code would cost more than it saves.
_PART = 1 << 18
_TILE = 1 << 15
# By bytes of the scores' dtype: the dtype of their bits, and of keys that hold them.
_BITS = {2: tf.uint16, 4: tf.uint32, 8: tf.uint64}
_KEYS = {2: tf.int32, 4: tf.int32, 8: tf.int64}


@dataclasses.dataclass(frozen=True)
class Scores:
    """Scores that are computed where they are ranked, part by part: memory as large as the weight is not needed.

    Attributes:
        formula: (inputs) -> scores, element by element; hashable. A formula is compiled once, so make each only once.
        inputs: Tensors of one shape.
    """

    formula: Callable[..., tf.Tensor]
    inputs: tuple[tf.Tensor, ...]

    @property
    def shape(self) -> tf.TensorShape:
        """Shape of the scores."""
        return self.inputs[0].shape

    def tensor(self) -> tf.Tensor:
        """The scores themselves."""
        return self.formula(*self.inputs)


Scalars: TypeAlias = tuple[tf.Tensor, ...]
# (position of the first input, scalars, inputs) -> keys: non-negative integers, one for each element of the inputs.
Keys: TypeAlias = Callable[[tf.Tensor, Scalars, tuple[tf.Tensor, ...]], tf.Tensor]
# (start, scalars, inputs, first, known, places) -> how many keys have each digit, as `_digit_counts`.
PartCounts: TypeAlias = Callable[..., tf.Tensor]


def top_k_mask(
    scores: tf.Tensor | Scores, k: int | tf.Tensor, seed: tf.Tensor, dtype: tf.DType = tf.float32
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mask of the k largest scores.

    Args:
        scores: Non-negative floating tensor of any shape, or what it is computed from. NaN and negative scores count
            as zero.
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
    (mask,), threshold = top_k_masks([scores], k, seed, dtype)
    return mask, threshold


def top_k_masks(
    scores: Sequence[tf.Tensor | Scores], k: int | tf.Tensor, seed: tf.Tensor, dtype: tf.DType = tf.float32
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Masks of the k largest scores of several tensors of one dtype together; else as `top_k_mask`.

    The masks are those that the tensors would have had end to end, in one.
    """
    shapes = [tf.shape(each.inputs[0] if isinstance(each, Scores) else each) for each in scores]
    flat = [_flat(each) for each in scores]
    k = _checked_count(k, flat)
    runs = _runs(flat)
    joined = [run[0] if len(run) == 1 else _end_to_end(run) for run in runs]
    formulas = tuple(each.formula if _is_large(each) else None for each in joined)
    specs = tuple(tuple(value.dtype for value in each.inputs) for each in joined)
    select = _traced_select(formulas, specs, dtype)
    joined_masks, threshold = select([each.inputs for each in joined], k, tf.cast(seed, tf.int64))
    masks = [own for mask, run in zip(joined_masks, runs, strict=True) for own in _split(mask, run)]
    return [tf.reshape(mask, shape) for mask, shape in zip(masks, shapes, strict=True)], threshold


def _flat(scores: tf.Tensor | Scores) -> Scores:
    if isinstance(scores, Scores):
        flat = Scores(scores.formula, tuple(tf.reshape(value, [-1]) for value in scores.inputs))
        return flat if _is_large(flat) else Scores(tf.identity, (flat.tensor(),))
    scores = tf.convert_to_tensor(scores)
    if not scores.dtype.is_floating:
        raise TypeError(f"top_k_mask ranks floating scores, got {scores.dtype.name}. Cast them to float32 first.")
    return Scores(tf.identity, (tf.reshape(scores, [-1]),))


def _end_to_end(run: Sequence[Scores]) -> Scores:
    return Scores(tf.identity, (tf.concat([each.tensor() for each in run], axis=0),))


def _runs(flat: Sequence[Scores]) -> list[list[Scores]]:
    """Every large one by itself, small neighbours together: a histogram costs as much as thousands of scores do."""
    runs: list[list[Scores]] = []
    for each in flat:
        if runs and not _is_large(each) and not _is_large(runs[-1][0]):
            runs[-1].append(each)
        else:
            runs.append([each])
    return runs


def _split(mask: tf.Tensor, run: Sequence[Scores]) -> list[tf.Tensor]:
    return [mask] if len(run) == 1 else tf.split(mask, [tf.size(each.inputs[0]) for each in run], num=len(run))


def _checked_count(k: int | tf.Tensor, flat: Sequence[Scores]) -> tf.Tensor:
    k = tf.convert_to_tensor(k)
    if not k.dtype.is_integer:
        raise TypeError(f"k is a number of weights and must be an integer, got {k.dtype.name}. Round it first.")
    if k.shape.rank not in (0, None):
        raise ValueError(f"k must be a scalar, got shape {k.shape}. Call top_k_mask once for each count.")
    known, sizes = tf.get_static_value(k), [each.shape[0] for each in flat]
    size = None if None in sizes else sum(sizes)
    if known is not None and (known < 0 or (size is not None and known > size)):
        raise ValueError(f"k must lie between 0 and the number of scores, {size}, got {known}.")
    limit = tf.add_n([tf.size(each.inputs[0], out_type=k.dtype) for each in flat])
    check = tf.debugging.Assert(
        (k >= 0) & (k <= limit), ["k must lie between 0 and the number of scores; k and the number:", k, limit]
    )
    with tf.control_dependencies([] if check is None else [check]):
        return tf.cast(tf.clip_by_value(k, 0, limit), tf.int32)


def _is_large(flat: Scores) -> bool:
    return flat.shape[0] is not None and flat.shape[0] >= _PART


@functools.cache
def _traced_select(
    formulas: tuple[Callable[..., tf.Tensor] | None, ...], inputs: tuple[tuple[tf.DType, ...], ...], mask: tf.DType
) -> tf.types.experimental.PolymorphicFunction:
    """`_select`, traced once for all sizes: a graph that prunes a hundred weights calls it a hundred times.

    Args:
        formulas: For each weight that is gone through in parts its scores' formula; None for a small one, whose input
            is its scores.
        inputs: The dtypes of the formulas' inputs.
        mask: Dtype of the masks.
    """
    specs = [tuple(tf.TensorSpec([None], dtype) for dtype in dtypes) for dtypes in inputs]
    signature = [specs, tf.TensorSpec([], tf.int32), tf.TensorSpec([2], tf.int64)]
    return tf.function(functools.partial(_select, formulas, mask), input_signature=signature, autograph=False)


def _select(
    formulas: Sequence[Callable[..., tf.Tensor] | None],
    dtype: tf.DType,
    inputs: Sequence[tuple[tf.Tensor, ...]],
    k: tf.Tensor,
    seed: tf.Tensor,
) -> tuple[list[tf.Tensor], tf.Tensor]:
    flat = [Scores(formula or tf.identity, values) for formula, values in zip(formulas, inputs, strict=True)]

    def kth_largest(
        keys: Callable[[Callable[..., tf.Tensor]], Keys],
        part_counts: Callable[[Callable[..., tf.Tensor]], PartCounts],
        scalars: Scalars,
        k: tf.Tensor,
        of: tf.DType,
        bits: int,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        def digit_counts(known: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
            return tf.add_n(
                [
                    _large_digit_counts(part_counts(each.formula), start, scalars, each.inputs, known, places)
                    if formula
                    else _digit_counts(keys(each.formula), start, scalars, each.inputs, None, known, places)
                    for formula, start, each in zip(formulas, starts, flat, strict=True)
                ]
            )

        return _kth_largest(digit_counts, size, k, of, bits)

    scores = flat[0].formula(*(value[:0] for value in flat[0].inputs)).dtype
    # Positions are counted through all weights.
    starts = tf.unstack(tf.cumsum([0, *(tf.size(each.inputs[0]) for each in flat)]))
    *starts, size = starts
    kth, above, equal = kth_largest(
        _keys_of_scores, _part_counts_of_scores, (), tf.maximum(k, 1), _KEYS[scores.size], 8 * scores.size
    )
    score = tf.bitcast(tf.cast(kth, tf.uint16) if scores.size == 2 else kth, scores)
    threshold = tf.where(k > 0, tf.cast(score, tf.float32), float("inf"))
    kth = tf.where(k > 0, kth, kth.dtype.max)
    room = k - above

    def some_of_the_tied() -> list[tf.Tensor]:
        scalars = (kth, *seed_words(seed))
        last, _, _ = kth_largest(_lots_of_tied, _part_counts_of_lots, scalars, room, tf.int64, _LOT_BITS)
        return [
            (_compiled_tied_mask if formula else _tied_mask)(each.formula, start, scalars, last, each.inputs, dtype)
            for formula, start, each in zip(formulas, starts, flat, strict=True)
        ]

    def all_of_the_tied() -> list[tf.Tensor]:
        return [
            (_compiled_mask if formula else _mask)(each.formula, each.inputs, kth, dtype)
            for formula, each in zip(formulas, flat, strict=True)
        ]

    return tf.cond((k > 0) & (equal > room), some_of_the_tied, all_of_the_tied), threshold


def _mask(
    formula: Callable[..., tf.Tensor], inputs: tuple[tf.Tensor, ...], kth: tf.Tensor, dtype: tf.DType
) -> tf.Tensor:
    return tf.cast(score_keys(formula(*inputs)) >= kth, dtype)


_compiled_mask = tf.function(_mask, jit_compile=True, autograph=False)


def _tied_mask(
    formula: Callable[..., tf.Tensor],
    start: tf.Tensor,
    scalars: Scalars,
    last: tf.Tensor,
    inputs: tuple[tf.Tensor, ...],
    dtype: tf.DType,
) -> tf.Tensor:
    """Mask of the scores above the k-th, and of those equal to it whose lots are `last` or more."""
    keys, lots = score_keys(formula(*inputs)), _lots_of_tied(formula)(start, scalars, inputs)
    return tf.cast((keys > scalars[0]) | ((lots >= last) & (lots < _NO_LOT)), dtype)


_compiled_tied_mask = tf.function(_tied_mask, jit_compile=True, autograph=False)


@functools.cache
def _keys_of_scores(formula: Callable[..., tf.Tensor]) -> Keys:
    """`score_keys` of what the formula gives."""

    def keys(start: tf.Tensor, scalars: Scalars, inputs: tuple[tf.Tensor, ...]) -> tf.Tensor:
        del start, scalars
        return score_keys(formula(*inputs))

    return keys


@functools.cache
def _lots_of_tied(formula: Callable[..., tf.Tensor]) -> Keys:
    """Lots of the scores whose key is the first of the scalars; the others are the words of a seed.

    A lot is a hash of the score's position: no two are equal, so none is left to decide.
    """

    def lots(start: tf.Tensor, scalars: Scalars, inputs: tuple[tf.Tensor, ...]) -> tf.Tensor:
        kth, *words = scalars
        keys = score_keys(formula(*inputs))
        positions = tf.cast(start + tf.range(tf.size(keys)), tf.uint32)
        return tf.where(keys == kth, tf.cast(hashed(positions, words), tf.int64), _NO_LOT)

    return lots


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


def _kth_largest(
    digit_counts: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], size: tf.Tensor, k: tf.Tensor, dtype: tf.DType, bits: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The k-th largest of non-negative keys, all below 2^bits; how many are larger, how many equal.

    Args:
        digit_counts: (known, places) -> how many keys have each digit, as `_digit_counts`.
        size: How many keys there are.
        k: int32 scalar, 1 <= k <= size.
        dtype: Dtype of the keys.
        bits: A multiple of 16.
    """
    kth = tf.zeros([], dtype)
    above = tf.zeros([], tf.int32)
    equal = size
    for shift in range(bits - _DIGIT_BITS, -1, -_DIGIT_BITS):
        places = tf.constant(shift, dtype)
        digit, larger, equal = _kth_digit(digit_counts(kth, places), k - above)
        kth = tf.bitwise.bitwise_or(kth, tf.bitwise.left_shift(tf.cast(digit, dtype), places))
        above += larger
    return kth, above, equal


def _digit_counts(
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
        first: Which of `inputs` is the first one that counts; None for all.
        known: What is known of the key that is looked for; others that differ from it there are left out.
        places: How many bits there are below the digit.

    Returns:
        int32 of shape [65536].
    """
    # Exclusive or leaves the rest of the keys that share the known digits, and puts all others beyond the histogram.
    digits = tf.bitwise.right_shift(tf.bitwise.bitwise_xor(keys(start, scalars, inputs), known), places)
    beyond = tf.constant(1 << _DIGIT_BITS, digits.dtype)
    if first is not None:
        digits = tf.where(tf.range(tf.size(digits)) < first, beyond, digits)
    return tf.raw_ops.DenseBincount(input=digits, size=beyond, weights=tf.constant([], tf.int32))


def _counts_by_parts(
    counts: PartCounts,
    length: int,
    start: tf.Tensor,
    scalars: Scalars,
    inputs: tuple[tf.Tensor, ...],
    first: tf.Tensor | None,
    known: tf.Tensor,
    places: tf.Tensor,
) -> tf.Tensor:
    """`_digit_counts`, as the sum of `counts` over parts of `length`; there is at least one."""
    size = tf.size(inputs[0])
    last = size - length

    def add(begin: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        at = tf.minimum(begin, last)
        fresh = begin if first is None else tf.maximum(begin, first)
        part = tuple(tf.slice(value, [at], [length]) for value in inputs)
        return begin + length, total + counts(start + at, scalars, part, fresh - at, known, places)

    begin = tf.constant(0) if first is None else first - first % length
    nothing = tf.zeros([1 << _DIGIT_BITS], tf.int32)
    _, total = tf.while_loop(lambda begin, _: begin < size, add, (begin, nothing))
    return total


@functools.cache
def _part_counts(keys: Keys) -> PartCounts:
    """Counts of the digits of a part's keys, compiled."""
    counts = functools.partial(_counts_by_parts, functools.partial(_digit_counts, keys), _TILE)
    return tf.function(counts, jit_compile=True, autograph=False)


@functools.cache
def _part_counts_of_scores(formula: Callable[..., tf.Tensor]) -> PartCounts:
    return _part_counts(_keys_of_scores(formula))


@functools.cache
def _part_counts_of_lots(formula: Callable[..., tf.Tensor]) -> PartCounts:
    """Counts of the digits of a part's lots; in most parts there may be nothing tied, and nothing is counted there."""
    counts = _part_counts(_lots_of_tied(formula))

    @functools.partial(tf.function, jit_compile=True, autograph=False)
    def any_tied(kth: tf.Tensor, inputs: tuple[tf.Tensor, ...]) -> tf.Tensor:
        return tf.reduce_any(score_keys(formula(*inputs)) == kth)

    def counts_if_any(
        start: tf.Tensor,
        scalars: Scalars,
        inputs: tuple[tf.Tensor, ...],
        first: tf.Tensor | None,
        known: tf.Tensor,
        places: tf.Tensor,
    ) -> tf.Tensor:
        return tf.cond(
            any_tied(scalars[0], inputs),
            lambda: counts(start, scalars, inputs, first, known, places),
            lambda: tf.zeros([1 << _DIGIT_BITS], tf.int32),
        )

    return counts_if_any


# Traced once for all sizes, by reduce_retracing: a loop takes long to trace, and there is one for each tensor.
_large_digit_counts = tf.function(
    lambda part_counts, start, scalars, inputs, known, places: _counts_by_parts(
        part_counts, _PART, start, scalars, inputs, None, known, places
    ),
    reduce_retracing=True,
    autograph=False,
)


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
