"""Checks of hyperparameters: each value, and those that contradict each other."""

import dataclasses
import re

from ..typed_value import shown
from . import hparams_string, path_map
from .choices import (
    BACKPROP,
    CHANNEL,
    CRITERIA,
    DISTILL_LOSSES,
    GRADIENT_ESTIMATORS,
    GRANULARITIES,
    QUANTIZATIONS,
    SCHEDULES,
)
from .hparams_fields import RUN_TOLERANCE, HParamsFields

ALLOCATIONS = ("uniform", "global", "erk", "sensitivity")
POOLING_FUNCTIONS = ("AVG", "MAX")
REGROWTHS = ("", "gradient")
COSTS = ("parameters", "flops")


def check(hparams: HParamsFields) -> None:
    """Raises a ValueError for the first wrong value or contradiction."""
    _check_choices(hparams)
    _check_ranges(hparams)
    _check_schedule(hparams)
    _check_supported(hparams)
    _check_granularity(hparams)
    for field in dataclasses.fields(hparams):
        if isinstance(getattr(hparams, field.name), tuple):
            hparams_string.check_items(field.name, getattr(hparams, field.name))
    for name in ("include", "exclude"):
        for pattern in getattr(hparams, name):
            path_map.checked_regex(name, pattern)
    _check_allocation(hparams)
    _check_regrowth(hparams)
    _check_distillation(hparams)
    _check_quantization(hparams)
    _ = hparams.weight_sparsities, hparams.group_sparsities, hparams.block_dims, hparams.sensitivity_curves


def check_teacher(hparams: HParamsFields, is_given: bool) -> None:
    """Raises a ValueError if there is a teacher that has no weight in the loss, or the other way round."""
    if is_given and not hparams.distill_weight:
        raise ValueError(
            "teacher is given, but distill_weight is 0, so it would teach nothing. Set distill_weight, such as 0.5, or "
            "leave out teacher."
        )
    if hparams.distill_weight and not is_given:
        raise ValueError(
            f"distill_weight={hparams.distill_weight} needs a teacher. Give the dense model as teacher, to "
            "PruningTrainer its output 'model', or leave distill_weight at 0."
        )


def check_for_own_loop(hparams: HParamsFields) -> None:
    """Raises a ValueError if a teacher or rounding is asked for: a loop of the user's own computes its own loss."""
    if hparams.distill_weight:
        raise ValueError(
            f"distill_weight={hparams.distill_weight} is for fit in a pruning_scope with a teacher. A loop of your own "
            "computes its own loss: add the teacher's part there, and leave distill_weight at 0."
        )
    if hparams.quantize:
        raise ValueError(
            f"quantize={hparams.quantize!r} is for fit and train_on_batch in a pruning_scope, whose forward pass it "
            "rounds. A loop of your own has its own: leave out quantize, and quantize the model after the training."
        )


def _check_granularity(hparams: HParamsFields) -> None:
    for name in ("block_height", "block_width"):
        if getattr(hparams, name) < 1 and getattr(hparams, name) != -1:
            raise ValueError(
                f"{name} must be a number of weights, or -1 for the whole dimension, got {getattr(hparams, name)}."
            )
    blocks = (hparams.block_height, hparams.block_width) != (1, 1) and not hparams.intra_block_sparsity
    asked = {
        f"granularity={hparams.granularity!r}": hparams.granularity != HParamsFields.granularity,
        "block_height, block_width or block_dims_map": blocks or bool(hparams.block_dims_map),
        f"n_of_m={hparams.n_of_m!r}": bool(hparams.n_of_m),
        "intra_block_sparsity=True": hparams.intra_block_sparsity,
    }
    given = [name for name, wanted in asked.items() if wanted]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} exclude each other. Set only one of them.")
    if hparams.intra_block_sparsity and (hparams.block_width < 2 or hparams.block_height != 1):
        raise ValueError(
            "intra_block_sparsity=True needs runs of weights: block_width must be at least 2 and block_height 1, got "
            f"{hparams.block_width} and {hparams.block_height}."
        )
    if hparams.n_of_m:
        match = re.fullmatch(r"([0-9]{1,18}):([0-9]{1,18})", hparams.n_of_m)
        if not match or not 0 < int(match[1]) < int(match[2]):
            raise ValueError(f"n_of_m must be 'n:m' with 0 < n < m, such as '2:4', got {shown(hparams.n_of_m)}.")
    if hparams.run_length:
        _check_runs(hparams)
    if hparams.granularity == CHANNEL:
        _check_channels(hparams)
    elif hparams.cost != HParamsFields.cost:
        raise ValueError(
            f"cost={hparams.cost!r} is for granularity='channel': other zeros save no multiply-adds. Set granularity, "
            "or leave cost at 'parameters'."
        )
    elif hparams.channel_multiple != HParamsFields.channel_multiple:
        raise ValueError(
            f"channel_multiple={hparams.channel_multiple} is for granularity='channel': other zeros leave every "
            "channel where it is. Set granularity, or leave channel_multiple at 1."
        )


