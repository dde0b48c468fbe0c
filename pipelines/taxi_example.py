"""The taxi example: the data that come with tfx, for which PipelineConfig has its defaults."""

import importlib.util
import pathlib

_SHIPPED_DATA = ("examples", "chicago_taxi_pipeline", "data", "simple")


def shipped_data() -> str:
    """The folder of the Chicago taxi trips in the installed tfx package, found without importing it.

    Raises:
        ValueError: tfx is not installed.
    """
    spec = importlib.util.find_spec("tfx")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError("tfx is not installed: pip install 'tfx>=1.21,<1.22'.")
    return str(pathlib.Path(spec.submodule_search_locations[0], *_SHIPPED_DATA))
