"""Runs the pipeline of a budget on this machine: rounds of it, each with another training of what missed the budget."""

from collections.abc import Callable, Mapping, Sequence

from tfx import v1 as tfx

from tfx_pruning import PruningHParams, properties
from tfx_pruning.pipelines.budget_pipeline import MOST_TRAININGS, attempt_name, create_budget_pipeline
from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.module_copy import with_importable_module
from tfx_pruning.pipelines.nodes import DENSE
from tfx_pruning.pipelines.run.folder import RunFolder
from tfx_pruning.pipelines.run.metadata_run import MetadataRun
from tfx_pruning.pipelines.run.outputs import RunOutputs
from tfx_pruning.pipelines.task_state import OnTask, TaskState
from tfx_pruning.pipelines.user_code import UserCode
from tfx_pruning.sparsity_selector.candidates import read_sweep
from tfx_pruning.sweep import Sweep

# Runs a pipeline, as `run_pipeline` does; returns the name of the run.
RunPipeline = Callable[[tfx.dsl.Pipeline, OnTask, UserCode], str]


def run_budget_rounds(
    config: PipelineConfig,
    ways: Mapping[str, PruningHParams],
    folder: RunFolder,
    on_task: OnTask,
    run_pipeline: RunPipeline,
    beam_pipeline_args: Sequence[str],
) -> tuple[MetadataRun, Sweep]:
    """Trains each way to prune until its model meets the budget, at most three times, and pushes the best model.

    Args:
        config: What to run, with a budget.
        ways: Hyperparameters of the ways to prune, by name.
        folder: An existing folder, for ML Metadata. No other process may use it meanwhile.
        on_task: Called with a component's name and None when it begins, and with its state when it has ended; once for
            each component.
        run_pipeline: Runs a pipeline.
        beam_pipeline_args: Arguments of the components that run on Beam.

    Returns:
        The last run, and all models.

    Raises:
        ValueError: The pipeline cannot be built.
        OSError: The user's module cannot be copied into the folder.
        TaskFailedError: A component failed; its traceback was printed.
    """
    code, metadata = UserCode.of(config), str(folder.metadata)
    folder.end_dead_executions(config.pipeline_root)
    config = with_importable_module(config, folder.modules)
    connection = tfx.orchestration.metadata.sqlite_metadata_connection_config(metadata)
    once, trainings = once_each(on_task), dict.fromkeys(ways, 1)
    while True:
        pipeline = create_budget_pipeline(config, ways, trainings, connection, beam_pipeline_args, select=False)
        run = MetadataRun(metadata, config.pipeline_name, run_pipeline(pipeline, once, code))
        again = [way for way, number in trainings.items() if number < MOST_TRAININGS and _missed(run, way, number)]
        if not again:
            break
        for way in again:
            trainings[way] += 1
    pipeline = create_budget_pipeline(config, ways, trainings, connection, beam_pipeline_args)
    run = MetadataRun(metadata, config.pipeline_name, run_pipeline(pipeline, once, code))
    return run, read_budget_sweep(run, config, trainings)


def read_budget_sweep(run: RunOutputs, config: PipelineConfig, trainings: Mapping[str, int]) -> Sweep:
    """Reads all models of a run.

    Args:
        run: The run.
        config: Configuration of its pipeline.
        trainings: How many trainings each way to prune had.

    Raises:
        ValueError: One of the models' nodes has not ended, or what it put out cannot be read.
    """
    names = [attempt_name(way, number) for way, most in trainings.items() for number in range(1, most + 1)]
    return read_sweep(
        config.goal,
        {name: run.output(f"Stripper.{name}", "model").properties for name in names},
        {name: run.output(f"Evaluator.{name}", "evaluation").uri for name in names},
        run.output(f"Stripper.{DENSE}", "model").properties,
        {name: run.output(f"BudgetCheck.{name}", "report").properties for name in names},
    )


def once_each(on_task: OnTask) -> OnTask:
    """Tells of each component once: in later rounds it comes from the cache."""
    ended: set[str] = set()

    def told(name: str, state: TaskState | None) -> None:
        if name not in ended:
            on_task(name, state)
        if state is not None:
            ended.add(name)

    return told


def _missed(run: RunOutputs, way: str, number: int) -> bool:
    """Whether another training should come nearer to the budget."""
    report = run.output(f"BudgetCheck.{attempt_name(way, number)}", "report")
    return bool(report.properties[properties.BUDGET_RETRY])
