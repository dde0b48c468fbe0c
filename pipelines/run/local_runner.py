"""Runs the pipeline of a configuration on this machine, with TFX's LocalDagRunner."""

import contextlib
import logging
import re
import traceback
from collections.abc import Callable, Iterator, Sequence

import absl.logging
from tfx import v1 as tfx

from tfx_pruning.pipelines.beam_args import IN_PROCESS
from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.kubeflow.local.task_result import State, TaskFailedError
from tfx_pruning.pipelines.pipeline import create_pipeline
from tfx_pruning.pipelines.run.folder import RunFolder
from tfx_pruning.pipelines.run.metadata_run import MetadataRun
from tfx_pruning.pipelines.run.outcome import RunReport, write_page

# Called with a component's name and None when it begins, and with its state when it has ended.
Report = Callable[[str, State | None], None]


def run(
    config: PipelineConfig, folder: RunFolder, report: Report, beam_pipeline_args: Sequence[str] = IN_PROCESS
) -> RunReport:
    """Runs the pipeline, and writes the page on the run.

    Args:
        config: What to run.
        folder: An existing folder, for ML Metadata and the page.
        report: Called with a component's name and None when it begins, and with its state when it has ended.
        beam_pipeline_args: Arguments of the components that run on Beam.

    Returns:
        What the run came to.

    Raises:
        ValueError: The pipeline cannot be built.
        TaskFailedError: A component failed; its traceback was printed.
    """
    metadata = str(folder.metadata)
    connection = tfx.orchestration.metadata.sqlite_metadata_connection_config(metadata)
    run_pipeline(create_pipeline(config, connection, beam_pipeline_args), report)
    finished = MetadataRun(metadata, config.pipeline_name)
    write_page(finished, str(folder.report))
    return RunReport.of(finished)


def run_pipeline(pipeline: tfx.dsl.Pipeline, report: Report) -> None:
    """Runs any pipeline with TFX's LocalDagRunner.

    Args:
        pipeline: The pipeline.
        report: As of `run`.

    Raises:
        TaskFailedError: A component failed; its traceback was printed.
    """
    with _told(report) as events:
        try:
            tfx.orchestration.LocalDagRunner().run(pipeline)
        except Exception as error:
            if events.running is None:
                raise
            traceback.print_exc()
            report(events.running, State.FAILED)
            raise TaskFailedError(f"{events.running} failed: {error}") from error


class _Events(logging.Handler):
    """Reports what LocalDagRunner logs of components."""

    def __init__(self, report: Report) -> None:
        super().__init__(logging.INFO)
        self._report = report
        self.running: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Reports when a component begins and ends."""
        event = re.fullmatch(r"Component (\S+) is (running|finished)\.", record.getMessage())
        if event is not None:
            began = event[2] == "running"
            self.running = event[1] if began else None
            self._report(event[1], None if began else State.SUCCEEDED)


@contextlib.contextmanager
def _told(report: Report) -> Iterator[_Events]:
    absl.logging.set_verbosity(absl.logging.INFO)
    events = _Events(report)
    absl.logging.get_absl_logger().addHandler(events)
    try:
        yield events
    finally:
        absl.logging.get_absl_logger().removeHandler(events)
