"""Checks of what prune_saved_model and PostTrainingPruner are given, before anything is read."""

import math
from typing import Any

from ..engine.choices import CRITERIA
from ..engine.hparams import PruningHParams
from ..engine.ranking.criteria import (
    BlockFisher,
    Criterion,
    GradientCriterion,
    HessianCriterion,
    InputCriterion,
    WeightChangeCriterion,
)
from ..typed_value import checked_value
from .loss import checked_loss

UNSEEN_ERROR = "error"
UNSEEN_MAGNITUDE = "magnitude"
UNSEEN = (UNSEEN_ERROR, UNSEEN_MAGNITUDE)
DEFAULT_DAMPING = 0.1


def checked_criterion(
    hparams: Any,
    *,
    has_examples: bool,
    has_loss: bool,
    loss: Any,
    unseen: Any,
    damping: Any,
    recalibrate_bn: bool,
) -> Criterion:
    """The criterion that hyperparameters name, if it can be had.

    Args:
        hparams: The hyperparameters.
        has_examples: Whether there are examples.
        has_loss: Whether a label, or an output that is the loss, is named.
        loss: See `prune_saved_model`.
        unseen: See `prune_saved_model`.
        damping: See `prune_saved_model`.
        recalibrate_bn: See `prune_saved_model`.

    Raises:
        TypeError: One is of another type.
        ValueError: One is wrong, or the criterion needs what there is not.
    """
    if not isinstance(hparams, PruningHParams):
        raise TypeError(
            f"hparams must be PruningHParams, got {type(hparams).__name__}. A string is read by PruningHParams.parse."
        )
    criterion = _criterion_after_training(hparams)
    checked_loss(loss)
    check_unseen(unseen)
    check_damping(damping)
    if needs_examples(criterion) and not has_examples:
        what = "the gradients of a loss" if needs_loss(criterion) else "the inputs of the layers"
        raise ValueError(f"prune_option={hparams.prune_option!r} looks at {what}: give it examples.")
    if recalibrate_bn and not has_examples:
        raise ValueError("recalibrate_bn=True looks at what batch normalizations are given: give it examples.")
    if needs_loss(criterion) and not has_loss:
        raise ValueError(
            f"prune_option={hparams.prune_option!r} looks at the gradients of a loss: give label, the name of the "
            "feature that holds the labels, or output, the name of the signature's output that is the loss."
        )
    return criterion


def needs_examples(criterion: Criterion) -> bool:
    """Whether a criterion looks at what a model does with examples."""
    return isinstance(criterion, InputCriterion) or needs_loss(criterion)


def needs_loss(criterion: Criterion) -> bool:
    """Whether a criterion looks at the gradients of a loss."""
    return isinstance(criterion, (BlockFisher, GradientCriterion))


def check_unseen(value: Any) -> None:
    """Raises a ValueError unless `value` says what becomes of weights whose inputs are not seen."""
    if value not in UNSEEN:
        raise ValueError(f"unseen must be one of {', '.join(UNSEEN)}, got {value!r}.")


def check_damping(value: Any) -> None:
    """Raises a TypeError or ValueError unless `value` is a possible damping."""
    damping = checked_value("damping", float, value)
    if not 0.0 < damping < math.inf:
        raise ValueError(f"damping must be a positive number, such as {DEFAULT_DAMPING}, got {damping}.")


def _criterion_after_training(hparams: PruningHParams) -> Criterion:
    criterion = CRITERIA.get(hparams.prune_option)[hparams.gradient_estimator]()
    if isinstance(criterion, (HessianCriterion, WeightChangeCriterion)):
        raise ValueError(
            f"gradient_estimator={hparams.gradient_estimator!r} needs a training. For a trained model use 'backprop', "
            "or 'block_fisher' with prune_option='second_order_gradient'."
        )
    if hparams.regrow:
        raise ValueError(f"regrow={hparams.regrow!r} needs a training; leave it out to prune a trained model.")
    if hparams.quantize:
        raise ValueError(
            f"quantize={hparams.quantize!r} needs a training; leave it out to prune a trained model, and export that "
            "as 'tflite_int8'."
        )
    if hparams.granularity != "element":
        raise ValueError(
            f"granularity={hparams.granularity!r} is not supported for a model that is pruned after its training. Use "
            "'element', with n_of_m or blocks if you like."
        )
    return criterion
