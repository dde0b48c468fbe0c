"""Keys and specification of PruningTrainer, shared by its component and executor."""

from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from ..pruning_report import PruningReport

HPARAMS_KEY = "hparams"
BACKUP_STEPS_KEY = "backup_steps"
TEACHER_KEY = "teacher"
REPORT_KEY = "report"


class PruningTrainerSpec(ComponentSpec):
    """tfx Trainer's specification; `hparams`, the hyperparameters as one string; `backup_steps`; teacher; report."""

    PARAMETERS = {  # noqa: RUF012
        **standard_component_specs.TrainerSpec.PARAMETERS,
        HPARAMS_KEY: ExecutionParameter(type=str),
        BACKUP_STEPS_KEY: ExecutionParameter(type=int, optional=True),
    }
    INPUTS = {  # noqa: RUF012
        **standard_component_specs.TrainerSpec.INPUTS,
        TEACHER_KEY: ChannelParameter(type=standard_artifacts.Model, optional=True),
    }
    OUTPUTS = {  # noqa: RUF012
        **standard_component_specs.TrainerSpec.OUTPUTS,
        REPORT_KEY: ChannelParameter(type=PruningReport),
    }
    TYPE_ANNOTATION = standard_component_specs.TrainerSpec.TYPE_ANNOTATION
