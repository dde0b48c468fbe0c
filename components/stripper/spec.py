"""Keys and spec that Stripper and its executor share."""

import json
from collections.abc import Sequence

from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from ..pruning_report import PruningReport
from .export.formats import FORMATS, exporters

# A spec's inputs and outputs may not share a key, so the input is not called 'model' here.
TRAINED_MODEL_KEY = "trained_model"
EXAMPLES_KEY = "examples"
SPLITS_KEY = "splits"
SIGNATURE_NAME_KEY = "signature_name"
TOLERANCE_KEY = "tolerance"
NUM_EXAMPLES_KEY = "num_examples"
EXPORT_KEY = "export"
EXPORT_SIGNATURE_KEY = "export_signature"
EXPORT_TOLERANCE_KEY = "export_tolerance"
EXPORT_METRIC_KEY = "export_metric"
EXPORT_LABEL_KEY = "export_label"
SHRINK_KEY = "shrink"
SHRINK_TOLERANCE_KEY = "shrink_tolerance"
MODEL_KEY = "model"
REPORT_KEY = "report"

DEFAULT_SIGNATURE_NAME = "serving_default"
DEFAULT_NUM_EXAMPLES = 256


class StripperSpec(ComponentSpec):
    """Spec of Stripper: a trained Model and optional Examples in, a Model and its PruningReport out."""

    PARAMETERS = {  # noqa: RUF012
        # JSON: a list of names, or null.
        SPLITS_KEY: ExecutionParameter(type=str),
        SIGNATURE_NAME_KEY: ExecutionParameter(type=str),
        TOLERANCE_KEY: ExecutionParameter(type=float),
        NUM_EXAMPLES_KEY: ExecutionParameter(type=int),
        # The names of the formats as a JSON list.
        EXPORT_KEY: ExecutionParameter(type=str),
        EXPORT_SIGNATURE_KEY: ExecutionParameter(type=str, optional=True),
        EXPORT_TOLERANCE_KEY: ExecutionParameter(type=float, optional=True),
        EXPORT_METRIC_KEY: ExecutionParameter(type=str, optional=True),
        EXPORT_LABEL_KEY: ExecutionParameter(type=str, optional=True),
        # 0 or 1: not every orchestrator hands on a bool.
        SHRINK_KEY: ExecutionParameter(type=int),
        SHRINK_TOLERANCE_KEY: ExecutionParameter(type=float, optional=True),
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
        raise ValueError(
            f"num_examples is {value}, expected at least 1; leave `examples` out to check on drawn inputs only."
        )


def check_signature_name(value: str) -> None:
    """Raises a TypeError or ValueError unless `value` is a possible name of a signature."""
    if not isinstance(value, str):
        raise TypeError(f"signature_name is {value!r}, expected the name of a signature such as 'serving_default'.")
    if not value:
        raise ValueError("signature_name is empty, expected the name of a signature such as 'serving_default'.")


def encode_formats(names: Sequence[str]) -> str:
    """The execution property that holds names of formats, such that another process finds them.

    Raises:
        TypeError: `names` is a single string.
        ValueError: A name is unknown, or given twice.
    """
    exporters(names)
    return json.dumps([FORMATS.portable(name) for name in names])


def decode_formats(value: str) -> tuple[str, ...]:
    """The names of the formats in an execution property.

    Raises:
        ValueError: It is no JSON list of names of formats.
    """
    try:
        names = json.loads(value)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"export is {value!r}, expected a JSON list of format names, such as '[\"tflite\"]'.")
    exporters(names)
    return tuple(names)
