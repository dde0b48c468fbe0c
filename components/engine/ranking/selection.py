"""Selection: the mask that keeps the k largest scores, exactly k of them."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from ..compilation import in_compiled_code
from .joined_selection import joined_masks
from .position_hash import seed_words
from .radix_select import (
    KEYS,
    PART,
    SMALL,
    Formula,
    Keys,
    Parts,
    Scalars,
    digit_counts,
    kth_largest,
    large_digit_counts,
    score_keys,
)
from .tie_breaking import RANDOM_BITS, LargeTieBreak, random_keys_of_tied, tied_mask

# So many rankings of some size take less time one by one than at once. More would take too long to optimise.
_FEW = 8
# How many rankings, and scores, are selected from at once: this bounds the memory of histograms and keys.
_BATCH, _BATCH_SCORES = 64, 1 << 20


@dataclasses.dataclass(frozen=True)
class Scores:
    """Scores that are computed while they are ranked, in parts, without memory of the weight's size.

    Attributes:
        formula: (inputs) -> scores, element by element; hashable. It is compiled once for all formulas that equal it.
        inputs: Tensors of one shape.
    """

    formula: Formula
    inputs: tuple[tf.Tensor, ...]

    @property
    def size(self) -> int | tf.Tensor:
        """Number of scores; an int32 tensor if the graph does not know it."""
        size = self.inputs[0].shape.num_elements()
        return tf.size(self.inputs[0]) if size is None else size

    @property
    def dtype(self) -> tf.DType:
        """Dtype of the scores, which is float32 if they are computed."""
        return self.inputs[0].dtype if self.formula is tf.identity else tf.float32

    def tensor(self) -> tf.Tensor:
        """The scores themselves."""
        return self.formula(*self.inputs)


def top_k_mask(
    scores: tf.Tensor | Scores, k: int | tf.Tensor, seed: tf.Tensor, dtype: tf.DType = tf.float32
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mask of the k largest scores.

    Args:
        scores: Non-negative floating tensor of any shape, or `Scores`. NaN and negative scores count as zero.
        k: How many to keep, integer scalar, 0 <= k <= size.
        seed: int32 or int64 tensor of shape [2]. Ties are broken at random by it: if not all scores that equal the k-th
            can be kept, each of them has the same chance.
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
    k = tf.convert_to_tensor(k)
    if k.shape.rank not in (0, None):
        raise ValueError(f"k must be a scalar, got shape {k.shape}. Call top_k_mask once for each count.")
    [([mask], threshold)] = top_k_masks([[scores]], k[None], tf.convert_to_tensor(seed)[None], dtype)
    return mask, threshold


def top_k_masks(
    rankings: Sequence[Sequence[tf.Tensor | Scores]],
    k: Sequence[int] | tf.Tensor,
    seeds: tf.Tensor,
    dtype: tf.DType = tf.float32,
) -> list[tuple[list[tf.Tensor], tf.Tensor]]:
    """Masks of several rankings, each of the scores of several tensors together; else as `top_k_mask`.

    The masks of a ranking are those of its tensors concatenated.

    Args:
        rankings: The tensors that are ranked together, which have one dtype. What `Scores` compute is float32.
        k: How many each ranking keeps, integers of shape [rankings].
        seeds: int32 or int64 tensor of shape [rankings, 2].
        dtype: Dtype of the masks.

    Returns:
        For each ranking its tensors' masks, and its k-th largest score.
    """
    shapes = [[_shape(each) for each in ranking] for ranking in rankings]
    flat = [[_flat(each) for each in ranking] for ranking in rankings]
    k, seeds = _checked_counts(k, flat), tf.cast(seeds, tf.int64)
    found: dict[int, tuple[list[tf.Tensor], tf.Tensor]] = {}
    for indices in _batches(flat):
        own_k, own_seeds = (each if len(indices) == len(flat) else tf.gather(each, indices) for each in (k, seeds))
        own = _masks_of_small([flat[index] for index in indices], own_k, own_seeds, dtype)
        found.update(zip(indices, own, strict=True))
    for index, ranking in enumerate(flat):
        if index not in found:
            found[index] = _masks_of_one(ranking, k[index], seeds[index], dtype)
    return [
        ([tf.reshape(mask, shape) for mask, shape in zip(masks, own_shapes, strict=True)], threshold)
        for (masks, threshold), own_shapes in zip((found[index] for index in range(len(flat))), shapes, strict=True)
    ]


def _shape(scores: tf.Tensor | Scores) -> tf.TensorShape | tf.Tensor:
    of = scores.inputs[0] if isinstance(scores, Scores) else tf.convert_to_tensor(scores)
    return of.shape if of.shape.is_fully_defined() else tf.shape(of)


def _flat(scores: tf.Tensor | Scores) -> Scores:
    if isinstance(scores, Scores):
        return Scores(scores.formula, tuple(tf.reshape(value, [-1]) for value in scores.inputs))
    scores = tf.convert_to_tensor(scores)
    if not scores.dtype.is_floating:
        raise TypeError(f"top_k_mask ranks floating scores, got {scores.dtype.name}. Cast them to float32 first.")
    return Scores(tf.identity, (tf.reshape(scores, [-1]),))


def _batches(flat: Sequence[Sequence[Scores]]) -> list[list[int]]:
    """Indices of the rankings that are selected from at once: small ones, whose scores have one dtype."""
    limit = SMALL if len(flat) <= _FEW else PART
    batches: list[list[int]] = []
    room: dict[tf.DType, tuple[list[int], int]] = {}
    for index, ranking in enumerate(flat):
        sizes = [each.size for each in ranking]
        if not all(isinstance(size, int) for size in sizes) or sum(sizes) >= limit:
            continue
        batch, left = room.get(ranking[0].dtype, ([], 0))
        if not batch or len(batch) == _BATCH or left < sum(sizes):
            batch, left = [], _BATCH_SCORES
            batches.append(batch)
        batch.append(index)
        room[ranking[0].dtype] = batch, left - sum(sizes)
    return batches


def _masks_of_small(
    rankings: Sequence[Sequence[Scores]], k: tf.Tensor, seeds: tf.Tensor, dtype: tf.DType
) -> list[tuple[list[tf.Tensor], tf.Tensor]]:
    """`top_k_masks` of rankings of small tensors, flat, whose scores have one dtype."""
    flat = [each for ranking in rankings for each in ranking]
    scores = _end_to_end(flat).tensor()
    sizes = [[each.size for each in ranking] for ranking in rankings]
    totals = [own[0] if len(own) == 1 else sum(own) for own in sizes]
    mask, kth = joined_masks(score_keys(scores), totals, k, seeds, 8 * scores.dtype.size)
    masks = iter(_split(tf.cast(mask, dtype), flat))
    thresholds = tf.unstack(_threshold(kth, k, scores.dtype))
    return [
        ([next(masks) for _ in ranking], threshold) for ranking, threshold in zip(rankings, thresholds, strict=True)
    ]


def _masks_of_one(
    flat: Sequence[Scores], k: tf.Tensor, seed: tf.Tensor, dtype: tf.DType
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """`top_k_masks` of one ranking, of flat tensors."""
    runs = _runs(flat)
    joined = [_of_its_size(run[0] if len(run) == 1 else _end_to_end(run)) for run in runs]
    formulas = tuple(each.formula if _is_large(each) else None for each in joined)
    specs = tuple(tuple(value.dtype for value in each.inputs) for each in joined)
    masks, threshold = _traced_select(formulas, specs, dtype)([each.inputs for each in joined], k, seed)
    return [own for mask, run in zip(masks, runs, strict=True) for own in _split(mask, run)], threshold


def _end_to_end(run: Sequence[Scores]) -> Scores:
    alike = len({(each.formula, tuple(value.dtype for value in each.inputs)) for each in run}) == 1
    if not alike:
        return Scores(tf.identity, (tf.concat([each.tensor() for each in run], axis=0),))
    inputs = tuple(tf.concat(values, axis=0) for values in zip(*(each.inputs for each in run), strict=True))
    return Scores(run[0].formula, inputs)


def _of_its_size(flat: Scores) -> Scores:
    """The same if it is large, else its computed scores."""
    return flat if _is_large(flat) else Scores(tf.identity, (flat.tensor(),))


def _runs(flat: Sequence[Scores]) -> list[list[Scores]]:
    """Groups: each large one alone, small neighbours together. A histogram costs as much as thousands of scores do."""
    runs: list[list[Scores]] = []
    for each in flat:
        if runs and not _is_large(each) and not _is_large(runs[-1][0]):
            runs[-1].append(each)
        else:
            runs.append([each])
    return runs


def _split(mask: tf.Tensor, run: Sequence[Scores]) -> list[tf.Tensor]:
    return [mask] if len(run) == 1 else tf.split(mask, [each.size for each in run], num=len(run))


def _threshold(kth: tf.Tensor, k: tf.Tensor, scores: tf.DType) -> tf.Tensor:
    """The scores of keys, float32; infinity where `k` is 0."""
    score = tf.bitcast(tf.cast(kth, tf.uint16) if scores.size == 2 else kth, scores)
    return tf.where(k > 0, tf.cast(score, tf.float32), float("inf"))


def _checked_counts(k: Sequence[int] | tf.Tensor, flat: Sequence[Sequence[Scores]]) -> tf.Tensor:
    k = tf.convert_to_tensor(k)
    if not k.dtype.is_integer:
        raise TypeError(f"k is a number of weights and must be an integer, got {k.dtype.name}. Round it first.")
    if k.shape.rank not in (1, None):
        raise ValueError(f"k must be a scalar for each ranking, got shape {k.shape[1:]}. Rank each by itself.")
    sizes = [[each.size for each in ranking] for ranking in flat]
    limits = tf.stack([tf.cast(sum(own), k.dtype) for own in sizes])
    known, most = tf.get_static_value(k), tf.get_static_value(limits)
    for index, count in enumerate([] if known is None else known):
        size = None if most is None else most[index]
        if count < 0 or (size is not None and count > size):
            raise ValueError(f"k must lie between 0 and the number of scores, {size}, got {count}.")
    check = tf.debugging.Assert(
        tf.reduce_all((k >= 0) & (k <= limits)),
        ["k must lie between 0 and the number of scores; k and the number:", k, limits],
    )
    with tf.control_dependencies([] if check is None else [check]):
        return tf.cast(tf.clip_by_value(k, 0, limits), tf.int32)


def _is_large(flat: Scores) -> bool:
    """Whether a tensor is processed in parts."""
    # XLA would compile the loops over parts for 15 seconds, and again at every step.
    return isinstance(flat.size, int) and flat.size >= PART and not in_compiled_code()


@functools.cache
def _traced_select(
    formulas: tuple[Formula | None, ...], inputs: tuple[tuple[tf.DType, ...], ...], mask: tf.DType
) -> tf.types.experimental.PolymorphicFunction:
    """`_select`, traced once for all sizes, since a graph may call it for hundreds of weights.

    Args:
        formulas: For each weight that is processed in parts the formula of its scores; None for a small one, whose
            input is its scores.
        inputs: The dtypes of the formulas' inputs.
        mask: Dtype of the masks.
    """
    specs = [tuple(tf.TensorSpec([None], dtype) for dtype in dtypes) for dtypes in inputs]
    signature = [specs, tf.TensorSpec([], tf.int32), tf.TensorSpec([2], tf.int64)]
    return tf.function(
        functools.partial(_select, formulas, mask),
        input_signature=signature,
        autograph=False,
        # Inlined, it would be optimised anew for every weight.
        experimental_attributes={"_noinline": True},
    )


def _select(
    formulas: Sequence[Formula | None],
    dtype: tf.DType,
    inputs: Sequence[tuple[tf.Tensor, ...]],
    k: tf.Tensor,
    seed: tf.Tensor,
) -> tuple[list[tf.Tensor], tf.Tensor]:
    flat = [Scores(formula or tf.identity, values) for formula, values in zip(formulas, inputs, strict=True)]

    def kth_key(
        keys: Callable[[Formula], Keys],
        parts: Sequence[Parts | None],
        scalars: Scalars,
        k: tf.Tensor,
        of: tf.DType,
        bits: int,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        def counts(known: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
            return tf.add_n(
                [
                    large_digit_counts(keys(each.formula), start, scalars, each.inputs, known, places, own_parts)
                    if formula
                    else digit_counts(keys(each.formula), start, scalars, each.inputs, None, known, places)
                    for formula, start, each, own_parts in zip(formulas, starts, flat, parts, strict=True)
                ]
            )

        found = kth_largest(lambda known, places: counts(known[0], places)[None], size[None], k[None], of, bits)
        return tuple(each[0] for each in found)

    scores = flat[0].formula(*(value[:0] for value in flat[0].inputs)).dtype
    # Positions are numbered through all weights.
    starts = tf.unstack(tf.cumsum([0, *(tf.size(each.inputs[0]) for each in flat)]))
    *starts, size = starts
    everywhere = [None] * len(flat)
    kth, above, equal = kth_key(_keys_of_scores, everywhere, (), tf.maximum(k, 1), KEYS[scores.size], 8 * scores.size)
    threshold = _threshold(kth, k, scores)
    kth = tf.where(k > 0, kth, kth.dtype.max)
    room = k - above

    def some_of_the_tied() -> list[tf.Tensor]:
        scalars = (kth, *seed_words(seed))
        ties = [
            LargeTieBreak(formula, kth, each.inputs, dtype) if formula else None
            for formula, each in zip(formulas, flat, strict=True)
        ]
        parts = [own and own.parts for own in ties]
        last, _, _ = kth_key(random_keys_of_tied, parts, scalars, room, tf.int64, RANDOM_BITS)
        return [
            own.mask(start, scalars, last) if own else tied_mask(each.formula, start, scalars, last, each.inputs, dtype)
            for own, start, each in zip(ties, starts, flat, strict=True)
        ]

    def all_of_the_tied() -> list[tf.Tensor]:
        return [
            (_compiled_mask if formula else _mask)(each.formula, each.inputs, kth, dtype)
            for formula, each in zip(formulas, flat, strict=True)
        ]

    return tf.cond((k > 0) & (equal > room), some_of_the_tied, all_of_the_tied), threshold


def _mask(formula: Formula, inputs: tuple[tf.Tensor, ...], kth: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    return tf.cast(score_keys(formula(*inputs)) >= kth, dtype)


_compiled_mask = tf.function(_mask, jit_compile=True, autograph=False)


@functools.cache
def _keys_of_scores(formula: Formula) -> Keys:
    """`score_keys` of what the formula gives."""

    def keys(start: tf.Tensor, scalars: Scalars, inputs: tuple[tf.Tensor, ...]) -> tf.Tensor:
        del start, scalars
        return score_keys(formula(*inputs))

    return keys
