"""Runs a compiled pipeline without a cluster: `python -m tfx_pruning.pipelines.kubeflow_launcher pipeline.yaml`.

A tool for developers. Every task's own container command runs, one after the other, with the JSON that the launcher of
KFP v2 would hand to it, as a process of this machine or in a container of its own. Neither kfp nor tfx is imported.
"""

import argparse
import dataclasses
import datetime
import json
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

from tfx_pruning.pipelines.kubeflow_backend import Backend
from tfx_pruning.pipelines.kubeflow_local.artifact_store import ArtifactStore
from tfx_pruning.pipelines.kubeflow_local.container_engine import ContainerEngine, PodmanEngine, ProcessEngine
from tfx_pruning.pipelines.kubeflow_local.dag_run import DagRun
from tfx_pruning.pipelines.kubeflow_local.pipeline_file import PipelineFile
from tfx_pruning.pipelines.kubeflow_local.shared_folder import make_folder
from tfx_pruning.pipelines.kubeflow_local.task_result import State, TaskFailedError

EXIT_FAILED = 1
RUN_FILE = "run.json"
STORE_FILE = "artifacts.jsonl"
ENGINES = ("process", "podman")


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
        parameters = pipeline.parameters(dict(_pair(text) for text in arguments.parameter))
        root = _root(pipeline, arguments.pipeline_root)
        engine = _engine(arguments.engine, root)
        store = ArtifactStore(root / pipeline.name / STORE_FILE)
        progress = _Progress()
        started = datetime.datetime.now(datetime.timezone.utc)
        folder = root / pipeline.name / started.strftime("run-%Y%m%dT%H%M%S-%f")
        run = DagRun(pipeline, folder, store, engine, backend, progress.report)
        root.mkdir(parents=True, exist_ok=True)
        make_folder(folder.parent)
        make_folder(folder)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    print(f"Running {pipeline.name} in {folder}", flush=True)
    failure = None
    try:
        run.run(parameters)
    except TaskFailedError as error:
        failure = error
    _write(folder / RUN_FILE, pipeline, parameters, run)
    print(f"What every task made is in {folder / RUN_FILE}", flush=True)
    if failure is not None:
        print(f"error: {failure}", file=sys.stderr)
        return EXIT_FAILED
    return 0


class _Progress:
    """Prints a line per task."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def report(self, name: str, state: State | None) -> None:
        """As DagRun calls it."""
        if state is None:
            self._started = time.monotonic()
            return
        note = f"{time.monotonic() - self._started:6.1f} s" if state is State.SUCCEEDED else state.value.lower()
        print(f"  {name:<60}{note}", flush=True)


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


def _engine(name: str, root: pathlib.Path) -> ContainerEngine:
    return PodmanEngine(root) if name == "podman" else ProcessEngine()


def _write(path: pathlib.Path, pipeline: PipelineFile, parameters: dict[str, Any], run: DagRun) -> None:
    content = {
        "pipeline": pipeline.name,
        "parameters": parameters,
        "tasks": {name: dataclasses.asdict(result) for name, result in run.results.items()},
    }
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tfx_pruning.pipelines.kubeflow_launcher",
        description="Runs a compiled pipeline without a cluster, task by task, as KFP v2 would.",
        epilog=f"Exit status: 0 every task succeeded or its condition did not hold, {EXIT_FAILED} failed, "
        "2 wrong arguments.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("pipeline", help="file that kubeflow_runner wrote")
    add("--pipeline-root", help="folder of artifacts, logs and the store (default: the pipeline's own)")
    add("--parameter", action="append", default=[], metavar="NAME=VALUE", help="parameter of the run; repeatable")
    add("--engine", choices=ENGINES, default=ENGINES[0], help="tasks are processes, or containers of podman")
    add(
        "--backend", choices=[one.value for one in Backend], default=Backend.KUBEFLOW.value, help="whose ways to follow"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
