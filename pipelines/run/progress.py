"""Progress: a line for each component of a run."""

import time
from typing import TextIO

from tfx_pruning.pipelines.task_state import TaskState


class Progress:
    """Prints the name of a component when it begins, and its time when it ends.

    Attributes:
        running: The component that has begun and not ended; None if there is none.
    """

    def __init__(self, stream: TextIO, width: int = 37) -> None:
        """Prints nothing yet.

        Args:
            stream: Where to print.
            width: Room for the names.
        """
        self._stream, self._width = stream, width
        self._started = time.monotonic()
        self.running: str | None = None

    def __call__(self, name: str, state: TaskState | None) -> None:
        """Prints an event.

        Args:
            name: Name of the component.
            state: None when it begins; how it ended, when it ends. One that was skipped need not have begun.
        """
        if self.running != name:
            print(f"  {name:<{self._width}}", end="", file=self._stream, flush=True)
            self.running, self._started = name, time.monotonic()
        if state is not None:
            self.running = None
            seconds = f"{time.monotonic() - self._started:6.1f} s"
            print(seconds if state is TaskState.SUCCEEDED else state.value.lower(), file=self._stream, flush=True)
