"""`tfx-pruning sweep`."""

import dataclasses
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

import click

from tfx_pruning import PruningHParams
from tfx_pruning.cli.console import Output, reporting
from tfx_pruning.pipelines.cli.config_options import ChosenConfig, WrongCallError, config_options
from tfx_pruning.pipelines.cli.outcome_view import (
    show_outcome,
    tell_of_missing_page,
    tell_of_untried_module,
    with_log_end,
)
from tfx_pruning.pipelines.sweep.plan import Candidate, SweepPlan, budget_ways

if TYPE_CHECKING:
    from tfx_pruning.pipelines.sweep.outcome import SweepOutcome
    from tfx_pruning.sweep import Sweep

EXIT_NONE_WITHIN = 3


@click.command("sweep", short_help="Find how far a model can be pruned, and push the sparsest one that is good enough.")
@config_options
@click.option("--tolerance", type=float, help="Most that the metric may be worse than dense; --max-metric-drop.")
@click.option(
    "--option",
    "ways",
    multiple=True,
    metavar="NAME|FIELDS",
    help="Way to prune: a criterion, or fields of PruningHParams; repeatable.  [default: that of --hparams]",
)
@click.option("--min-sparsity", default=SweepPlan.min_sparsity, show_default=True, help="Least target sparsity.")
@click.option("--max-sparsity", default=SweepPlan.max_sparsity, show_default=True, help="Largest target sparsity.")
@click.option("--resolution", default=SweepPlan.resolution, show_default=True, help="How exactly it is found.")
@reporting
def command(
    output: Output,
    tolerance: float | None,
    ways: Sequence[str],
    min_sparsity: float,
    max_sparsity: float,
    resolution: float,
    **options: Any,
) -> None:
    """Finds the largest sparsity at which the metric is at most the tolerance worse than the dense model's.

    From one dense model, candidates are pruned, stripped and evaluated; bisection finds the largest sparsity of each
    option, and the sparsest model is pushed. Data, module and metric are named as for `tfx-pruning run`. A sweep that
    was broken off goes on where it stood if it is called again with the same root; so does one with another tolerance.

    With --max-bytes or --max-latency, a budget, each option is pruned to that instead, and of the models that keep to
    it the one with the best metric is pushed; --min-sparsity, --max-sparsity and --resolution have no effect then.

    \b
    Examples:
      tfx-pruning sweep --root sweep_output --tolerance 0.005
      tfx-pruning sweep --root out --config houses.yaml --tolerance 1.5 --min-sparsity 0.8 --resolution 0.005
      tfx-pruning sweep --root out --option first_order_gradient --option prune_option=weight,allocation=erk
      tfx-pruning sweep --root out --option first_order_gradient --option weight --max-bytes 50kB --format savedmodel_gz

    \b
    Exit status: 0 pushed, 1 failed, 2 wrong call or input, nothing was run, 3 no candidate is within the tolerance and
      nothing was pushed.
    JSON: {"goal": {"metric", "tolerance", "direction", "bound"}, "baseline": {"metric", "stripped_bytes",
      "gzipped_bytes"}, "candidates": [{"name", "sparsity", "metric", "stripped_bytes", "gzipped_bytes", "hparams",
      "check", "within", "in_budget"}], "limit", "chosen", "pushed_to", "record", "report", "seconds"}; chosen and
      pushed_to are null if no candidate is within the tolerance, report if the page could not be written.
    """
    started = time.monotonic()
    if tolerance is not None:
        if options["max_metric_drop"] is not None:
            raise click.UsageError("--tolerance and --max-metric-drop are the same: give one of them.")
        options["max_metric_drop"] = tolerance
    chosen = ChosenConfig.of(options)
    if "target_sparsity" in PruningHParams.fields_of(options["hparams"] or ""):
        raise click.UsageError("--hparams sets target_sparsity, which is what a sweep looks for: leave it out.")
    # Beside `run`, which may have the same root, its dense model starts from none that was pushed.
    config = dataclasses.replace(chosen.config, pipeline_name=f"{chosen.config.pipeline_name}_sweep")
    try:
        plan = SweepPlan(config, tuple(ways), min_sparsity, max_sparsity, resolution)
        if config.budget is not None:
            budget_ways(config, ways)
    except (TypeError, ValueError) as error:
        raise WrongCallError(str(error)) from error
    with output.working("Checking data and module"):
        untried = chosen.prepare()
    tell_of_untried_module(untried)
    with chosen.at_work("tfx-pruning sweep") as (stdout, stderr):
        outcome = _run(chosen, plan, stderr if output.as_json else stdout)
    seconds = time.monotonic() - started
    found = {**outcome.to_dict(), "report": outcome.page.path, "seconds": round(seconds, 1)}
    summary = f"{len(outcome.sweep.candidates)} candidates, {seconds:.0f} s"
    if config.budget is None and _ends_at_the_largest(plan, outcome.sweep):
        summary += f"\n{plan.max_sparsity:.2%} is within the tolerance: --max-sparsity allowed no more."
    output.result(found, lambda console: show_outcome(console, outcome, summary))
    tell_of_missing_page(outcome)
    if outcome.pushed_to is None:
        click.echo(f"Nothing was pushed: {_why(outcome.sweep)}", err=True)
        raise click.exceptions.Exit(EXIT_NONE_WITHIN)


