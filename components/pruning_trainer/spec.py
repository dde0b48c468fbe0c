"""Keys and specification of PruningTrainer, shared by its component and executor."""

from tfx.types import standard_component_specs
from tfx.types.component_spec import ComponentSpec, ExecutionParameter

HPARAMS_KEY = "hparams"


class PruningTrainerSpec(ComponentSpec):
    """tfx Trainer's specification and `hparams`, the pruning hyperparameters as one string."""

    PARAMETERS = {  # noqa: RUF012
        **standard_component_specs.TrainerSpec.PARAMETERS,
        HPARAMS_KEY: ExecutionParameter(type=str),
    }
    INPUTS = standard_component_specs.TrainerSpec.INPUTS
    OUTPUTS = standard_component_specs.TrainerSpec.OUTPUTS
    TYPE_ANNOTATION = standard_component_specs.TrainerSpec.TYPE_ANNOTATION
