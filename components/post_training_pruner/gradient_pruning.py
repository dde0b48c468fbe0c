"""Prunes a trained model by the gradients of its loss on examples."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from ..engine.hparams import PruningHParams
from ..engine.ranking import block_fisher
from ..engine.ranking.criteria import BlockFisher, Criterion
from .calibration import Calibration
from .example_gradients import ExampleGradients
from .loss import Loss
from .masking import Masking
from .pruned_values import PrunedValues
from .reconstruction import SMALLEST
from .saved_weights import SavedWeight
from .traced_signature import TracedSignature

# Before each round the gradients are taken anew: a minute or two for so many weights times examples.
_MOST_ROUNDS = 16
_MOST_GRADIENTS = 1e10
# Blocks of 16 weights that are inverted at once, in float64.
_PART = 1 << 15


def pruned_by_gradients(
    signature: TracedSignature,
    calibration: Calibration,
    loss: Loss,
    weights: Sequence[SavedWeight],
    hparams: PruningHParams,
    criterion: Criterion,
    *,
    damping: float,
    update: bool,
) -> PrunedValues:
    """Prunes in rounds, in each by gradients of the model as the round before left it.

    Args:
        signature: The signature that is run.
        calibration: The examples, with labels unless the signature has the loss.
        loss: The loss.
        weights: The weights to prune.
        hparams: The hyperparameters.
        criterion: The criterion that they name: `BlockFisher`, which also updates the weights that are kept, or a
            `GradientCriterion`.
        damping: Of Fisher matrices, as a fraction of the mean of a weight's diagonal.
        update: Whether weights that are kept make up for those that go.

    Raises:
        ValueError: The sparsity cannot be reached, or a weight has no gradient.
    """
    masking = Masking(hparams, weights)
    changed = {each.node: tf.Variable(signature.value(each), trainable=False) for each in weights}
    masks = [np.ones(each.shape, bool) for each in weights]
    gradients = ExampleGradients(signature, calibration, loss, weights, criterion, changed)
    rounds = _rounds(calibration, weights)
    for number in range(1, rounds + 1):
        means = gradients.means()
        values = [tf.cast(changed[each.node], tf.float32) for each in weights]
        scores = []
        for value, mean, mask in zip(values, means, masks, strict=True):
            statistic = _curvature(mean, mask, damping) if isinstance(criterion, BlockFisher) else mean
            score = criterion.scores(value, statistic).numpy()
            # Kept ones rank above pruned ones, whatever their score.
            scores.append(np.where(mask, np.maximum(np.nan_to_num(score), SMALLEST), 0).astype(np.float32))
        masks = masking.masks(scores, number / rounds)
        for weight, value, mean, mask in zip(weights, values, means, masks, strict=True):
            kept = tf.where(mask, value, 0.0)
            if update and isinstance(criterion, BlockFisher):
                kept = _updated(mean, value, mask, damping)
            changed[weight.node].assign(tf.cast(kept, weight.dtype))
        left = sum(int(np.count_nonzero(mask)) for mask in masks)
        logging.info("Round %d of %d: %d of %d weights are left.", number, rounds, left, sum(m.size for m in masks))
    masking.check(masks)
    return PrunedValues(tuple(weights), tuple(masks), {node: each.numpy() for node, each in changed.items()})


def _rounds(calibration: Calibration, weights: Sequence[SavedWeight]) -> int:
    gradients = calibration.count * sum(int(np.prod(each.shape)) for each in weights)
    return int(np.clip(_MOST_GRADIENTS // gradients, 1, _MOST_ROUNDS))


def _curvature(fisher: tf.Tensor, mask: np.ndarray, damping: float) -> tf.Tensor:
    kept = tf.constant(mask, tf.float64)
    found = _by_parts(block_fisher.curvature, fisher, damping, block_fisher.blocks(kept))
    return tf.cast(block_fisher.elements(found, kept), tf.float32)


def _updated(fisher: tf.Tensor, value: tf.Tensor, mask: np.ndarray, damping: float) -> tf.Tensor:
    given, kept = (block_fisher.blocks(tf.cast(each, tf.float64)) for each in (value, mask))
    found = _by_parts(block_fisher.updated, fisher, damping, given, kept)
    return tf.cast(block_fisher.elements(found, value), tf.float32)


def _by_parts(function: Callable[..., tf.Tensor], fisher: tf.Tensor, damping: float, *values: tf.Tensor) -> tf.Tensor:
    """A function of damped blocks and of values for each, some blocks at a time."""
    added = block_fisher.damping_of(fisher, damping)
    return tf.concat(
        [
            function(
                block_fisher.damped(tf.cast(fisher[begin : begin + _PART], tf.float64), added),
                *(each[begin : begin + _PART] for each in values),
            )
            for begin in range(0, len(fisher), _PART)
        ],
        0,
    )
