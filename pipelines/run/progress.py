"""Progress: what a run is at, and how long its components took."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from tfx_pruning.pipelines.task_state import TaskState

# Between two lines on one component, where lines cannot be replaced.
_SECONDS = 10.0


class Progress:
    """Shows the component that runs, and prints a line with its time when it ends.

    On a terminal the component that runs has a line that changes. Elsewhere a component that takes long has a further
    line every ten seconds.

    Attributes:
        running: The component that has begun and not ended; None if there is none.
    """

    def __init__(
        self,
        stream: TextIO,
        width: int = 37,
        total: int | None = None,
        detail: Callable[[], str] = str,
        seconds: float = _SECONDS,
    ) -> None:
        """Prints nothing yet.

        Args:
            stream: Where to print.
            width: Room for the names.
            total: How many components there are; None if that is not known.
            detail: Says what the component that runs is at; '' for nothing. Called in another thread.
            seconds: Between two lines on one component, where lines cannot be replaced.
        """
        self._stream, self._width, self._total = stream, width, total
        self._detail, self._seconds = detail, seconds
        self._console = Console(file=stream, highlight=False, soft_wrap=True)
        self._ended = 0
        self._started = time.monotonic()
        self._shown: Live | _Ticker | None = None
        self.running: str | None = None

    def __call__(self, name: str, state: TaskState | None) -> None:
        """Shows an event.

        Args:
            name: Name of the component.
            state: None when it begins; how it ended, when it ends. One that was skipped need not have begun.
        """
        if self.running != name:
            self.running, self._started = name, time.monotonic()
            if state is None:
                self._show()
        if state is not None:
            self._hide()
            self.running = None
            seconds = f"{time.monotonic() - self._started:6.1f} s"
            how = seconds if state is TaskState.SUCCEEDED else state.value.lower()
            self._ended += 1
            self._print(f"{self._label(name, self._ended)}{how}")

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hide()

    def __rich__(self) -> Text:
        """The line on the component that runs, as it is now."""
        text = f"{self._label(self.running or '', self._ended + 1)}{time.monotonic() - self._started:6.0f} s"
        return Text(f"{text}  {self._detail()}".rstrip())

    def _label(self, name: str, number: int) -> str:
        counted = "" if self._total is None else f"{number:>{len(str(self._total))}} of {self._total}  "
        return f"  {counted}{name:<{self._width}}"

    def _show(self) -> None:
        if self._console.is_terminal:
            # What others print meanwhile goes where it went before, into the log.
            self._shown = Live(
                Spinner("dots", self),
                console=self._console,
                refresh_per_second=2,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
        else:
            self._shown = _Ticker(self._seconds, self._tell)
        self._shown.start()

    def _hide(self) -> None:
        if self._shown is not None:
            self._shown.stop()
            self._shown = None

    def _tell(self) -> None:
        if detail := self._detail():
            self._print(f"    {self.running}: {detail}")
        else:
            self._print(f"    {self.running}: {time.monotonic() - self._started:.0f} s so far")

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


class _Ticker:
    """Calls a function every some seconds, in a thread."""

    def __init__(self, seconds: float, function: Callable[[], None]) -> None:
        self._seconds, self._function = seconds, function
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Returns when the function will not be called any more."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._seconds):
            self._function()
