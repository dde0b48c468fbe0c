"""What Ctrl-C and SIGTERM do to a command: it ends where it is, and leaves nothing half done."""

import _thread
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import IO, Any

import click

_TERMINATED = 128 + signal.SIGTERM
_AGAIN_SECONDS = 0.1


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

    TensorFlow loses what a signal raises within its type inference, or makes another error of it. So that is raised
    again until the block ends, but not while it cleans up: a second signal does not cut that short.

    Raises:
        Interruption: Ctrl-C, unless the block raises another one that says more.
        SystemExit: SIGTERM came, unless somebody else handles that; with exit status 143.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = _Signals()
    try:
        with (
            signals.handled(signal.SIGINT, signal.default_int_handler),
            signals.handled(signal.SIGTERM, signal.SIG_DFL),
        ):
            yield
    except Interruption:
        raise
    except KeyboardInterrupt as error:
        raise Interruption from error
    except BaseException as error:
        if signals.came is None:
            raise
        raise signals.end() from error
    if signals.came is not None:
        raise signals.end()


class _Signals:
    """The first signal that came, and what it has raised.

    Attributes:
        came: Its number; None before one has come.
    """

    def __init__(self) -> None:
        self.came: int | None = None
        self._raised: list[BaseException] = []
        self._lock = _thread.allocate_lock()
        self._is_over = False

    def end(self) -> BaseException:
        """What a command that got the signal raises in the end."""
        return Interruption() if self.came == signal.SIGINT else SystemExit(_TERMINATED)

    @contextlib.contextmanager
    def handled(self, number: signal.Signals, former: Any) -> Iterator[None]:
        """Handles a signal, unless another than the system's handler is there."""
        if signal.getsignal(number) != former:
            yield
            return
        signal.signal(number, self._handle)
        try:
            yield
        finally:
            with self._lock:
                self._is_over = True
            signal.signal(number, former)

    def _handle(self, number: int, _: object) -> None:
        if self.came is None:
            self.came = number
            # Not by threading, whose locks the interrupted code may hold.
            _thread.start_new_thread(self._repeat, ())
        if self._is_over or self._is_on_its_way():
            return
        self._raised.append(KeyboardInterrupt() if self.came == signal.SIGINT else SystemExit(_TERMINATED))
        raise self._raised[-1]

    def _is_on_its_way(self) -> bool:
        """Whether what was raised is being handled, as when files are removed because of it."""
        error = sys.exc_info()[1]
        while error is not None:
            if any(error is each for each in self._raised):
                return True
            error = error.__context__
        return False

    def _repeat(self) -> None:
        while True:
            time.sleep(_AGAIN_SECONDS)
            with self._lock:
                if self._is_over:
                    return
                _thread.interrupt_main(self.came)
