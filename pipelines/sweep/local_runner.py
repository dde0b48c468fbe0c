"""Runs a sweep on this machine: rounds of one pipeline, each with the next candidates of a bisection."""

from collections.abc import Callable, Mapping, Sequence

from tfx import v1 as tfx

from tfx_pruning.pipelines.beam_args import IN_PROCESS
from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.module_copy import with_importable_module
from tfx_pruning.pipelines.run.budget_rounds import once_each, run_budget_rounds
from tfx_pruning.pipelines.run.folder import RunFolder
from tfx_pruning.pipelines.run.local_runner import run_pipeline
from tfx_pruning.pipelines.run.metadata_run import MetadataRun
from tfx_pruning.pipelines.run.page_file import PageFile
from tfx_pruning.pipelines.sweep.bisection import Bisection
from tfx_pruning.pipelines.sweep.outcome import SweepOutcome, read_candidates, sweep_document
from tfx_pruning.pipelines.sweep.pipeline import create_sweep_pipeline
from tfx_pruning.pipelines.sweep.plan import Candidate, SweepPlan, budget_ways
from tfx_pruning.pipelines.task_state import OnTask
from tfx_pruning.pipelines.user_code import UserCode
from tfx_pruning.sweep import Sweep

# Called with the number of a round, from 1, and its candidates: with None before they are trained, and after that with
# the results of all candidates so far.
OnRound = Callable[[int, Sequence[Candidate], Sweep | None], None]


def run_sweep(
    plan: SweepPlan,
    folder: RunFolder,
    on_task: OnTask,
    on_round: OnRound,
    beam_pipeline_args: Sequence[str] = IN_PROCESS,
) -> SweepOutcome:
    """Finds, for each option, the largest sparsity within the tolerance, and pushes the sparsest model.

    Each round trains one candidate of each option, in the middle of the sparsities that are still possible. Results
    of an earlier round or of an interrupted sweep are taken from ML Metadata. When the search is over, SparsitySelector
    chooses and Pusher pushes. What earlier runs were at when they were killed is marked as failed.

    Args:
        plan: The search space.
        folder: An existing folder, for ML Metadata and the page. No other process may use it meanwhile.
        on_task: Called with a component's name and None when it begins, and with its state when it has ended; once for
            each component.
        on_round: Called before and after each round.
        beam_pipeline_args: Arguments of the components that run on Beam.

    Returns:
        The outcome of the sweep.

    Raises:
        ValueError: The pipeline cannot be built, or a candidate's metric cannot be read.
        OSError: The user's module cannot be copied into the folder.
        TaskFailedError: A component failed; its traceback was printed.
    """
    code, metadata = UserCode.of(plan.config), str(folder.metadata)
    folder.end_dead_executions(plan.config.pipeline_root)
    config = with_importable_module(plan.config, folder.modules)
    connection = tfx.orchestration.metadata.sqlite_metadata_connection_config(metadata)
    once = once_each(on_task)
    searches = {option: Bisection(plan.sparsities) for option in plan.options}
    tried: list[Candidate] = []
    number = 0
    while probes := _probes(plan, searches):
        tried += probes.values()
        number += 1
        on_round(number, list(probes.values()), None)
        name = run_pipeline(
            create_sweep_pipeline(config, tried, connection, beam_pipeline_args, select=False), once, code
        )
        names = [each.name for each in tried]
        sweep = read_candidates(MetadataRun(metadata, config.pipeline_name, name), config, names)
        within = {each.name: sweep.within(each) for each in sweep.candidates}
        for option, candidate in probes.items():
            searches[option].record(within[candidate.name])
        on_round(number, list(probes.values()), sweep)
    name = run_pipeline(create_sweep_pipeline(config, tried, connection, beam_pipeline_args), once, code)
    finished = MetadataRun(metadata, config.pipeline_name, name)
    sweep = read_candidates(finished, config, [each.name for each in tried])
    return SweepOutcome.of(finished, sweep, PageFile.write(folder.report, lambda: sweep_document(finished)))


def run_budget_sweep(
    config: PipelineConfig,
    options: Sequence[str],
    folder: RunFolder,
    on_task: OnTask,
    beam_pipeline_args: Sequence[str] = IN_PROCESS,
) -> SweepOutcome:
    """Prunes the dense model by each option to the budget, and pushes the best model that keeps to it.

    Args:
        config: What to run, with a budget.
        options: As `SweepPlan` takes them.
        folder: As `run_sweep` takes it.
        on_task: As `run_sweep` takes it.
        beam_pipeline_args: As `run_sweep` takes it.

    Returns:
        The outcome of the sweep.

    Raises:
        ValueError: An option is unknown or given twice, or the pipeline cannot be built.
        OSError: The user's module cannot be copied into the folder.
        TaskFailedError: A component failed; its traceback was printed.
    """
    ways = budget_ways(config, options)
    run, sweep = run_budget_rounds(config, ways, folder, on_task, run_pipeline, beam_pipeline_args)
    return SweepOutcome.of(run, sweep, PageFile.write(folder.report, lambda: sweep_document(run)))


def _probes(plan: SweepPlan, searches: Mapping[str, Bisection[float]]) -> dict[str, Candidate]:
    """The next candidate of each option whose search is not over."""
    found = {}
    for option, search in searches.items():
        if (sparsity := search.next) is not None:
            found[option] = plan.candidate(option, sparsity)
    return found
