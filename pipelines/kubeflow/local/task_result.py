"""TaskResult: the state and outputs of a task that has ended."""

import dataclasses
from typing import Any

from tfx_pruning.pipelines.kubeflow.local.artifact import Artifact
from tfx_pruning.pipelines.task_state import TaskState


@dataclasses.dataclass(frozen=True)
class TaskResult:
    """The state and outputs of a task that has ended.

    Attributes:
        state: How it ended.
        artifacts: Its output artifacts, stored; an empty list for a resolver that found nothing.
        parameters: Its output parameters.
    """

    state: TaskState
    artifacts: dict[str, list[Artifact]] = dataclasses.field(default_factory=dict)
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
