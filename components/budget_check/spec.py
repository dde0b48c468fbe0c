"""Keys and spec that BudgetCheck and its executor share."""

from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from ..pruning_report import PruningReport

MODEL_KEY = "model"
DENSE_MODEL_KEY = "dense_model"
HYPERPARAMETERS_KEY = "hyperparameters"
EXAMPLES_KEY = "examples"
NUM_EXAMPLES_KEY = "num_examples"
REPORT_KEY = "report"
# A spec's inputs and outputs may not share a key.
NEXT_HYPERPARAMETERS_KEY = "next_hyperparameters"

DEFAULT_NUM_EXAMPLES = 256


class BudgetCheckSpec(ComponentSpec):
    """Spec of BudgetCheck: a stripped Model, the dense one and the plan in; a report and the next plan out."""

    PARAMETERS = {NUM_EXAMPLES_KEY: ExecutionParameter(type=int)}  # noqa: RUF012
    INPUTS = {  # noqa: RUF012
        MODEL_KEY: ChannelParameter(type=standard_artifacts.Model),
        DENSE_MODEL_KEY: ChannelParameter(type=standard_artifacts.Model),
        HYPERPARAMETERS_KEY: ChannelParameter(type=standard_artifacts.HyperParameters),
        EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS = {  # noqa: RUF012
        REPORT_KEY: ChannelParameter(type=PruningReport),
        NEXT_HYPERPARAMETERS_KEY: ChannelParameter(type=standard_artifacts.HyperParameters),
    }