def _check_channels(hparams: HParamsFields) -> None:
    """Channels run through several weights, so that no weight has a sparsity of its own."""
    wrong = {
        "weight_sparsity_map": bool(hparams.weight_sparsity_map),
        "group_pruning": hparams.group_pruning,
        f"allocation={hparams.allocation!r}": hparams.allocation in ("erk", "sensitivity"),
        f"regrow={hparams.regrow!r}": bool(hparams.regrow),
    }
    given = [name for name, wanted in wrong.items() if wanted]
    if given:
        raise ValueError(
            f"granularity='channel' does not go with {' or '.join(given)}: a channel runs through several weights, and "
            "has no gradient once it is gone. Use allocation='global' or 'uniform', and leave out the rest."
        )


def _check_runs(hparams: HParamsFields) -> None:
    name = (
        f"n_of_m={hparams.n_of_m!r}"
        if hparams.n_of_m
        else f"intra_block_sparsity with block_width={hparams.block_width}"
    )
    length, zeros = hparams.run_length, round(hparams.run_length * hparams.target_sparsity)
    if hparams.n_of_m:
        zeros = length - int(hparams.n_of_m.partition(":")[0])
    if abs(length * hparams.target_sparsity - zeros) > RUN_TOLERANCE:
        wanted = f"{zeros / length:.6g}" if hparams.n_of_m else f"a whole number of {length}ths"
        raise ValueError(
            f"{name} gives every run of {length} weights the same number of zeros, which target_sparsity="
            f"{hparams.target_sparsity} contradicts. Set target_sparsity to {wanted}."
        )
    if hparams.allocation != "uniform" or hparams.weight_sparsity_map or hparams.group_pruning:
        raise ValueError(
            f"{name} gives every run the same sparsity. Use allocation='uniform', and leave out "
            "weight_sparsity_map and groups."
        )


def _check_choices(hparams: HParamsFields) -> None:
    for name, choices in (
        ("gradient_estimator", GRADIENT_ESTIMATORS),
        ("allocation", ALLOCATIONS),
        ("block_pooling_function", POOLING_FUNCTIONS),
        ("cost", COSTS),
    ):
        if getattr(hparams, name) not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(hparams, name)!r}.")
    for registry in (CRITERIA, SCHEDULES, GRANULARITIES):
        registry.get(getattr(hparams, registry.field))
    estimators = CRITERIA.get(hparams.prune_option)
    if hparams.gradient_estimator not in estimators:
        takers = [name for name, known in CRITERIA.loaded().items() if hparams.gradient_estimator in known]
        raise ValueError(
            f"prune_option={hparams.prune_option!r} takes gradient_estimator={' or '.join(map(repr, estimators))}, got "
            f"{hparams.gradient_estimator!r}. Use that, or prune_option={' or '.join(map(repr, takers))}."
        )
    if not re.fullmatch(r"[\w./-]+", hparams.name):
        raise ValueError(f"name must be letters, digits and ._/- only, got {hparams.name!r}.")


