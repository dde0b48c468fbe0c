"""Runs the Chicago taxi pipeline on this machine: `python -m tfx_pruning.pipelines.local_runner --root DIR`.

Standard output has a line per component and one table at the end; what TFX and TensorFlow print goes to `DIR/run.log`.
"""

import argparse
import contextlib
import importlib.util
import logging
import os
import pathlib
import re
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from tfx_pruning import PruningHParams
from tfx_pruning.pipelines.config import PipelineConfig

if TYPE_CHECKING:
    from tfx_pruning.pipelines.run_report import RunReport

EXIT_FAILED = 1
EXIT_NOT_BLESSED = 3

_DEFAULTS = {field: PipelineConfig.__dataclass_fields__[field].default for field in PipelineConfig.__dataclass_fields__}
_SHIPPED_DATA = ("examples", "chicago_taxi_pipeline", "data", "simple")
# In one process: the worker processes of Beam's other modes import TFDV before tfx, which fails.
BEAM_PIPELINE_ARGS = ("--direct_running_mode=in_memory", "--direct_num_workers=1")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the pipeline and prints its table.

    Args:
        argv: Command line arguments; None for those of the process.

    Returns:
        0 if the model was pushed, EXIT_FAILED after an error, EXIT_NOT_BLESSED if the Evaluator refused the model.
    """
    arguments = _parser().parse_args(argv)
    root = pathlib.Path(arguments.root).absolute()
    log_path = root / "run.log"
    started = time.monotonic()
    try:
        config = _config(root, arguments)
        _check_data(config.data_root)
        _make_root(root)
        with _output_in(log_path) as stdout:
            print(f"Running {config.pipeline_name} in {root}; details in {log_path}", file=stdout)
            report = _run(config, root, stdout)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    except _ComponentFailedError as error:
        print(f"error: {error}; details in {log_path}", file=sys.stderr)
        return EXIT_FAILED
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(f"\n{report.table()}")
    print(f"report        {report_path(root)}")
    print(f"\n{time.monotonic() - started:.0f} s, at most {usage.ru_maxrss / 2**20:.1f} GB of memory")
    if report.pushed_to is None:
        print(f"Nothing was pushed: the Evaluator refused the model: {'; '.join(report.refusals)}.", file=sys.stderr)
        return EXIT_NOT_BLESSED
    return 0


def metadata_path(root: pathlib.Path) -> pathlib.Path:
    """Where the ML Metadata of runs under `root` is."""
    return root / "metadata.sqlite"


def report_path(root: pathlib.Path) -> pathlib.Path:
    """Where the page on the latest run under `root` is."""
    return root / "report.html"


class _ComponentFailedError(Exception):
    """A component of the pipeline raised."""


class _Progress(logging.Handler):
    """Prints a line per component, from what LocalDagRunner logs."""

    def __init__(self, stdout: TextIO) -> None:
        super().__init__(logging.INFO)
        self._stdout = stdout
        self._started = time.monotonic()
        self.component: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Prints when a component begins, and its time when it ends."""
        event = re.fullmatch(r"Component (\S+) is (running|finished)\.", record.getMessage())
        if event is None:
            return
        if event[2] == "running":
            self.component, self._started = event[1], time.monotonic()
            print(f"  {event[1]:<32}", end="", file=self._stdout, flush=True)
        else:
            self.component = None
            print(f"{time.monotonic() - self._started:6.1f} s", file=self._stdout, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tfx_pruning.pipelines.local_runner",
        description="Trains, prunes, strips, evaluates and pushes a model of Chicago taxi tips.",
        epilog=f"Exit status: 0 pushed, {EXIT_FAILED} failed, 2 wrong arguments, {EXIT_NOT_BLESSED} the Evaluator "
        "refused the model and nothing was pushed.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--root", required=True, help="folder of artifacts, metadata, pushed models and the log")
    parser.add_argument("--data-root", help="folder of the CSV files (default: those that tfx ships)")
    parser.add_argument("--train-steps", type=int, default=_DEFAULTS["train_steps"], help="steps of dense training")
    parser.add_argument("--pruning-steps", type=int, default=_DEFAULTS["pruning_steps"], help="steps while pruning")
    parser.add_argument("--hparams", default="target_sparsity=0.9", help="fields of PruningHParams")
    parser.add_argument("--min-metric", type=float, default=_DEFAULTS["min_metric"], help="least AUC to be pushed with")
    parser.add_argument(
        "--max-metric-drop", type=float, default=_DEFAULTS["max_metric_drop"], help="most that it may be below dense"
    )
    parser.add_argument("--no-cache", action="store_true", help="run components whose inputs have not changed too")
    return parser


