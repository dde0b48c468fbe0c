"""How the outcome of a run or of a sweep is printed for people."""

import sys
from typing import TYPE_CHECKING, Protocol

import click
from rich.console import Console
from rich.text import Text

from tfx_pruning.cli.console import table
from tfx_pruning.pipelines.log_end import log_end
from tfx_pruning.pipelines.run.folder import RunFolder

if TYPE_CHECKING:
    from tfx_pruning.pipelines.run.page_file import PageFile
    from tfx_pruning.report.figures import Table


class Outcome(Protocol):
    """What a run or a sweep came to.

    Attributes:
        pushed_to: Folder of the pushed model; None if nothing was pushed.
        record: The file that records the run.
        page: The page on the run.
    """

    @property
    def pushed_to(self) -> str | None: ...

    @property
    def record(self) -> str: ...

    @property
    def page(self) -> "PageFile": ...

    def table(self) -> "Table":
        """Headings and rows, as text."""


def show_outcome(console: Console, outcome: Outcome, summary: str) -> None:
    """Prints the figures of an outcome, where its files are, and a summary.

    Args:
        console: Where to print.
        outcome: The outcome.
        summary: Last lines.
    """
    headings, rows = outcome.table()
    figures = table(*headings)
    for row in rows:
        figures.add_row(*map(Text, row))
    console.print()
    console.print(figures)
    console.print()
    paths = {
        "pushed model": outcome.pushed_to or "none",
        "metadata": outcome.record,
        "report": outcome.page.path or "none",
    }
    for name, path in paths.items():
        # Soft, so that a path is copied whole from a terminal.
        console.print(Text(f"{name:<14}{path}"), soft_wrap=True)
    console.print()
    console.print(Text(summary), soft_wrap=True)


def tell_of_missing_page(outcome: Outcome) -> None:
    """Says on stderr why there is no page on the run, if there is none."""
    if outcome.page.missing:
        click.echo(f"Warning: the report was not written: {outcome.page.missing}", err=True)


def tell_of_untried_module(why: str) -> None:
    """Says on stderr why the module was not tried, if it was to be."""
    if why:
        click.echo(f"Warning: the module was not tried on a few examples: {why}.", err=True)


def with_log_end(message: str, folder: RunFolder) -> str:
    """An error message, with the last lines of the run's log."""
    sys.stdout.flush()
    sys.stderr.flush()
    return f"{message}; the end of {folder.log}:\n{log_end(folder.log)}"