def _check_ranges(hparams: HParamsFields) -> None:
    for name in (
        "initial_sparsity",
        "target_sparsity",
        "threshold_decay",
        "gradient_decay_rate",
        "min_layer_density",
    ):
        if not 0.0 <= getattr(hparams, name) < 1.0:
            raise ValueError(f"{name} must be in [0, 1), got {getattr(hparams, name)}.")
    for name in ("begin_pruning_step", "sparsity_function_begin_step"):
        if getattr(hparams, name) < 0:
            raise ValueError(f"{name} must not be negative, got {getattr(hparams, name)}.")
    for name in ("pruning_frequency", "nbins", "sparsity_function_exponent", "channel_multiple"):
        if not getattr(hparams, name) > 0:
            raise ValueError(f"{name} must be positive, got {getattr(hparams, name)}.")


def _check_schedule(hparams: HParamsFields) -> None:
    if hparams.sparsity_function_begin_step >= hparams.sparsity_function_end_step:
        raise ValueError(
            f"sparsity_function_begin_step ({hparams.sparsity_function_begin_step}) must be before "
            f"sparsity_function_end_step ({hparams.sparsity_function_end_step})."
        )
    if hparams.end_pruning_step == -1:
        return
    if hparams.end_pruning_step < -1:
        raise ValueError(f"end_pruning_step must be a step, or -1 for no last one, got {hparams.end_pruning_step}.")
    if hparams.begin_pruning_step >= hparams.end_pruning_step:
        raise ValueError(
            f"begin_pruning_step ({hparams.begin_pruning_step}) must be before end_pruning_step "
            f"({hparams.end_pruning_step}). Set end_pruning_step to -1 to prune until training stops."
        )
    if hparams.end_pruning_step < hparams.target_step:
        raise ValueError(
            f"Pruning would stop at end_pruning_step={hparams.end_pruning_step}, before the sparsity reaches its "
            f"target at {hparams.target_step_field}={hparams.target_step}. Set end_pruning_step to "
            f"{hparams.target_step} or later, or to -1, in a training of at least {hparams.target_step} steps."
        )


def _check_allocation(hparams: HParamsFields) -> None:
    if hparams.group_sparsity_map and not hparams.group_pruning:
        raise ValueError(
            f"group_sparsity_map={list(hparams.group_sparsity_map)} needs group_pruning=True. Set it, or leave out "
            "the map."
        )
    if hparams.group_pruning and hparams.allocation != "uniform":
        raise ValueError(
            f"group_pruning and allocation={hparams.allocation!r} are two ways to share out the sparsity. Leave "
            "allocation at 'uniform', or group_pruning at False."
        )
    one_group = hparams.group_pruning and not hparams.group_sparsity_map
    if hparams.weight_sparsity_map and (one_group or hparams.allocation != "uniform"):
        choice = "group_pruning without group_sparsity_map" if one_group else f"allocation={hparams.allocation!r}"
        raise ValueError(
            f"{choice} gives all weights one sparsity together, so weight_sparsity_map="
            f"{list(hparams.weight_sparsity_map)} cannot hold. Leave out the map, or "
            + ("write the groups down." if one_group else "use allocation='uniform'.")
        )
    if (hparams.allocation == "sensitivity") != bool(hparams.sensitivity_map):
        raise ValueError(
            "sensitivity_map is for allocation='sensitivity' alone. Set that, or leave out the map."
            if hparams.sensitivity_map
            else "allocation='sensitivity' needs sensitivity_map, which says what zeros cost in each weight. Give the "
            "hyperparameters that `tfx-pruning sensitivity` prints, or Sensitivity.fields."
        )
    if hparams.min_layer_density and hparams.allocation == "uniform" and not hparams.group_pruning:
        raise ValueError(
            f"min_layer_density={hparams.min_layer_density} has no effect under allocation='uniform': every layer "
            "keeps what its own sparsity says. Use allocation='global', 'erk' or 'sensitivity', or group_pruning, or "
            "leave it at 0."
        )


