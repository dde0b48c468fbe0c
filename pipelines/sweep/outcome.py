"""SweepOutcome: the results of a sweep, read from ML Metadata."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.nodes import DENSE
from tfx_pruning.pipelines.run.latency import measured_latency
from tfx_pruning.pipelines.run.outcome import run_document
from tfx_pruning.pipelines.run.outputs import RunOutputs
from tfx_pruning.pipelines.run.page_file import PageFile, report_of
from tfx_pruning.report.document import ReportDocument
from tfx_pruning.report.figures import Table
from tfx_pruning.report.pareto import sweep_table
from tfx_pruning.sparsity_selector.candidates import read_sweep
from tfx_pruning.sweep import Sweep


@dataclasses.dataclass(frozen=True)
class SweepOutcome:
    """The results of a sweep.

    Attributes:
        sweep: All candidates, and the dense model.
        pushed_to: Folder of the pushed model; None if nothing was pushed.
        record: The file that records the run.
        page: The page on the sweep.
    """

    sweep: Sweep
    pushed_to: str | None
    record: str
    page: PageFile

    @classmethod
    def of(cls, run: RunOutputs, sweep: Sweep, page: PageFile) -> "SweepOutcome":
        """Reads the last run of a sweep, with SparsitySelector and Pusher.

        Args:
            run: The run.
            sweep: All candidates.
            page: The page, which is written already.

        Raises:
            ValueError: The run is incomplete.
        """
        pushed = run.output("Pusher", "pushed_model").properties
        return cls(
            sweep=sweep,
            pushed_to=str(pushed["pushed_destination"]) if pushed["pushed"] else None,
            record=run.record,
            page=page,
        )

    def table(self) -> Table:
        """Headings and rows of all candidates, as text."""
        headings, rows = sweep_table(self.sweep)
        if self.pushed_to is not None:
            rows = tuple((*row[:-1], "pushed" if row[-1] == "chosen" else row[-1]) for row in rows)
        # No-break spaces are for pages.
        return headings, tuple(tuple(cell.replace("\N{NO-BREAK SPACE}%", "%") for cell in row) for row in rows)

    def to_dict(self) -> dict[str, Any]:
        """The outcome as a dict for JSON."""
        return {**self.sweep.to_dict(), "pushed_to": self.pushed_to, "record": self.record}


def read_candidates(run: RunOutputs, config: PipelineConfig, names: Sequence[str]) -> Sweep:
    """Reads the candidates of a run without SparsitySelector.

    Args:
        run: The run.
        config: Configuration of its pipeline.
        names: The candidates' names.

    Raises:
        ValueError: One of the candidates' nodes has not ended, or a metric cannot be read.
    """
    return read_sweep(
        config.goal,
        {name: run.output(f"Stripper.{name}", "model").properties for name in names},
        {name: run.output(f"Evaluator.{name}", "evaluation").uri for name in names},
        run.output(f"Stripper.{DENSE}", "model").properties,
    )


def sweep_document(run: RunOutputs) -> ReportDocument:
    """One document of the sweep and, if a model was chosen, of that model.

    Raises:
        ValueError: The run or a report is incomplete.
        FileNotFoundError: A report is missing.
    """
    report = report_of(run, "SparsitySelector")
    if report.sweep is None or report.sweep.chosen is None:
        return dataclasses.replace(report, title=f"Sparsity sweep of {run.pipeline_name}")
    name = report.sweep.chosen.name
    chosen = run_document(run, name, measured_latency(run, name), report.sweep)
    return dataclasses.replace(chosen, title=f"Sparsity sweep of {run.pipeline_name}", sweep=report.sweep)
