"""What Ctrl-C and SIGTERM do to a command: it ends where it is, and leaves nothing half done."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import IO, Any

import click


class Interruption(click.ClickException):
    """Ctrl-C has ended a command; shown in one line."""

    exit_code = 128 + signal.SIGINT

    def __init__(self, message: str = "nothing half done is left. Call the command again to begin anew.") -> None:
        """Takes what is left, and how to go on."""
        super().__init__(message)

    def show(self, file: IO[Any] | None = None) -> None:
        """Prints the line."""
        click.echo(f"Interrupted: {self.format_message()}", file=file, err=file is None)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Lets Ctrl-C and SIGTERM end the block as an error does, so that what it has begun is undone.

    Raises:
        Interruption: Ctrl-C, unless the block raises another one that says more.
        SystemExit: SIGTERM came, unless somebody else handles that; with exit status 143.
    """
    try:
        with _ended_by_sigterm():
            yield
    except KeyboardInterrupt as error:
        raise Interruption from error


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    def end(*_: object) -> None:
        # A second one would cut short what the first had cleaned up.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(128 + signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
