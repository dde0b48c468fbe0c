"""The criteria, schedules and granularities that hyperparameters name: the one list of those that are built in.

TensorFlow is not imported before one is used.
"""

import dataclasses
import functools
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

from ..registry import Registry

# What the samples of a gradient state are made of.
BACKPROP = "backprop"
WEIGHT_DELTA = "weight_delta"
HUTCHINSON = "hutchinson"
BLOCK_FISHER = "block_fisher"
GRADIENT_ESTIMATORS = (BACKPROP, WEIGHT_DELTA, HUTCHINSON, BLOCK_FISHER)

# How a model's answers are compared with its teacher's.
CATEGORICAL, BINARY, SQUARED_ERROR, FROM_LOGITS = "categorical", "binary", "squared_error", "_from_logits"
DISTILL_LOSSES = (CATEGORICAL, CATEGORICAL + FROM_LOGITS, BINARY, BINARY + FROM_LOGITS, SQUARED_ERROR)

# What the last part of a training simulates the rounding of.
QUANTIZATIONS = ("int8",)


@dataclasses.dataclass(frozen=True)
class ScheduleEntry:
    """A schedule that `sparsity_function` names.

    Attributes:
        load: Gives the class, a `schedule.Schedule`.
        reaches_target_at: 'begin' or 'end': at which of `sparsity_function_begin_step` and
            `sparsity_function_end_step` the sparsity is at its target.
    """

    load: Callable[[], Any]
    reaches_target_at: str = "end"


@functools.cache
def _load(place: str) -> Any:
    return pkgutil.resolve_name(f"{__package__}.ranking.{place}")


@functools.cache
def _make(place: str) -> Any:
    return _load(place)()


def _lazy(class_name: str) -> Callable[[], Any]:
    """Gives the one instance of a class of `ranking.criteria`."""
    return functools.partial(_make, f"criteria:{class_name}")


# By prune_option and gradient_estimator. As in the reference, the two orders of 'weight_delta' have one score.
CRITERIA: Registry[Mapping[str, Callable[[], Any]]] = Registry(
    "prune_option",
    {
        "weight": {BACKPROP: _lazy("Magnitude"), WEIGHT_DELTA: _lazy("Magnitude")},
        "first_order_gradient": {BACKPROP: _lazy("FirstOrder"), WEIGHT_DELTA: _lazy("WeightChange")},
        "second_order_gradient": {
            BACKPROP: _lazy("SecondOrder"),
            WEIGHT_DELTA: _lazy("SecondWeightChange"),
            HUTCHINSON: _lazy("HessianDiagonal"),
            BLOCK_FISHER: _lazy("BlockFisher"),
        },
        # Of layers' inputs, which only `prune_saved_model` sees.
        "wanda": {BACKPROP: _lazy("Wanda")},
        "obc": {BACKPROP: _lazy("OptimalBrainCompression")},
    },
    function="tfx_pruning.register_criterion",
    group="tfx_pruning.criteria",
)

SCHEDULES: Registry[ScheduleEntry] = Registry(
    "sparsity_function",
    {
        "polynomial": ScheduleEntry(functools.partial(_load, "schedule:PolynomialSchedule")),
        "constant": ScheduleEntry(functools.partial(_load, "schedule:ConstantSchedule"), reaches_target_at="begin"),
        "cosine": ScheduleEntry(functools.partial(_load, "schedule:CosineSchedule")),
        "one_shot": ScheduleEntry(functools.partial(_load, "schedule:OneShotSchedule")),
    },
    function="tfx_pruning.register_schedule",
    group="tfx_pruning.schedules",
)

CHANNEL = "channel"

# Each gives a function of the hyperparameters, a weight's path, its shape and its block's height and width. Channels
# run through several weights; theirs gives the class that ranks them.
GRANULARITIES: Registry[Callable[[], Any]] = Registry(
    "granularity",
    {
        "element": functools.partial(_load, "granularity:elements_or_blocks"),
        CHANNEL: functools.partial(_load, "channel_selection:ChannelSelection"),
    },
)
