"""Keys and spec that PostTrainingPruner and its executor share."""

from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from ..pruning_report import PruningReport

# A spec's inputs and outputs may not share a key, so the input is not called 'model' here.
TRAINED_MODEL_KEY = "trained_model"
EXAMPLES_KEY = "examples"
HPARAMS_KEY = "hparams"
SPLITS_KEY = "splits"
NUM_EXAMPLES_KEY = "num_examples"
SIGNATURE_NAME_KEY = "signature_name"
LABEL_KEY = "label"
LOSS_KEY = "loss"
OUTPUT_KEY = "output"
UNSEEN_KEY = "unseen"
DAMPING_KEY = "damping"
UPDATE_KEY = "update"
RECALIBRATE_BN_KEY = "recalibrate_bn"
MODEL_KEY = "model"
REPORT_KEY = "report"

DEFAULT_NUM_EXAMPLES = 1024


class PostTrainingPrunerSpec(ComponentSpec):
    """Spec of PostTrainingPruner: a trained Model and optional Examples in, a Model and its PruningReport out."""

    PARAMETERS = {  # noqa: RUF012
        HPARAMS_KEY: ExecutionParameter(type=str),
        # JSON: a list of names, or null.
        SPLITS_KEY: ExecutionParameter(type=str),
        NUM_EXAMPLES_KEY: ExecutionParameter(type=int),
        SIGNATURE_NAME_KEY: ExecutionParameter(type=str, optional=True),
        LABEL_KEY: ExecutionParameter(type=str, optional=True),
        LOSS_KEY: ExecutionParameter(type=str),
        OUTPUT_KEY: ExecutionParameter(type=str, optional=True),
        UNSEEN_KEY: ExecutionParameter(type=str),
        DAMPING_KEY: ExecutionParameter(type=float),
        # 0 or 1: not every orchestrator hands on a bool.
        UPDATE_KEY: ExecutionParameter(type=int),
        RECALIBRATE_BN_KEY: ExecutionParameter(type=int),
    }
    INPUTS = {  # noqa: RUF012
        TRAINED_MODEL_KEY: ChannelParameter(type=standard_artifacts.Model),
        EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS = {  # noqa: RUF012
        MODEL_KEY: ChannelParameter(type=standard_artifacts.Model),
        REPORT_KEY: ChannelParameter(type=PruningReport),
    }


def check_num_examples(value: int) -> None:
    """Raises a ValueError unless `value` is a possible number of examples to read."""
    if value < 1:
        raise ValueError(f"num_examples is {value}, expected at least 1.")
