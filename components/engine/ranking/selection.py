"""Selection: the mask that keeps the k largest scores, exactly k of them."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from ..compilation import in_compiled_code
from .position_hash import seed_words
from .radix_select import (
    KEYS,
    PART,
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
    def shape(self) -> tf.TensorShape:
        """Shape of the scores."""
        return self.inputs[0].shape

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
    (mask,), threshold = top_k_masks([scores], k, seed, dtype)
    return mask, threshold


def top_k_masks(
    scores: Sequence[tf.Tensor | Scores], k: int | tf.Tensor, seed: tf.Tensor, dtype: tf.DType = tf.float32
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Masks of the k largest scores of several tensors together, which have one dtype; else as `top_k_mask`.

    The masks are those of the tensors concatenated.
    """
    shapes = [tf.shape(each.inputs[0] if isinstance(each, Scores) else each) for each in scores]
    flat = [_flat(each) for each in scores]
    k = _checked_count(k, flat)
    runs = _runs(flat)
    joined = [_of_its_size(run[0] if len(run) == 1 else _end_to_end(run)) for run in runs]
    formulas = tuple(each.formula if _is_large(each) else None for each in joined)
    specs = tuple(tuple(value.dtype for value in each.inputs) for each in joined)
    select = _traced_select(formulas, specs, dtype)
    joined_masks, threshold = select([each.inputs for each in joined], k, tf.cast(seed, tf.int64))
    masks = [own for mask, run in zip(joined_masks, runs, strict=True) for own in _split(mask, run)]
    return [tf.reshape(mask, shape) for mask, shape in zip(masks, shapes, strict=True)], threshold


def _flat(scores: tf.Tensor | Scores) -> Scores:
    if isinstance(scores, Scores):
        return Scores(scores.formula, tuple(tf.reshape(value, [-1]) for value in scores.inputs))
    scores = tf.convert_to_tensor(scores)
    if not scores.dtype.is_floating:
        raise TypeError(f"top_k_mask ranks floating scores, got {scores.dtype.name}. Cast them to float32 first.")
    return Scores(tf.identity, (tf.reshape(scores, [-1]),))


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
    # XLA would compile the loops over parts for 15 seconds, and again at every step.
    return flat.shape[0] is not None and flat.shape[0] >= PART and not in_compiled_code()


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
    return tf.function(functools.partial(_select, formulas, mask), input_signature=signature, autograph=False)


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

        return kth_largest(counts, size, k, of, bits)

    scores = flat[0].formula(*(value[:0] for value in flat[0].inputs)).dtype
    # Positions are numbered through all weights.
    starts = tf.unstack(tf.cumsum([0, *(tf.size(each.inputs[0]) for each in flat)]))
    *starts, size = starts
    everywhere = [None] * len(flat)
    kth, above, equal = kth_key(_keys_of_scores, everywhere, (), tf.maximum(k, 1), KEYS[scores.size], 8 * scores.size)
    score = tf.bitcast(tf.cast(kth, tf.uint16) if scores.size == 2 else kth, scores)
    threshold = tf.where(k > 0, tf.cast(score, tf.float32), float("inf"))
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