def _run(chosen: ChosenConfig, plan: SweepPlan, stream: TextIO) -> "SweepOutcome":
    # Here, after the output has its place: importing these prints.
    from tfx_pruning.pipelines.run.progress import Progress
    from tfx_pruning.pipelines.run.training_status import TrainingStatus
    from tfx_pruning.pipelines.sweep.local_runner import run_budget_sweep, run_sweep
    from tfx_pruning.pipelines.task_state import TaskFailedError
    from tfx_pruning.report.pareto import metric_text

    def on_round(number: int, candidates: Sequence[Candidate], sweep: "Sweep | None") -> None:
        if sweep is None:
            print(f"Round {number}: {', '.join(each.name for each in candidates)}", file=stream, flush=True)
            return
        names = [each.name for each in candidates]
        for each in sweep.candidates:
            if each.name in names:
                verdict = "within" if sweep.within(each) else "over"
                print(
                    f"  {each.name}: {each.sparsity:.2%} sparse, {sweep.goal.metric} {metric_text(each.metric)} "
                    f"({metric_text(sweep.limit)} allowed), {verdict}",
                    file=stream,
                    flush=True,
                )

    folder = chosen.folder
    if chosen.is_example:
        print("Neither data nor module is named: this is the taxi example, on the trips that tfx ships.", file=stream)
    budget = plan.config.budget
    where = f"{plan.min_sparsity:g} to {plan.max_sparsity:g} in {folder.root}; details in {folder.log}"
    if budget is None:
        print(f"Sweeping {len(plan.sparsities)} sparsities from {where}", file=stream, flush=True)
    else:
        print(f"Pruning to {budget.in_words()} in {folder.root}; details in {folder.log}", file=stream, flush=True)
    longest = max(len(plan.candidate(option, plan.max_sparsity).name) for option in plan.options)
    status, width = TrainingStatus(), longest + len("PruningTrainer.") + 2
    try:
        with status.observing(), Progress(stream, width, detail=status) as progress:
            if budget is not None:
                return run_budget_sweep(plan.config, plan.options, folder, progress, chosen.beam_pipeline_args)
            return run_sweep(plan, folder, progress, on_round, chosen.beam_pipeline_args)
    except TaskFailedError as error:
        message = f"{error}. Called again with the same root, the sweep goes on where it stood"
        raise click.ClickException(with_log_end(message, folder)) from error
    finally:
        stream.flush()


def _ends_at_the_largest(plan: SweepPlan, sweep: "Sweep") -> bool:
    largest = {plan.candidate(option, plan.max_sparsity).name for option in plan.options}
    return sweep.chosen is not None and sweep.chosen.name in largest


def _why(sweep: "Sweep") -> str:
    if sweep.has_budget:
        return f"{'; '.join(sweep.refusals)}."
    best = max(sweep.candidates, key=lambda each: sweep.goal.goodness(each.metric))
    better = "least" if sweep.goal.direction == "higher" else "most"
    return (
        f"the {sweep.goal.metric} of no candidate is at {better} {sweep.limit:.6g}; the best one, {best.name}, has "
        f"{best.metric:.6g}. Allow more with --tolerance, or prune less with --min-sparsity."
    )
