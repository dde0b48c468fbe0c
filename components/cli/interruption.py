"""What Ctrl-C and SIGTERM do to a command: it ends where it is, and leaves nothing half done."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import IO, Any

import click

_TERMINATED = 128 + signal.SIGTERM


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

    TensorFlow may make another error of what the signal raises: that counts as the end by the signal, too.

    Raises:
        Interruption: Ctrl-C, unless the block raises another one that says more.
        SystemExit: SIGTERM came, unless somebody else handles that; with exit status 143.
    """
    came: list[int] = []
    try:
        with _handled(signal.SIGINT, signal.default_int_handler, came), _handled(signal.SIGTERM, signal.SIG_DFL, came):
            yield
    except (click.exceptions.Exit, Interruption):
        raise
    except KeyboardInterrupt as error:
        raise Interruption from error
    except Exception as error:
        if not came:
            raise
        raise (SystemExit(_TERMINATED) if came[0] == signal.SIGTERM else Interruption()) from error


@contextlib.contextmanager
def _handled(number: signal.Signals, former: Any, came: list[int]) -> Iterator[None]:
    """Notes that a signal came, and raises what ends a program, unless another than the system's handler is there."""

    def end(*_: object) -> None:
        came.append(number)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        # A second one would cut short what the first had cleaned up.
        signal.signal(number, signal.SIG_IGN)
        raise SystemExit(_TERMINATED)

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(number) != former:
        yield
        return
    signal.signal(number, end)
    try:
        yield
    finally:
        signal.signal(number, former)
