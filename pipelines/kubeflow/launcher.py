"""Runs a compiled pipeline without a cluster: `python -m tfx_pruning.pipelines.kubeflow.launcher pipeline.yaml`.

A tool for developers. Every task's own container command runs, one after the other, with the JSON that the launcher of
KFP v2 would hand to it, as a process of this machine or in a container of its own. Neither kfp nor tfx is imported.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from tfx_pruning.pipelines.kubeflow.backend import Backend
from tfx_pruning.pipelines.kubeflow.local.container_engine import ENGINES, container_engine
from tfx_pruning.pipelines.kubeflow.local.launch import Launch
from tfx_pruning.pipelines.kubeflow.local.pipeline_file import PipelineFile
from tfx_pruning.pipelines.run.progress import Progress
from tfx_pruning.pipelines.task_state import TaskFailedError

EXIT_FAILED = 1
_TASK_NAME_WIDTH = 60


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a pipeline and prints a line per task.

    Args:
        argv: Command line arguments; None for those of the process.

    Returns:
        0 if every task succeeded or was skipped by its condition, EXIT_FAILED otherwise.
    """
    arguments = _parser().parse_args(argv)
    try:
        pipeline = PipelineFile.read(pathlib.Path(arguments.pipeline))
        backend = Backend.of(arguments.backend)
        parameters = dict(_pair(text) for text in arguments.parameter)
        root = _root(pipeline, arguments.pipeline_root)
        engine = container_engine(arguments.engine, root)
        progress = Progress(sys.stdout, _TASK_NAME_WIDTH)
        launch = Launch(pipeline, root, parameters, engine, backend, progress)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    print(f"Running {pipeline.name} in {launch.folder}", flush=True)
    failure = None
    try:
        with progress:
            launch.run()
    except TaskFailedError as error:
        failure = error
    print(f"What every task made is in {launch.record}", flush=True)
    if failure is not None:
        print(f"error: {failure}", file=sys.stderr)
        return EXIT_FAILED
    return 0


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"--parameter must be NAME=VALUE, got {text!r}.")
    return name, value


def _root(pipeline: PipelineFile, given: str | None) -> pathlib.Path:
    root = given or pipeline.default_root
    if not root:
        raise ValueError("The pipeline has no root of its own: give one with --pipeline-root.")
    if "://" in root:
        raise ValueError(f"The pipeline's root {root} is no folder of this machine: give one with --pipeline-root.")
    return pathlib.Path(root).absolute()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tfx_pruning.pipelines.kubeflow.launcher",
        description="Runs a compiled pipeline without a cluster, task by task, as KFP v2 would.",
        epilog=f"Exit status: 0 every task succeeded or its condition did not hold, {EXIT_FAILED} failed, "
        "2 wrong arguments.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("pipeline", help="file that tfx_pruning.pipelines.kubeflow.runner wrote")
    add("--pipeline-root", help="folder of artifacts, logs and the store (default: the pipeline's own)")
    add("--parameter", action="append", default=[], metavar="NAME=VALUE", help="parameter of the run; repeatable")
    add("--engine", choices=ENGINES, default=ENGINES[0], help="tasks are processes, or containers of podman")
    add(
        "--backend", choices=[one.value for one in Backend], default=Backend.KUBEFLOW.value, help="whose ways to follow"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
