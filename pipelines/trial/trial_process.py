"""The process in which a module is tried: `python -m tfx_pruning.pipelines.trial.trial_process FOLDER`."""

import json
import pathlib
import sys

REQUEST = "request.json"
RESULT = "result.json"


def main(folder: pathlib.Path) -> None:
    """Tries the module of the configuration in REQUEST, and writes to RESULT what came of it.

    Args:
        folder: Holds the request, and gets all that is written.
    """
    # Here, and in this order: TFDV before 1.21 needs tfx first.
    from tfx import v1 as tfx  # noqa: F401

    from tfx_pruning.pipelines.config import PipelineConfig
    from tfx_pruning.pipelines.module_copy import importable_copy
    from tfx_pruning.pipelines.trial.example_sample import NoSampleError, sample_examples
    from tfx_pruning.pipelines.trial.module_trial import ModuleTrial, TrialFailedError

    config = PipelineConfig(**json.loads((folder / REQUEST).read_text(encoding="utf-8")))
    result = {}
    try:
        examples = sample_examples(config)
        module = config.module_path or importable_copy(config.module_file, folder / "modules")
        ModuleTrial(config, module, examples, folder).run()
    except TrialFailedError as error:
        result["module"] = str(error)
    except NoSampleError as error:
        result["untried"] = str(error)
    except ValueError as error:
        result["data"] = str(error)
    (folder / RESULT).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