def _config(root: pathlib.Path, arguments: argparse.Namespace) -> PipelineConfig:
    return PipelineConfig(
        pipeline_root=str(root / "artifacts"),
        data_root=arguments.data_root or shipped_data(),
        serving_dir=str(root / "serving"),
        train_steps=arguments.train_steps,
        pruning_steps=arguments.pruning_steps,
        pruning=PruningHParams.fields_of(arguments.hparams),
        min_metric=arguments.min_metric,
        max_metric_drop=arguments.max_metric_drop,
        enable_cache=not arguments.no_cache,
    )


def shipped_data() -> str:
    """The taxi data in the installed tfx package, found without importing it."""
    spec = importlib.util.find_spec("tfx")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError("tfx is not installed: pip install 'tfx>=1.21,<1.22'.")
    return str(pathlib.Path(spec.submodule_search_locations[0], *_SHIPPED_DATA))


def _check_data(data_root: str) -> None:
    """Raises ValueError if there is no CSV file."""
    if not any(pathlib.Path(data_root).glob("*.csv")):
        raise ValueError(f"no .csv file in {data_root}: name the folder of the data with --data-root.")


def _make_root(root: pathlib.Path) -> None:
    """Raises ValueError if `root` cannot be made or written to."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        raise ValueError(
            f"cannot write to {root} ({error.strerror}): name a folder that can be written with --root."
        ) from error


@contextlib.contextmanager
def _output_in(log_path: pathlib.Path) -> Iterator[TextIO]:
    """Sends the process's output, that of C++ and of child processes too, to a file; yields what was stdout."""
    with open(log_path, "a", encoding="utf-8") as log:
        sys.stdout.flush()
        sys.stderr.flush()
        stdout, stderr = os.dup(1), os.dup(2)
        try:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            with open(stdout, "w", encoding="utf-8", closefd=False) as stream:
                yield stream
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(stdout, 1)
            os.dup2(stderr, 2)
            os.close(stdout)
            os.close(stderr)


def _run(config: PipelineConfig, root: pathlib.Path, stdout: TextIO) -> "RunReport":
    # Here, after the output has its place: importing these prints.
    import absl.logging
    from tfx import v1 as tfx

    from tfx_pruning.pipelines.pipeline import create_pipeline
    from tfx_pruning.pipelines.run_report import RunReport, run_document
    from tfx_pruning.report.page import page
    from tfx_pruning.staging import write_file

    metadata = str(metadata_path(root))
    absl.logging.set_verbosity(absl.logging.INFO)
    progress = _Progress(stdout)
    absl.logging.get_absl_logger().addHandler(progress)
    try:
        pipeline = create_pipeline(
            config, tfx.orchestration.metadata.sqlite_metadata_connection_config(metadata), BEAM_PIPELINE_ARGS
        )
        tfx.orchestration.LocalDagRunner().run(pipeline)
    except Exception as error:
        traceback.print_exc()
        if progress.component is None:
            raise
        print("failed", file=stdout, flush=True)
        raise _ComponentFailedError(f"{progress.component} failed: {error}") from error
    finally:
        absl.logging.get_absl_logger().removeHandler(progress)
    write_file(str(report_path(root)), page(run_document(metadata, config.pipeline_name)).encode())
    return RunReport.read(metadata, config.pipeline_name)


if __name__ == "__main__":
    sys.exit(main())
