"""`tfx-pruning run`."""

import dataclasses
import importlib.util
import math
import pathlib
import resource
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

import click

from tfx_pruning.cli.console import Output, reporting
from tfx_pruning.pipelines.cli.config_options import ChosenConfig, WrongCallError, config_options
from tfx_pruning.pipelines.cli.outcome_view import (
    show_outcome,
    tell_of_missing_page,
    tell_of_untried_module,
    with_log_end,
)
from tfx_pruning.pipelines.kubeflow.local.container_engine import ENGINES, ContainerEngine, container_engine

if TYPE_CHECKING:
    from tfx_pruning.pipelines.run.outcome import RunOutcome

EXIT_NOT_BLESSED = 3
RUNNERS = ("local", "kubeflow-local")


@click.command("run", short_help="Run a pipeline: train, prune, strip, evaluate against the dense model, push.")
@config_options
@click.option("--runner", type=click.Choice(RUNNERS), default=RUNNERS[0], show_default=True, help="What runs it.")
@click.option("--engine", type=click.Choice(ENGINES), help="How kubeflow-local runs tasks.  [default: process]")
@click.option("--image", metavar="NAME", help="Container image of the tasks; --engine=podman needs it.")
@reporting
def command(output: Output, runner: str, engine: str | None, image: str | None, **options: Any) -> None:
    """Trains a dense model, prunes a copy of it, strips that, compares it with the dense one and pushes it.

    The data, the module with preprocessing_fn and run_fn, the metric and all else are named by options or in a file;
    docs/run.md has an example. Without data and module this is the taxi example, on the trips that tfx ships.

    --runner=kubeflow-local compiles the same pipeline for Kubeflow and runs each task as its launcher would, in a
    process or, with --engine=podman, in a container; it has no cache and starts from no earlier model.

    With --max-bytes or --max-latency, a budget, the target sparsity is found by measuring, before the training that
    prunes; what misses the budget is trained again, at most twice. Both the budget and the metric must hold.

    \b
    Examples:
      tfx-pruning run --root demo_output
      tfx-pruning run --root out --config houses.yaml --hparams target_sparsity=0.95
      tfx-pruning run --root out --data-root data --module-file houses.py --label-key price \\
          --preprocessing-signature '' --metric MeanSquaredError --metric-direction lower --max-metric-drop 2
      tfx-pruning run --root out --config houses.yaml --runner kubeflow-local --json
      tfx-pruning run --root out --config houses.yaml --max-bytes 1MB --max-latency 2ms --format tflite

    \b
    Exit status: 0 pushed, 1 failed, 2 wrong call or input, nothing was run, 3 the model is refused, for its metric or
      its budget, and nothing was pushed.
    JSON: {"pipeline_name", "dense": {metric: value}, "pruned": {metric: value}, "sparsity", "prunable_parameters",
      "nonzero_parameters", "dense_bytes", "trained_bytes", "stripped_bytes", "gzipped_bytes", "refusals": [...],
      "pushed_to", "record", "report", "shrunk": {name: [before, after]}, "latency": [{"signature", "batch",
      "dense": {"median", "lower", "upper", "calls"}, "pruned": the same}], "budget": {"budget", "dense",
      "delivered"}, "trainings", "seconds", "memory_bytes"}; pushed_to is null if nothing was pushed, report if the
      page could not be written, budget if there is none. Latencies are milliseconds.
    """
    started = time.monotonic()
    chosen = ChosenConfig.of(options)
    if runner == RUNNERS[0]:
        chosen.check_cache()
    tasks = _tasks_engine(chosen, runner, engine, image)
    with output.working("Checking data and module"):
        untried = chosen.prepare(in_containers=engine == "podman")
    tell_of_untried_module(untried)
    with chosen.at_work("tfx-pruning run") as (stdout, stderr):
        outcome = _run(chosen, tasks, image, stderr if output.as_json else stdout)
    memory = _most_memory()
    seconds = time.monotonic() - started
    found = {
        **{name: value for name, value in dataclasses.asdict(outcome).items() if name != "page"},
        "dense": _finite(outcome.dense),
        "pruned": _finite(outcome.pruned),
        "report": outcome.page.path,
        "seconds": round(seconds, 1),
        "memory_bytes": memory,
    }
    summary = f"{seconds:.0f} s, at most {memory / 2**30:.1f} GB of memory"
    if outcome.budget is not None:
        summary += f"\ntrainings that pruned: {outcome.trainings}"
        if not outcome.budget.budget.failures(outcome.budget.dense):
            summary += "\nThe dense model keeps to the budget as it is: nothing was pruned."
    output.result(found, lambda console: show_outcome(console, outcome, summary))
    tell_of_missing_page(outcome)
    if outcome.pushed_to is None:
        why = "; ".join(outcome.refusals)
        judge = "the Evaluator" if outcome.budget is None else "SparsitySelector"
        click.echo(f"Nothing was pushed: {judge} refused the model: {why}.", err=True)
        raise click.exceptions.Exit(EXIT_NOT_BLESSED)


