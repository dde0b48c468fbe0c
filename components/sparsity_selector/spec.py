"""Keys and specs that SparsitySelector and its executor share."""

import re
from collections.abc import Iterable

from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from ..pruning_report import PruningReport
from ..typed_value import checked_value

BASELINE_MODEL_KEY = "baseline_model"
METRIC_KEY = "metric"
TOLERANCE_KEY = "tolerance"
DIRECTION_KEY = "direction"
BOUND_KEY = "bound"
MODEL_KEY = "model"
BLESSING_KEY = "blessing"
REPORT_KEY = "report"

_MODEL_PREFIX = "model_"
_EVALUATION_PREFIX = "evaluation_"
_CHECK_PREFIX = "check_"
_NAME = re.compile(r"[A-Za-z0-9_]+")


class SparsitySelectorSpec(ComponentSpec):
    """What every SparsitySelector has: optionally a dense Model in; a Model, its ModelBlessing and a report out.

    `spec_of` adds the inputs of the candidates. Each has a name of its own, for Kubeflow's compiler takes no union of
    channels, and a union would not tell which evaluation belongs to which model.
    """

    PARAMETERS = {  # noqa: RUF012
        METRIC_KEY: ExecutionParameter(type=str),
        TOLERANCE_KEY: ExecutionParameter(type=float),
        DIRECTION_KEY: ExecutionParameter(type=str),
        BOUND_KEY: ExecutionParameter(type=float, optional=True),
    }
    INPUTS = {  # noqa: RUF012
        BASELINE_MODEL_KEY: ChannelParameter(type=standard_artifacts.Model, optional=True),
    }
    OUTPUTS = {  # noqa: RUF012
        MODEL_KEY: ChannelParameter(type=standard_artifacts.Model),
        BLESSING_KEY: ChannelParameter(type=standard_artifacts.ModelBlessing),
        REPORT_KEY: ChannelParameter(type=PruningReport),
    }


def spec_of(names: Iterable[str], checks: bool = False) -> type[SparsitySelectorSpec]:
    """The spec of a SparsitySelector with candidates of these names, and with checks of a budget or without."""
    inputs = dict(SparsitySelectorSpec.INPUTS)
    for name in names:
        inputs[model_key(name)] = ChannelParameter(type=standard_artifacts.Model)
        inputs[evaluation_key(name)] = ChannelParameter(type=standard_artifacts.ModelEvaluation)
        if checks:
            inputs[check_key(name)] = ChannelParameter(type=PruningReport)
    return type(SparsitySelectorSpec.__name__, (SparsitySelectorSpec,), {"INPUTS": inputs})


def model_key(name: str) -> str:
    """The input that is the stripped model of a candidate."""
    return f"{_MODEL_PREFIX}{name}"


def evaluation_key(name: str) -> str:
    """The input that is the evaluation of a candidate."""
    return f"{_EVALUATION_PREFIX}{name}"


def check_key(name: str) -> str:
    """The input that is BudgetCheck's report of a candidate."""
    return f"{_CHECK_PREFIX}{name}"


def candidate_names(input_keys: Iterable[str]) -> list[str]:
    """The names of the candidates whose models are among the inputs, sorted: inputs are in no order."""
    return sorted(key.removeprefix(_MODEL_PREFIX) for key in input_keys if key.startswith(_MODEL_PREFIX))


def check_name(name: object) -> None:
    """Raises a TypeError or ValueError if `name` is no possible name of a candidate."""
    if not _NAME.fullmatch(checked_value("A candidate's name", str, name)):
        raise ValueError(f"A candidate's name must be of ASCII letters, digits and underscores, got {name!r}.")
