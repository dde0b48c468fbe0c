"""TaskResult: what a task came to."""

import dataclasses
from typing import Any

from tfx_pruning.pipelines.kubeflow.local.artifact import Artifact
from tfx_pruning.pipelines.task_state import TaskState


@dataclasses.dataclass(frozen=True)
class TaskResult:
    """What a task came to.

    Attributes:
        state: How it ended.
        artifacts: What it made, stored; a resolver that found nothing has an empty list.
        parameters: Values it put out.
    """

    state: TaskState
    artifacts: dict[str, list[Artifact]] = dataclasses.field(default_factory=dict)
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
