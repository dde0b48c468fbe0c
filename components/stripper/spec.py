"""Keys and spec that Stripper and its executor share."""

from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from ..pruning_report import PruningReport

# A spec's inputs and outputs may not share a key, so the input is not called 'model' here.
TRAINED_MODEL_KEY = "trained_model"
EXAMPLES_KEY = "examples"
NUM_EXAMPLES_KEY = "num_examples"
MODEL_KEY = "model"
REPORT_KEY = "report"

DEFAULT_NUM_EXAMPLES = 256


class StripperSpec(ComponentSpec):
    """Spec of Stripper: a trained Model and optional Examples in, a Model and its PruningReport out."""

    PARAMETERS = {  # noqa: RUF012
        NUM_EXAMPLES_KEY: ExecutionParameter(type=int),
    }
    INPUTS = {  # noqa: RUF012
        TRAINED_MODEL_KEY: ChannelParameter(type=standard_artifacts.Model),
        EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS = {  # noqa: RUF012
        MODEL_KEY: ChannelParameter(type=standard_artifacts.Model),
        REPORT_KEY: ChannelParameter(type=PruningReport),
    }


def refuse_num_examples(value: int) -> None:
    """Raises a ValueError if `value` is not a possible number of examples to read."""
    if value < 1:
        raise ValueError(
            f"num_examples is {value}, expected at least 1; leave `examples` out to check on drawn inputs only."
        )
