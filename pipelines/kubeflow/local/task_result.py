"""TaskResult: what a task came to."""

import dataclasses
import enum
from typing import Any

from tfx_pruning.pipelines.kubeflow.local.artifact import Artifact


class State(str, enum.Enum):
    """How a task ended."""

    SUCCEEDED = "SUCCEEDED"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"


@dataclasses.dataclass(frozen=True)
class TaskResult:
    """What a task came to.

    Attributes:
        state: How it ended.
        artifacts: What it made, stored; a resolver that found nothing has an empty list.
        parameters: Values it put out.
    """

    state: State
    artifacts: dict[str, list[Artifact]] = dataclasses.field(default_factory=dict)
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)


class TaskFailedError(Exception):
    """A task failed; the message names it and has the end of its log."""
