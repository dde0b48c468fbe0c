"""How the outcome of a run or of a sweep is printed for people."""

from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.text import Text

from tfx_pruning.cli.console import table

if TYPE_CHECKING:
    from tfx_pruning.report.figures import Table


class Outcome(Protocol):
    """What a run or a sweep came to.

    Attributes:
        pushed_to: Folder of the pushed model; None if nothing was pushed.
        record: The file that records the run.
    """

    @property
    def pushed_to(self) -> str | None: ...

    @property
    def record(self) -> str: ...

    def table(self) -> "Table":
        """Headings and rows, as text."""


def show_outcome(console: Console, outcome: Outcome, page: str, summary: str) -> None:
    """Prints the figures of an outcome, where its files are, and a summary.

    Args:
        console: Where to print.
        outcome: The outcome.
        page: Path of the page on the run.
        summary: Last lines.
    """
    headings, rows = outcome.table()
    figures = table(*headings)
    for row in rows:
        figures.add_row(*map(Text, row))
    console.print()
    console.print(figures)
    console.print()
    for name, path in (("pushed model", outcome.pushed_to or "none"), ("metadata", outcome.record), ("report", page)):
        # Soft, so that a path is copied whole from a terminal.
        console.print(Text(f"{name:<14}{path}"), soft_wrap=True)
    console.print()
    console.print(Text(summary), soft_wrap=True)
