"""Keys and spec that BudgetSearch and its executor share."""

from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

DENSE_MODEL_KEY = "dense_model"
EXAMPLES_KEY = "examples"
HPARAMS_KEY = "hparams"
MAX_BYTES_KEY = "max_bytes"
MAX_LATENCY_KEY = "max_latency"
FORMAT_KEY = "format"
BATCH_SIZE_KEY = "batch_size"
THREADS_KEY = "threads"
NUM_EXAMPLES_KEY = "num_examples"
SHRINK_KEY = "shrink"
HYPERPARAMETERS_KEY = "hyperparameters"

DEFAULT_NUM_EXAMPLES = 256


class BudgetSearchSpec(ComponentSpec):
    """Spec of BudgetSearch: the dense Model and optional Examples in, HyperParameters with a target sparsity out."""

    PARAMETERS = {  # noqa: RUF012
        HPARAMS_KEY: ExecutionParameter(type=str),
        # Texts, such as '1MB' and '2ms', so that a run can set them as a user writes them; '' for no limit.
        MAX_BYTES_KEY: ExecutionParameter(type=str),
        MAX_LATENCY_KEY: ExecutionParameter(type=str),
        FORMAT_KEY: ExecutionParameter(type=str),
        BATCH_SIZE_KEY: ExecutionParameter(type=int),
        THREADS_KEY: ExecutionParameter(type=int),
        NUM_EXAMPLES_KEY: ExecutionParameter(type=int),
        # 0 or 1: not every orchestrator hands on a bool.
        SHRINK_KEY: ExecutionParameter(type=int),
    }
    INPUTS = {  # noqa: RUF012
        DENSE_MODEL_KEY: ChannelParameter(type=standard_artifacts.Model),
        EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS = {  # noqa: RUF012
        HYPERPARAMETERS_KEY: ChannelParameter(type=standard_artifacts.HyperParameters),
    }
