"""Regrowth: at a mask update, some units are replaced by pruned ones with large gradients."""

import math
from collections.abc import Sequence

import tensorflow as tf

from .allocation import Allocation

# How far below a whole number a count may be, as 0.29 * 100 is, to be rounded up to it.
_TOLERANCE = 1e-6
# The largest score of a unit that is not chosen yet, below the scores that allocations give to chosen ones.
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

    Of the k units that a part keeps, floor(fraction * k) are replaced, but none that a floor asks for. The others are
    kept: those of the live units with the largest scores. The replacements are the units with the largest gradients
    among all that are not kept, just dropped ones too. If too few units have a gradient, those with the largest scores
    fill the remaining places.

    Args:
        allocation: How many units each part keeps.
        scores: For each weight its units' scores, float32, non-negative, of any shape.
        live: For each weight 1 for the units that the present masks keep, else 0, float32.
        gradients: For each weight its units' gradients, float32, non-negative; 0 for units that must not come back.
        fraction: Which fraction of the units is replaced, float64 scalar in [0, 1).
        step: int64 scalar.

    Returns:
        For each weight the mask of its units (bool, shape of the scores) and its threshold (float32 scalar, the score
        of the last unit that is not replaced of those it is ranked with).
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
