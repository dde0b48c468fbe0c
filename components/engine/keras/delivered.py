"""What a pruned training delivered: each weight's sparsity, counted in the SavedModel it wrote."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from ...saved_model.variables import SavedVariable, SavedVariables
from ..history.training_history import TrainingHistory
from ..model_variables import model_variables
from ..pruning import Pruning
from ..weight_state import WeightState
from .scope import PruningScope


class SparsityError(RuntimeError):
    """A saved model does not have the sparsity that was asked for."""


@dataclasses.dataclass(frozen=True)
class WeightReport:
    """One weight as it was saved.

    Attributes:
        path: Its path in the model.
        shape: Its shape.
        nonzero: How many of its parameters are not zero.
        pruned: Whether it was pruned.
    """

    path: str
    shape: tuple[int, ...]
    nonzero: int
    pruned: bool = True

    @property
    def size(self) -> int:
        """Number of its parameters."""
        return math.prod(self.shape)

    @property
    def sparsity(self) -> float:
        """Fraction of zeros; 0 if it has no parameters."""
        return 1.0 - self.nonzero / self.size if self.size else 0.0


@dataclasses.dataclass(frozen=True)
class SparsityReport:
    """All pruned weights of a saved model.

    Attributes:
        weights: One report a weight.
        total_parameters: Parameters of the whole model, unpruned ones too; no pruning or optimizer variables.
        history: The course of its training; None if it was not recorded.
    """

    weights: tuple[WeightReport, ...]
    total_parameters: int
    history: TrainingHistory | None = None

    @property
    def prunable_parameters(self) -> int:
        """Parameters of the pruned weights."""
        return sum(weight.size for weight in self.weights)

    @property
    def nonzero_parameters(self) -> int:
        """Parameters of the pruned weights that are not zero."""
        return sum(weight.nonzero for weight in self.weights)

    @property
    def sparsity(self) -> float:
        """Fraction of zeros among the prunable parameters."""
        return 1.0 - self.nonzero_parameters / self.prunable_parameters


def report_of(scope: PruningScope, saved_model: str) -> SparsityReport:
    """Counts the zeros that a pruned training saved, and checks them against what was asked for.

    Args:
        scope: The closed `pruning_scope` of the training.
        saved_model: Directory of the SavedModel that the training wrote.

    Returns:
        The report on the model of the scope that was saved; on the largest, if one was trained as part of another.

    Raises:
        ValueError: The directory holds no SavedModel.
        SparsityError: The saved model is none that was pruned, a weight has fewer or more zeros than asked for, or all
            of them came after the last step.
    """
    saved = SavedVariables(saved_model)
    reports, lacking = [], []
    histories = scope.histories or itertools.repeat(None)
    for (model, pruning, steps), history in zip(scope.trainings, histories, strict=False):
        found = _saved_weights(pruning, saved)
        missing = [path for path in pruning.paths if path not in found]
        if missing:
            lacking.append(", ".join(missing))
            continue
        weights = tuple(_weight_report(state, found[state.path], saved) for state in pruning.states)
        _check(pruning, weights, steps)
        reports.append(SparsityReport(weights, model.count_params(), history))
    if not reports:
        raise SparsityError(
            f"The model saved in {saved_model} is not the one that was pruned: it lacks {'; or '.join(lacking)}. It "
            f"holds {', '.join(sorted({v.name for v in model_variables(saved)})) or 'no variables'}. Save the model "
            "that fit trained."
        )
    return max(reports, key=lambda report: report.total_parameters)


def _saved_weights(pruning: Pruning, saved: SavedVariables) -> Mapping[str, SavedVariable]:
    variables = model_variables(saved)
    found = {}
    for state in pruning.states:
        shape = tuple(state.weight.shape)
        candidates = [variable for variable in variables if variable.shape == shape]
        # By value first: a model that fit built, or that was cloned for saving, has other names in the file. One that
        # was loaded from a checkpoint of the training has other values, and lacks the model's name in front.
        same = [v for v in candidates if np.array_equal(saved.value(v), state.weight.numpy())]
        same = same or [v for v in candidates if f"/{state.path}".endswith(f"/{v.name}")]
        if same:
            found[state.path] = same[0]
    return found


def _weight_report(state: WeightState, variable: SavedVariable, saved: SavedVariables) -> WeightReport:
    value = saved.value(variable)
    if state.masked_forward:
        value = value * state.mask.numpy()
    return WeightReport(state.path, tuple(state.weight.shape), int(np.count_nonzero(value)))


def _check(pruning: Pruning, weights: Sequence[WeightReport], steps: int) -> None:
    """Compares zeros with the target: weight by weight, or in sum over those that share a sparsity."""
    asked = pruning.kept_units_at_target()
    for part, (kept, units), target in zip(pruning.parts, pruning.kept_units(), asked, strict=True):
        members = [weights[index] for index in part]
        name = f"all {len(weights)} pruned weights together"
        if len(part) < len(weights) or len(part) == 1:
            name = ", ".join(weight.path for weight in members)
        size, nonzero = (sum(getattr(weight, of) for weight in members) for of in ("size", "nonzero"))
        # How many weights a unit has may differ: where the masks keep the units asked for, they say which weights.
        wanted = sum(int(pruning.states[index].kept()) for index in part)
        if kept != target:
            wanted = round(size * target / units)
        if kept != target or nonzero != wanted:
            reason = _too_few(pruning, steps) if kept > target or nonzero > wanted else _TOO_MANY
            raise SparsityError(
                f"{name}: asked for {size - wanted} zeros of {size} ({1 - wanted / size:.4%}), the saved model has "
                f"{size - nonzero} ({1 - nonzero / size:.4%}). {reason}"
            )
    if any(target < units for (_, units), target in zip(pruning.kept_units(), asked, strict=True)) and not int(
        tf.convert_to_tensor(pruning.last_mask_update_step)
    ):
        raise SparsityError(
            f"No mask was updated in {steps} steps of training: begin_pruning_step="
            f"{pruning.hparams.begin_pruning_step} and pruning_frequency={pruning.hparams.pruning_frequency} leave no "
            "step for it, and all weights would go at the end, unlearned. Use "
            f"PruningHParams.for_steps({steps}, ...), or train longer."
        )


_TOO_MANY = (
    "Weights that pruning kept are zero all the same: a constraint or regularizer of the layer makes them so, or they "
    "came as zeros, from a sparser base model say, and get no gradient. Ask for the sparsity that is there, or take "
    "the weight out with exclude."
)


def _too_few(pruning: Pruning, steps: int) -> str:
    hparams = pruning.hparams
    needed = max(hparams.target_step, hparams.begin_pruning_step)
    if steps < needed:
        return (
            f"Training took {steps} steps, but the schedule reaches its target at step {needed}. Train for at least "
            f"{needed} steps, or use PruningHParams.for_steps({steps}, ...)."
        )
    return (
        f"Training took {steps} steps and reached the target, so the weights were changed after fit or saved before it "
        "ended. Save the model after fit, and change no weight in between."
    )
