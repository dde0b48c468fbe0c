"""Run: a pipeline run in ML Metadata, and the states of its nodes."""

import collections
import dataclasses
import datetime
from typing import Any

from ml_metadata.metadata_store import ListOptions, OrderByField
from ml_metadata.proto import metadata_store_pb2

from .artifacts import pipeline_context
from .run_figures import RunFigures
from .store_reader import PIPELINE_TYPES, RUN_TYPES, StoreReader
from .times import from_milliseconds, in_iso_8601

_State = metadata_store_pb2.Execution.State
_UNFINISHED = ("new", "running", "unknown")


@dataclasses.dataclass(frozen=True)
class NodeExecution:
    """One execution of a node.

    Attributes:
        id: Its id in the store.
        node: Id of the node.
        state: 'complete', 'cached', 'running', 'failed', 'canceled', 'new' or 'unknown'.
        started: When it was recorded, in UTC.
        seconds: How long it took; None while it has not ended.
    """

    id: int
    node: str
    state: str
    started: datetime.datetime
    seconds: float | None


@dataclasses.dataclass(frozen=True)
class Run:
    """A pipeline run.

    Attributes:
        id: The run's id, the name of its context.
        pipeline: Name of the pipeline; None if none is recorded.
        started: When the run was recorded, in UTC.
        seconds: Time from then to the end of the last execution; None while one runs, or if there is none.
        executions: Executions of the nodes, by their ids. Nodes that have not begun are not recorded.
        figures: What the run came to.
    """

    id: str
    pipeline: str | None
    started: datetime.datetime
    seconds: float | None
    executions: tuple[NodeExecution, ...]
    figures: RunFigures

    @property
    def state(self) -> str:
        """'failed' or 'canceled' if a node is, 'running' if one has not ended, 'complete' if all have; else 'new'."""
        found = self.states()
        for state in ("failed", "canceled"):
            if state in found:
                return state
        if any(state in found for state in _UNFINISHED):
            return "running"
        return "complete" if found else "new"

    def states(self) -> dict[str, int]:
        """How many executions are in each state, the most frequent first."""
        return dict(collections.Counter(execution.state for execution in self.executions).most_common())

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            "run": self.id,
            "pipeline": self.pipeline,
            "started": in_iso_8601(self.started),
            "seconds": self.seconds,
            "state": self.state,
            **dataclasses.asdict(self.figures),
            "executions": [
                {**dataclasses.asdict(each), "started": in_iso_8601(each.started)} for each in self.executions
            ],
        }


def list_runs(reader: StoreReader, pipeline: str | None = None, limit: int | None = None) -> tuple[Run, ...]:
    """Lists pipeline runs, the newest first.

    Args:
        reader: Reader of the store.
        pipeline: Name of the pipeline whose runs are listed; None for all.
        limit: Maximum number of runs, at least 1; None for all.

    Raises:
        StoreError: The store has no pipeline of that name.
    """
    if pipeline is None:
        runs = [context for name in RUN_TYPES for context in reader.store.get_contexts_by_type(name)]
    else:
        children = reader.store.get_children_contexts_by_context(pipeline_context(reader, pipeline).id)
        runs = [context for context in children if context.type in RUN_TYPES]
    newest_first = sorted(runs, key=lambda context: context.id, reverse=True)
    return tuple(_run(reader, context) for context in newest_first[:limit])


def _run(reader: StoreReader, context: metadata_store_pb2.Context) -> Run:
    options = ListOptions(order_by=OrderByField.ID)
    executions = reader.store.get_executions_by_context(context.id, options)
    contexts = reader.contexts(execution.id for execution in executions)
    nodes = tuple(_node_execution(execution, contexts[execution.id].node) for execution in executions)
    parents = reader.store.get_parent_contexts_by_context(context.id)
    pipelines = [parent.name for parent in parents if parent.type in PIPELINE_TYPES]
    pipelines += [each.pipeline for each in contexts.values() if each.pipeline is not None]
    ended = nodes and all(node.seconds is not None for node in nodes)
    last = max((execution.last_update_time_since_epoch for execution in executions), default=0)
    return Run(
        id=context.name,
        pipeline=pipelines[0] if pipelines else None,
        started=from_milliseconds(context.create_time_since_epoch),
        seconds=(last - context.create_time_since_epoch) / 1000 if ended else None,
        executions=nodes,
        figures=RunFigures.of(reader, [execution.id for execution in executions]),
    )


def _node_execution(execution: metadata_store_pb2.Execution, node: str) -> NodeExecution:
    state = _State.Name(execution.last_known_state).lower()
    took = (execution.last_update_time_since_epoch - execution.create_time_since_epoch) / 1000
    return NodeExecution(
        id=execution.id,
        node=node,
        state=state,
        started=from_milliseconds(execution.create_time_since_epoch),
        seconds=None if state in _UNFINISHED else took,
    )