def _check_regrowth(hparams: HParamsFields) -> None:
    if hparams.regrow not in REGROWTHS:
        raise ValueError(f"regrow must be 'gradient', or '' for no regrowth, got {hparams.regrow!r}.")
    if not 0.0 < hparams.regrow_fraction < 1.0:
        raise ValueError(f"regrow_fraction must be in (0, 1), got {hparams.regrow_fraction}.")
    if not hparams.regrow:
        return
    if hparams.gradient_estimator != BACKPROP:
        raise ValueError(
            f"regrow={hparams.regrow!r} ranks by |dL/dw|, which gradient_estimator={hparams.gradient_estimator!r} does "
            "not average. Use gradient_estimator='backprop'."
        )
    if hparams.regrow_end_step <= hparams.begin_pruning_step:
        raise ValueError(
            f"regrow={hparams.regrow!r} has no step to work at: it begins at begin_pruning_step="
            f"{hparams.begin_pruning_step} and ends where the sparsity is at its target, at step "
            f"{hparams.regrow_end_step}. Set end_pruning_step to the step where it is to end."
        )
    kept = hparams.run_length - hparams.zeros_of_run(hparams.target_sparsity)
    if hparams.run_length and hparams.regrow_fraction * kept < 1:
        raise ValueError(
            f"regrow_fraction={hparams.regrow_fraction} of the {kept:.0f} weights that a run of {hparams.run_length} "
            f"keeps is less than one: none would come back. Set it above {1 / kept:.6g}."
            if kept > 1
            else f"A run of {hparams.run_length} keeps one weight, which cannot make room for another. Leave out "
            f"regrow={hparams.regrow!r}, or keep more."
        )


def _check_distillation(hparams: HParamsFields) -> None:
    if not 0.0 <= hparams.distill_weight <= 1.0:
        raise ValueError(
            f"distill_weight must be in [0, 1], the teacher's share of the loss, got {hparams.distill_weight}. Write "
            "0.5 for one half, or 0 for no teacher."
        )
    if hparams.temperature <= 0.0:
        raise ValueError(
            f"temperature must be above 0, got {hparams.temperature}. 1 leaves probabilities as they are, larger "
            "values make them more alike."
        )
    if hparams.distill_loss and hparams.distill_loss not in DISTILL_LOSSES:
        raise ValueError(
            f"distill_loss must be {', '.join(map(repr, DISTILL_LOSSES[:-1]))} or {DISTILL_LOSSES[-1]!r}, or '' to "
            f"choose it from the compiled loss, got {shown(hparams.distill_loss)}."
        )


def _check_quantization(hparams: HParamsFields) -> None:
    if hparams.quantize not in ("", *QUANTIZATIONS):
        raise ValueError(
            f"quantize must be {' or '.join(map(repr, QUANTIZATIONS))}, or '' for no rounding, got "
            f"{shown(hparams.quantize)}."
        )
    if hparams.quantize_begin_step != -1 and hparams.quantize_begin_step < 1:
        raise ValueError(
            f"quantize_begin_step must be a step from 1 on, or -1 for the one after the sparsity has reached its "
            f"target, got {hparams.quantize_begin_step}."
        )
    if not hparams.quantize and hparams.quantize_begin_step != -1:
        raise ValueError(
            f"quantize_begin_step={hparams.quantize_begin_step} has no effect without quantize. Set quantize='int8', "
            "or leave quantize_begin_step at -1."
        )


def _check_supported(hparams: HParamsFields) -> None:
    if hparams.threshold_decay:
        raise ValueError(
            f"threshold_decay={hparams.threshold_decay} is not supported: masks are exact, no threshold is smoothed. "
            "Leave it at 0."
        )
    if hparams.group_block_dims_map:
        raise ValueError(
            f"group_block_dims_map={list(hparams.group_block_dims_map)} is not supported: block_dims_map names the "
            "blocks of a group's weights too. Leave it empty."
        )
