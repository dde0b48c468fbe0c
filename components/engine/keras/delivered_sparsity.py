"""DeliveredSparsity: the sparsity of each pruned weight, counted in the SavedModel that a training wrote."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ...saved_model.variables import SavedVariable, SavedVariables
from ..history.training_history import TrainingHistory
from ..model_variables import model_variables
from ..pruning import Pruning
from ..share import MULTIPLY_ADDS, Share
from ..weight_state import WeightState
from .altered_kernels import pruned_and_altered
from .counterparts import counterparts
from .parameter_count import parameter_count
from .scope import PruningScope
from .version import Model


class SparsityError(RuntimeError):
    """A saved model does not have the sparsity asked for."""


@dataclasses.dataclass(frozen=True)
class WeightSparsity:
    """How many parameters of one saved weight are not zero.

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
class DeliveredSparsity:
    """The sparsity of all pruned weights of a saved model.

    Attributes:
        weights: The pruned weights.
        total_parameters: Parameters of the whole model, unpruned ones too, without pruning and optimizer variables.
        history: The history of its training; None if it was not recorded.
        multiply_adds: Those of one example, before pruning and as the masks keep them; None if the sparsity that was
            asked for does not count them.
    """

    weights: tuple[WeightSparsity, ...]
    total_parameters: int
    history: TrainingHistory | None = None
    multiply_adds: tuple[int, int] | None = None

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

    @property
    def total_sparsity(self) -> float:
        """Fraction of all parameters of the model, unpruned ones too, that are zeros of the pruned weights."""
        return (self.prunable_parameters - self.nonzero_parameters) / self.total_parameters


def delivered_sparsity(scope: PruningScope, saved_model: str) -> DeliveredSparsity:
    """Counts the zeros that a pruned training saved, and checks that they are those asked for.

    Args:
        scope: The closed `pruning_scope` of the training.
        saved_model: Directory of the SavedModel that the training wrote.

    Returns:
        The sparsity of the saved model. If the scope trained several models of it, that of the largest.

    Raises:
        ValueError: The directory holds no SavedModel.
        SparsityError: The saved model was not pruned in the scope; a weight has fewer or more zeros than asked for; or
            all zeros were made after the last step.
    """
    saved = SavedVariables(saved_model)
    delivered, lacking = [], []
    histories = scope.histories or itertools.repeat(None)
    for (model, pruning, steps), history in zip(scope.trainings, histories, strict=False):
        found = counterparts(pruning.states, saved)
        named = dict(zip(pruning.paths, pruning.states, strict=True))
        missing = [path for path, state in named.items() if state not in found]
        if missing:
            lacking.append(", ".join(missing))
            continue
        _check_not_added_to(model, pruning)
        weights = tuple(_weight_sparsity(path, state, found[state], saved) for path, state in named.items())
        _check(pruning, weights, steps)
        delivered.append(DeliveredSparsity(weights, parameter_count(model), history, _multiply_adds(pruning)))
    if not delivered:
        raise SparsityError(
            f"The model saved in {saved_model} is not the one that was pruned: it lacks {'; or '.join(lacking)}. It "
            f"holds {', '.join(sorted({v.name for v in model_variables(saved)})) or 'no variables'}. Save the model "
            "that was trained."
        )
    return max(delivered, key=lambda each: each.total_parameters)


def _multiply_adds(pruning: Pruning) -> tuple[int, int] | None:
    counted = [share for share in pruning.shares_at_target() if share.counted == MULTIPLY_ADDS]
    return (counted[0].total, counted[0].kept) if counted else None


def _weight_sparsity(path: str, state: WeightState, variable: SavedVariable, saved: SavedVariables) -> WeightSparsity:
    value = saved.value(variable)
    if state.masked_forward:
        value = value * state.mask.numpy()
    return WeightSparsity(path, tuple(state.weight.shape), int(np.count_nonzero(value)))


def _check_not_added_to(model: Model, pruning: Pruning) -> None:
    for name, kernel in pruned_and_altered(model, pruning).items():
        if kernel.changed:
            raise SparsityError(
                f"{name} {kernel.how}, and that was trained after fit: what is served has not the zeros of the kernel. "
                f"{kernel.mend}"
            )


def _check(pruning: Pruning, weights: Sequence[WeightSparsity], steps: int) -> None:
    """Compares the zeros with the target, for each weight or in sum for the weights that share a sparsity."""
    shares = pruning.shares_at_target()
    for share in shares:
        members = [weights[index] for index in share.members]
        name = f"all {len(weights)} pruned weights together"
        if len(members) < len(weights) or len(members) == 1:
            name = ", ".join(weight.path for weight in members)
        size, nonzero = (sum(getattr(weight, of) for weight in members) for of in ("size", "nonzero"))
        # Units may differ in size. If the masks keep as many units as asked for, they say how many weights that is.
        wanted = sum(_wanted(share, int(pruning.states[index].kept()), weights[index]) for index in share.members)
        if not share.is_delivered and share.counted != "units":
            raise SparsityError(
                f"{name}: asked for {share.total - share.most} of {share.total} {share.counted} to go "
                f"({1 - share.most / share.total:.4%}), {share.total - share.kept} are gone "
                f"({1 - share.kept / share.total:.4%}). {_too_few(pruning, steps)}"
            )
        if not share.is_delivered:
            wanted = round(size * share.most / share.total)
        if not share.is_delivered or nonzero != wanted:
            reason = _too_few(pruning, steps) if share.kept > share.most or nonzero > wanted else _TOO_MANY
            raise SparsityError(
                f"{name}: asked for {size - wanted} zeros of {size} ({1 - wanted / size:.4%}), the saved model has "
                f"{size - nonzero} ({1 - nonzero / size:.4%}). {reason}"
            )
    if any(share.most < share.total for share in shares) and not int(
        tf.convert_to_tensor(pruning.last_mask_update_step)
    ):
        raise SparsityError(
            f"No mask was updated in {steps} steps of training: begin_pruning_step="
            f"{pruning.hparams.begin_pruning_step} and pruning_frequency={pruning.hparams.pruning_frequency} leave no "
            "step for it: all weights would be pruned at the end, with no step left to learn. Use "
            f"PruningHParams.for_steps({steps}, ...), or train longer."
        )


def _wanted(share: Share, kept: int, weight: WeightSparsity) -> int:
    """How many parameters of a weight must not be zero, if its mask keeps `kept`."""
    if share.counted != "units" and len(weight.shape) < 2:
        # A channel that is left may have a bias of zero, as it was made.
        return min(kept, weight.nonzero)
    return kept


_TOO_MANY = (
    "Weights that pruning kept are zero all the same: a constraint or regularizer of the layer makes them so; the "
    "layer was quantized, which rounds them; or they came as zeros, from a sparser base model say, and get no "
    "gradient. Ask for the sparsity that is there, or take the weight out with exclude."
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
        "ended. Save the model after fit, or after finish in a loop of your own, and change no weight in between."
    )
