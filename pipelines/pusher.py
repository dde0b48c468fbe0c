"""Pusher, with the executor of this package."""

from tfx import v1 as tfx
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec

from tfx_pruning.pipelines.pusher_executor import Executor


class Pusher(tfx.components.Pusher):
    """TFX's Pusher, but a version of the model appears in the serving directory as a whole or not at all."""

    EXECUTOR_SPEC = ExecutorClassSpec(Executor)
