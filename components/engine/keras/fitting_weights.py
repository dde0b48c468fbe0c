"""Whether a model's weights fit the masks they are trained with, when a training begins or ends."""

import math
import warnings
from collections.abc import Collection, Iterable

import numpy as np

from ..pruning import Pruning
from ..weight_choice import is_embedding
from ..weight_state import WeightState
from .altered_kernels import pruned_and_altered
from .version import Model

# A trained weight may have a zero by chance.
_CHANCE = 0.01


def warn_of_other_weights(pruning: Pruning, step: int, constrained: Iterable[WeightState]) -> None:
    """Warns, before the first step of a `fit`, of weights that came without the masks that they were trained with.

    Zeros without masks tell of it only before step 1: later, masks were loaded, or the training itself has made them.

    Args:
        pruning: The pruning, with all that was loaded of it.
        step: Optimizer steps taken so far.
        constrained: States of weights with a constraint of their layer, which may make zeros.
    """
    if step:
        _warn_of_covered(pruning)
    else:
        _warn_of_lost_zeros(pruning, set(constrained))


def warn_of_changed_weights(model: Model, pruning: Pruning, step: int) -> None:
    """Warns, when no further `fit` will come, if the model does not have the zeros of its masks.

    Zeros in other places, as many as asked for, become the masks: they are those of another epoch.

    Args:
        model: The model.
        pruning: Its pruning.
        step: Optimizer steps taken.
    """
    since: dict[tuple[str, str], list[str]] = {}
    for path, kernel in pruned_and_altered(model, pruning).items():
        since.setdefault((kernel.how, kernel.mend), []).append(path)
    for (how, mend), paths in since.items():
        warnings.warn(
            f"Pruned, and changed since: {', '.join(paths)}, which {how}. pruning_scope counts the zeros of the kernel "
            f"that was pruned, not of what the layer multiplies by now. {mend}",
            stacklevel=2,
        )
    changed = _dense_where_pruned(pruning)
    if changed and not pruning.adopt_zeros(step):
        warnings.warn(
            f"After the last fit, {', '.join(changed)} got nonzero values where the masks of step {step} prune: "
            f"{pruning.sparsity():.2%} are zeros of these masks, not {1 - _kept(pruning):.2%}. Train with fit or "
            "train_on_batch in pruning_scope, or with tfx_pruning.Pruning in a loop of your own, and set no pruned "
            "weight afterwards.",
            stacklevel=2,
        )


def _warn_of_covered(pruning: Pruning) -> None:
    covered = _dense_where_pruned(pruning)
    if covered:
        warnings.warn(
            f"{', '.join(covered)} came with nonzero values where the masks prune, which the first step sets to zero: "
            "the weights were loaded, set or trained without their masks. Load what fit wrote in pruning_scope, and "
            "load it in the scope: a Keras file, a BackupAndRestore, or a tf.train.Checkpoint.",
            stacklevel=2,
        )


def _warn_of_lost_zeros(pruning: Pruning, constrained: Collection[WeightState]) -> None:
    zeros, sizes = {}, {}
    for path, state in zip(pruning.paths, pruning.states, strict=True):
        if state.masked_forward or state in constrained or int(state.kept()) < state.size:
            continue
        value = state.weight.numpy()
        if is_embedding(path):
            # Rows of padding and of words without a pretrained vector are zero without any pruning.
            value = value[np.any(value, axis=tuple(range(1, value.ndim)))]
        if _looks_pruned(value):
            zeros[path], sizes[path] = value.size - np.count_nonzero(value), value.size
    if not zeros:
        return
    share = sum(zeros.values()) / sum(sizes.values())
    first = pruning.next_mask_update(0)
    asked = pruning.sparsity_asked(int(first)) if math.isfinite(first) else 0.0
    if share > asked + _CHANCE:
        warnings.warn(
            f"{', '.join(zeros)} came with {share:.2%} zeros and without masks, which would keep them: the training "
            f"begins at step 0 with a sparsity of 0, and its first mask update, at step {first}, asks for "
            f"{asked:.2%}. set_weights, OrbaxCheckpoint and files that were written or loaded outside pruning_scope "
            "bring no masks. To go on with a pruned training, use a BackupAndRestore, a Keras file loaded in the "
            "scope, or a tf.train.Checkpoint; to start from these weights, begin the schedule with their sparsity "
            "(initial_sparsity, begin_pruning_step=0).",
            stacklevel=2,
        )


def _looks_pruned(value: np.ndarray) -> bool:
    """Whether there are zeros among weights that were trained: initial values may be zero, the identity, and such."""
    kept = value[value != 0]
    return 0 < kept.size < value.size and bool(np.any(kept != kept[0]))


def _dense_where_pruned(pruning: Pruning) -> list[str]:
    named = zip(pruning.paths, pruning.states, strict=True)
    return [path for path, state in named if state.pruned() < state.size - int(state.kept())]


def _kept(pruning: Pruning) -> float:
    return sum(int(state.kept()) for state in pruning.states) / sum(state.size for state in pruning.states)
