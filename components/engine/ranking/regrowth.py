"""Regrowth: at a mask update some weights make room for pruned ones, chosen by their gradients."""

import math
from collections.abc import Sequence

import tensorflow as tf

from .allocation import Allocation

# How far below a whole number the units that make room may be to count as that number: 0.29 * 100, say.
_TOLERANCE = 1e-6
# Below every score that stands for a unit already chosen, however the allocation caps those.
_LARGEST_SCORE = tf.float32.max / 2


def regrown_masks(
    allocation: Allocation,
    scores: Sequence[tf.Tensor],
    live: Sequence[tf.Tensor],
    gradients: Sequence[tf.Tensor],
    fraction: tf.Tensor,
    step: tf.Tensor,
) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Masks at `step`, with regrowth as in RigL (Evci et al., 2020, https://arxiv.org/abs/1911.11134).

    Of the k units that a part keeps, floor(fraction * k) make room, but none that a floor asks for. The k less those
    stay: the live ones with the largest scores. From all others, those just dropped too, as many as made room are grown
    by their gradients, the largest first. Where fewer have one, the remaining places are filled by the scores.

    Args:
        allocation: How many units each part keeps.
        scores: For each weight its units' scores, float32, non-negative, of any shape.
        live: For each weight 1 for the units that the masks keep until now, else 0, float32.
        gradients: For each weight its units' gradients, float32, non-negative; 0 for what may not be grown.
        fraction: Which fraction of the units makes room, float64 scalar in [0, 1).
        step: int64 scalar.

    Returns:
        For each weight the mask of its units (bool, shape of the scores) and its threshold (float32 scalar,
        the score of the last unit that stays of those it is ranked with).
    """
    counts = allocation.counts(step)
    making_room = [
        tf.clip_by_value(tf.cast(fraction * tf.cast(count, tf.float64) + _TOLERANCE, count.dtype), 0, count - floor)
        for count, floor in zip(counts, allocation.floors, strict=True)
    ]
    stay = allocation.best(
        [score * alive for score, alive in zip(scores, live, strict=True)],
        [count - gone for count, gone in zip(counts, making_room, strict=True)],
        step,
        tf.float32,
        floors=True,
    )
    staying = [mask * alive > 0 for (mask, _), alive in zip(stay, live, strict=True)]
    candidates = [tf.where(stays, 0.0, gradient) for stays, gradient in zip(staying, gradients, strict=True)]
    grown = [mask > 0 for mask, _ in allocation.best(candidates, making_room, step, tf.float32)]
    chosen = [
        stays | (grows & (candidate > 0)) for stays, grows, candidate in zip(staying, grown, candidates, strict=True)
    ]
    ranked = [
        tf.where(taken, math.inf, tf.minimum(score, _LARGEST_SCORE))
        for taken, score in zip(chosen, scores, strict=True)
    ]
    masks = allocation.best(ranked, counts, step, tf.bool, floors=True)
    return [(mask, threshold) for (mask, _), (_, threshold) in zip(masks, stay, strict=True)]