def _most_memory() -> int:
    """The most bytes that this process, or one that it started, has held at once."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    status = pathlib.Path("/proc/self/status")
    if not status.exists():
        return max(children, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * 1024
    # Linux counts to this process's ru_maxrss what the one that started it held at that moment.
    own = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:"))
    return max(children, int(own.split()[1])) * 1024


def _tasks_engine(chosen: ChosenConfig, runner: str, engine: str | None, image: str | None) -> ContainerEngine | None:
    """What runs the tasks of kubeflow-local; None for the local runner."""
    if runner != "kubeflow-local":
        for option, value in (("--engine", engine), ("--image", image)):
            if value is not None:
                raise click.UsageError(f"{option} needs --runner=kubeflow-local.")
        return None
    if chosen.job_server:
        raise click.UsageError("--beam-job-server needs --runner=local: an engine was not tried with Kubeflow's tasks.")
    if importlib.util.find_spec("kfp") is None:
        raise WrongCallError("kfp is not installed, which compiles pipelines: pip install 'tfx-pruning[kubeflow]'.")
    if engine == "podman" and not image:
        raise click.UsageError("--engine=podman needs --image: the image with this package.")
    config, root = chosen.config, chosen.folder.root
    data = [] if "://" in config.data_root else [pathlib.Path(config.data_root)]
    if engine == "podman" and not pathlib.Path(config.serving_dir).is_relative_to(root):
        raise WrongCallError(f"serving_dir {config.serving_dir} is not below {root}, all that containers may write to.")
    try:
        return container_engine(engine or ENGINES[0], root, data)
    except ValueError as error:
        raise WrongCallError(str(error)) from error


def _run(chosen: ChosenConfig, tasks: ContainerEngine | None, image: str | None, stream: TextIO) -> "RunOutcome":
    # Here, after the output has its place: importing these prints.
    from tfx_pruning.pipelines.pipeline import create_pipeline
    from tfx_pruning.pipelines.run import local_runner
    from tfx_pruning.pipelines.run.progress import Progress
    from tfx_pruning.pipelines.run.training_status import TrainingStatus
    from tfx_pruning.pipelines.task_state import TaskFailedError

    config, folder, beam_args = chosen.config, chosen.folder, chosen.beam_pipeline_args
    if chosen.is_example:
        print("Neither data nor module is named: this is the taxi example, on the trips that tfx ships.", file=stream)
    print(f"Running {config.pipeline_name} in {folder.root}; details in {folder.log}", file=stream, flush=True)
    if config.budget is not None:
        print(f"The budget: {config.budget.in_words()}", file=stream, flush=True)
    status = TrainingStatus()
    try:
        if tasks is None:
            # Of a budget, nobody knows how many trainings it takes.
            total = None if config.budget else len(create_pipeline(config).components)
            with status.observing(), Progress(stream, total=total, detail=status) as progress:
                return local_runner.run(config, folder, progress, beam_args)
        from tfx_pruning.pipelines.kubeflow import local_runner as kubeflow_local_runner

        with Progress(stream) as progress:
            return kubeflow_local_runner.run(config, folder, progress, tasks, image or "none", beam_args)
    except TaskFailedError as error:
        # That of a task has the end of the task's own log.
        raise click.ClickException(with_log_end(str(error), folder) if tasks is None else str(error)) from error
    finally:
        stream.flush()


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Metrics with None in place of NaN and infinity, which JSON does not have."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
