"""Keys and spec that Stripper and its executor share."""

import json
from collections.abc import Sequence

from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from .formats import chosen_formats

# A spec's inputs and outputs may not share a key, so the input is not called 'model' here.
TRAINED_MODEL_KEY = "trained_model"
EXAMPLES_KEY = "examples"
NUM_EXAMPLES_KEY = "num_examples"
EXPORT_KEY = "export"
EXPORT_SIGNATURE_KEY = "export_signature"
EXPORT_TOLERANCE_KEY = "export_tolerance"
MODEL_KEY = "model"

DEFAULT_NUM_EXAMPLES = 256


class StripperSpec(ComponentSpec):
    """Spec of Stripper: a trained Model and optional Examples in, a Model out."""

    PARAMETERS = {  # noqa: RUF012
        NUM_EXAMPLES_KEY: ExecutionParameter(type=int),
        # The names of the formats as a JSON list.
        EXPORT_KEY: ExecutionParameter(type=str),
        EXPORT_SIGNATURE_KEY: ExecutionParameter(type=str, optional=True),
        EXPORT_TOLERANCE_KEY: ExecutionParameter(type=float, optional=True),
    }
    INPUTS = {  # noqa: RUF012
        TRAINED_MODEL_KEY: ChannelParameter(type=standard_artifacts.Model),
        EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS = {  # noqa: RUF012
        MODEL_KEY: ChannelParameter(type=standard_artifacts.Model),
    }


def refuse_num_examples(value: int) -> None:
    """Raises a ValueError if `value` is not a possible number of examples to read."""
    if value < 1:
        raise ValueError(
            f"num_examples is {value}, expected at least 1; leave `examples` out to check on drawn inputs only."
        )


def encode_formats(names: Sequence[str]) -> str:
    """The names of formats as the execution property that holds them; refuses unknown ones."""
    return json.dumps([each.name for each in chosen_formats(names)])


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
    return tuple(each.name for each in chosen_formats(names))
