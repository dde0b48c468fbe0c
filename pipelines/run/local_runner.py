"""Runs the pipeline of a configuration on this machine, with TFX's LocalDagRunner."""

import contextlib
import logging
import re
import traceback
from collections.abc import Iterator, Sequence

import absl.logging
from tfx import v1 as tfx
from tfx.proto.orchestration import pipeline_pb2

from tfx_pruning.pipelines.beam_args import IN_PROCESS
from tfx_pruning.pipelines.beam_workers import failing_with_their_workers
from tfx_pruning.pipelines.budget_pipeline import BUDGET
from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.module_copy import with_importable_module
from tfx_pruning.pipelines.pipeline import create_pipeline
from tfx_pruning.pipelines.run.budget_rounds import run_budget_rounds
from tfx_pruning.pipelines.run.folder import RunFolder
from tfx_pruning.pipelines.run.latency import measured_latency
from tfx_pruning.pipelines.run.metadata_run import MetadataRun
from tfx_pruning.pipelines.run.outcome import RunOutcome, run_document
from tfx_pruning.pipelines.run.page_file import PageFile
from tfx_pruning.pipelines.run.recorded_figures import record_figures
from tfx_pruning.pipelines.task_state import OnTask, TaskFailedError, TaskState
from tfx_pruning.pipelines.user_code import UserCode


def run(
    config: PipelineConfig, folder: RunFolder, on_task: OnTask, beam_pipeline_args: Sequence[str] = IN_PROCESS
) -> RunOutcome:
    """Runs the pipeline, and writes the page on the run. With a budget there may be up to three trainings that prune.

    What earlier runs were at when they were killed is marked as failed.

    Args:
        config: What to run.
        folder: An existing folder, for ML Metadata and the page. No other process may use it meanwhile.
        on_task: Called with a component's name and None when it begins, and with its state when it has ended.
        beam_pipeline_args: Arguments of the components that run on Beam.

    Returns:
        The outcome of the run.

    Raises:
        ValueError: The pipeline cannot be built.
        OSError: The user's module cannot be copied into the folder.
        TaskFailedError: A component failed; its traceback was printed.
    """
    if config.budget is not None:
        ways = {BUDGET: config.hparams}
        finished, sweep = run_budget_rounds(config, ways, folder, on_task, run_pipeline, beam_pipeline_args)
        candidate = sweep.nearest.name
    else:
        finished, sweep, candidate = _run_once(config, folder, on_task, beam_pipeline_args), None, ""
    latency = measured_latency(finished, candidate)
    page = PageFile.write(folder.report, lambda: run_document(finished, candidate, latency, sweep))
    outcome = RunOutcome.of(finished, page, latency, candidate, sweep)
    record_figures(finished, outcome)
    return outcome


def _run_once(
    config: PipelineConfig, folder: RunFolder, on_task: OnTask, beam_pipeline_args: Sequence[str]
) -> MetadataRun:
    metadata = str(folder.metadata)
    connection = tfx.orchestration.metadata.sqlite_metadata_connection_config(metadata)
    code = UserCode.of(config)
    folder.end_dead_executions(config.pipeline_root)
    config = with_importable_module(config, folder.modules)
    name = run_pipeline(create_pipeline(config, connection, beam_pipeline_args), on_task, code)
    return MetadataRun(metadata, config.pipeline_name, name)


def run_pipeline(pipeline: tfx.dsl.Pipeline, on_task: OnTask, code: UserCode) -> str:
    """Runs any pipeline with TFX's LocalDagRunner.

    Args:
        pipeline: The pipeline.
        on_task: As for `run`.
        code: The user's module, a line of which an error may come from.

    Returns:
        The name of the run in ML Metadata.

    Raises:
        TaskFailedError: A component failed; its traceback was printed.
    """
    runner = _NamingRunner()
    with _told(on_task) as events:
        try:
            with failing_with_their_workers():
                runner.run(pipeline)
        except Exception as error:
            if events.running is None:
                raise
            traceback.print_exc()
            on_task(events.running, TaskState.FAILED)
            raise TaskFailedError(f"{events.running} failed: {code.described(error)}") from error
    return runner.run_name


class _NamingRunner(tfx.orchestration.LocalDagRunner):
    """A LocalDagRunner that keeps the name that it gave to its run."""

    run_name = ""

    def run_with_ir(self, pipeline: pipeline_pb2.Pipeline, run_options: pipeline_pb2.RunOptions | None = None) -> None:
        """Runs a compiled pipeline; the name is filled in there."""
        super().run_with_ir(pipeline, run_options)
        self.run_name = pipeline.runtime_spec.pipeline_run_id.field_value.string_value


class _Events(logging.Handler):
    """Tells what LocalDagRunner logs of components."""

    def __init__(self, on_task: OnTask) -> None:
        super().__init__(logging.INFO)
        self._on_task = on_task
        self.running: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Tells when a component begins and ends."""
        event = re.fullmatch(r"Component (\S+) is (running|finished)\.", record.getMessage())
        if event is not None:
            began = event[2] == "running"
            self.running = event[1] if began else None
            self._on_task(event[1], None if began else TaskState.SUCCEEDED)


@contextlib.contextmanager
def _told(on_task: OnTask) -> Iterator[_Events]:
    absl.logging.set_verbosity(absl.logging.INFO)
    events = _Events(on_task)
    absl.logging.get_absl_logger().addHandler(events)
    try:
        yield events
    finally:
        absl.logging.get_absl_logger().removeHandler(events)
