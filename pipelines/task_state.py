"""TaskState: how a task of a run ended, wherever the run takes place, and who is told of it."""

import enum
from collections.abc import Callable


class TaskState(str, enum.Enum):
    """How a task ended."""

    SUCCEEDED = "SUCCEEDED"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"


# Called with a task's name and None when the task begins, and with its state when it has ended.
OnTask = Callable[[str, TaskState | None], None]


class TaskFailedError(Exception):
    """A task failed; the message names the task and says why."""
