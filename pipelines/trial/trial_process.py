"""The main function of the process in which a module is tried."""

import json
import pathlib
import traceback

from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.quick_import import quick_import

REQUEST = "request.json"
RESULT = "result.json"


def main(folder: pathlib.Path) -> None:
    """Tries the module of the configuration in REQUEST, and writes to RESULT what came of it.

    Args:
        folder: Holds the request, and gets all that is written.
    """
    config = PipelineConfig(**json.loads((folder / REQUEST).read_text(encoding="utf-8")))
    try:
        result = _tried(config, folder)
    except Exception as error:
        # What is wrong with module or data is caught before: this is the trial's own failure.
        traceback.print_exc()
        result = {"untried": f"the trial itself failed with {type(error).__name__}: {error}"}
    (folder / RESULT).write_text(json.dumps(result), encoding="utf-8")


def _tried(config: PipelineConfig, folder: pathlib.Path) -> dict[str, str]:
    """What is wrong, by where it is: the module, the data, or what cannot be 'untried'; {} if nothing is."""
    # Here, and in this order: TFDV before 1.21 needs tfx first.
    with quick_import():
        from tfx import v1 as tfx  # noqa: F401

        from tfx_pruning.pipelines.module_copy import with_importable_module
        from tfx_pruning.pipelines.trial.example_sample import NoSampleError, sample_examples
        from tfx_pruning.pipelines.trial.module_trial import ModuleTrial, TrialFailedError

    try:
        examples = sample_examples(config)
    except NoSampleError as error:
        return {"untried": str(error)}
    except ValueError as error:
        return {"data": str(error)}
    module = with_importable_module(config, folder / "modules").module_path
    try:
        ModuleTrial(config, module, examples, folder).run()
    except TrialFailedError as error:
        return {"module": str(error)}
    return {}
