"""What all commands share: how they print, wait and fail."""

import contextlib
import functools
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..engine.shown import escaped


class _PlainConsole(Console):
    """A console that shows strings as they are: no markup, and what would control the terminal escaped."""

    def render_str(self, text: str, **options: Any) -> Text:
        """A string to be printed, or a cell of a table."""
        return Text("\n".join(map(escaped, text.split("\n"))), style=options.get("style", ""))


class Output:
    """Where a command prints.

    Attributes:
        as_json: Whether results are printed for machines, as one JSON object.
    """

    def __init__(self, as_json: bool, debug: bool) -> None:
        self.as_json = as_json
        self._debug = debug

    @contextlib.contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Shows on a terminal what is being done, and hides what TensorFlow prints meanwhile."""
        if self._debug:
            yield
            return
        with _native_output_hidden() as terminal, terminal.status(what):
            yield

    def result(self, found: dict[str, Any], show: Callable[[Console], None]) -> None:
        """Prints a result.

        Args:
            found: The result, as JSON.
            show: Prints the result for people.
        """
        if self.as_json:
            click.echo(json.dumps(found, indent=2))
            return
        # Lines must not break where the output is no terminal.
        show(_PlainConsole(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 1000))


def reporting(function: Callable[..., None]) -> Callable[..., None]:
    """Adds the options `--json` and `--debug` to a command's function, which gets an `output` in their place.

    An error becomes one line and exit status 1; with `--debug` it is raised.
    """

    @click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
    @click.option("--debug", is_flag=True, help="Show the traceback of an error, and what TensorFlow prints.")
    @functools.wraps(function)
    def command(*, as_json: bool, debug: bool, **arguments: Any) -> None:
        # Read when TensorFlow is imported, which happens in `function`.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if debug else "3")
        try:
            function(output=Output(as_json, debug), **arguments)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if debug:
                raise
            message = escaped(" ".join(str(error).split())) or type(error).__name__
            raise click.ClickException(message) from error

    return command


def table(*columns: str) -> Table:
    """A table without rules. Columns are numbers, but for the first and those whose name ends with a space."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        made.add_column(name.strip(), justify="left" if index == 0 or name.endswith(" ") else "right", no_wrap=True)
    return made


@contextlib.contextmanager
def _native_output_hidden() -> Iterator[Console]:
    """Discards what is written to the file descriptor of stderr; yields a console on the real one."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with os.fdopen(os.dup(kept), "w") as real, tempfile.TemporaryFile() as nowhere:
            os.dup2(nowhere.fileno(), 2)
            try:
                yield Console(file=real, stderr=True)
            finally:
                sys.stderr.flush()
                os.dup2(kept, 2)
    finally:
        os.close(kept)
