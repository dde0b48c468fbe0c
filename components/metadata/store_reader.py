"""StoreReader: looks up artifacts, executions and events in ML Metadata, many with one call and each only once."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import ml_metadata
from ml_metadata import errors
from ml_metadata.proto import metadata_store_pb2

# How TFX and Kubeflow Pipelines name their contexts.
PIPELINE_TYPES = ("pipeline", "system.Pipeline")
RUN_TYPES = ("pipeline_run", "system.PipelineRun")
_NODE_TYPES = ("node",)
_TASK_NAME = "task_name"  # Kubeflow's property of an execution, in place of a context

_Event = metadata_store_pb2.Event
# Not INTERNAL_INPUT and INTERNAL_OUTPUT: a Resolver hands on what others have made.
_INPUTS = frozenset({_Event.INPUT, _Event.DECLARED_INPUT})
_OUTPUTS = frozenset({_Event.OUTPUT, _Event.DECLARED_OUTPUT, _Event.PENDING_OUTPUT})

_BATCH = 100  # ids a call

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class ExecutionContext:
    """Where an execution belongs.

    Attributes:
        execution_id: Its id.
        node: Id of the pipeline's node; the last part of the execution's type if none is recorded.
        run: Id of the pipeline run; None if none is recorded.
        pipeline: Name of the pipeline; None if none is recorded.
    """

    execution_id: int
    node: str
    run: str | None
    pipeline: str | None


@dataclasses.dataclass(frozen=True)
class Use:
    """An artifact as an input or output of an execution.

    Attributes:
        artifact_id: The artifact.
        execution_id: The execution.
        key: Name of the input or output; '' if none is recorded.
    """

    artifact_id: int
    execution_id: int
    key: str


class StoreReader:
    """Looks up records in a store and remembers them, so that later changes of the store are not seen."""

    def __init__(self, store: ml_metadata.MetadataStore) -> None:
        self.store = store
        self._artifacts: dict[int, metadata_store_pb2.Artifact] = {}
        self._executions: dict[int, metadata_store_pb2.Execution] = {}
        self._contexts: dict[int, ExecutionContext] = {}
        self._of_artifact: dict[int, list[_Event]] = {}
        self._of_execution: dict[int, list[_Event]] = {}

    def artifacts(self, ids: Iterable[int]) -> dict[int, metadata_store_pb2.Artifact]:
        """Artifacts by id; those that are not recorded are left out."""
        return _remembered(self._artifacts, ids, self._read_artifacts)

    def executions(self, ids: Iterable[int]) -> dict[int, metadata_store_pb2.Execution]:
        """Executions by id; those that are not recorded are left out."""
        return _remembered(self._executions, ids, self._read_executions)

    def contexts(self, ids: Iterable[int]) -> dict[int, ExecutionContext]:
        """Where executions belong, by their ids."""
        return _remembered(self._contexts, ids, self._read_contexts)

    def producers(self, artifact_ids: Iterable[int]) -> dict[int, int]:
        """The execution that made each artifact; artifacts that none has made are left out.

        A cached execution records the outputs of an earlier one as its own. So, of all executions with an artifact
        among their outputs, the earliest that was not cached is its producer.
        """
        return {artifact: executions[0] for artifact, executions in self._with_output(artifact_ids).items()}

    def runs(self, artifact_ids: Iterable[int]) -> dict[int, set[str]]:
        """The pipeline runs in which each artifact is an output, of a cached execution too."""
        found = self._with_output(artifact_ids)
        contexts = self.contexts(execution for executions in found.values() for execution in executions)
        runs = {
            artifact: {contexts[each].run for each in executions if each in contexts}
            for artifact, executions in found.items()
        }
        return {artifact: {run for run in names if run is not None} for artifact, names in runs.items()}

    def users(self, artifact_ids: Iterable[int]) -> list[int]:
        """Ids of the executions that have one of the artifacts as an input, ascending."""
        events = self._events_of_artifacts(artifact_ids).values()
        return sorted({event.execution_id for each in events for event in each if event.type in _INPUTS})

    def inputs(self, execution_ids: Iterable[int]) -> dict[int, list[Use]]:
        """Inputs of executions, by their ids, in the order of the artifacts' ids."""
        return self._uses(execution_ids, _INPUTS)

    def outputs(self, execution_ids: Iterable[int]) -> dict[int, list[Use]]:
        """Outputs of executions, by their ids, in the order of the artifacts' ids."""
        return self._uses(execution_ids, _OUTPUTS)

    def _with_output(self, artifact_ids: Iterable[int]) -> dict[int, list[int]]:
        """The executions with each artifact among their outputs, by id; those that were cached come last."""
        found = {
            artifact: {event.execution_id for event in events if event.type in _OUTPUTS}
            for artifact, events in self._events_of_artifacts(artifact_ids).items()
        }
        executions = self.executions(execution for each in found.values() for execution in each)

        def order(execution: int) -> tuple[bool, int]:
            state = executions[execution].last_known_state
            return state == metadata_store_pb2.Execution.CACHED, execution

        ordered = {artifact: sorted(each & executions.keys(), key=order) for artifact, each in found.items()}
        return {artifact: each for artifact, each in ordered.items() if each}

    def _uses(self, execution_ids: Iterable[int], types: frozenset[int]) -> dict[int, list[Use]]:
        events = _remembered(self._of_execution, execution_ids, self._read_events_of_executions)
        self.artifacts(event.artifact_id for each in events.values() for event in each)
        return {
            execution: sorted(
                {
                    Use(event.artifact_id, execution, _key(event))
                    for event in each
                    if event.type in types and event.artifact_id in self._artifacts
                },
                key=lambda use: (use.artifact_id, use.key),
            )
            for execution, each in events.items()
        }

    def _events_of_artifacts(self, ids: Iterable[int]) -> dict[int, list[_Event]]:
        return _remembered(self._of_artifact, ids, self._read_events_of_artifacts)

    def _read_artifacts(self, ids: Sequence[int]) -> dict[int, metadata_store_pb2.Artifact]:
        return {artifact.id: artifact for artifact in self.store.get_artifacts_by_id(ids)}

    def _read_executions(self, ids: Sequence[int]) -> dict[int, metadata_store_pb2.Execution]:
        return {execution.id: execution for execution in self.store.get_executions_by_id(ids)}

    def _read_events_of_artifacts(self, ids: Sequence[int]) -> dict[int, list[_Event]]:
        found: dict[int, list[_Event]] = {each: [] for each in ids}
        for event in self.store.get_events_by_artifact_ids(ids):
            found[event.artifact_id].append(event)
        return found

    def _read_events_of_executions(self, ids: Sequence[int]) -> dict[int, list[_Event]]:
        found: dict[int, list[_Event]] = {each: [] for each in ids}
        for event in self.store.get_events_by_execution_ids(ids):
            found[event.execution_id].append(event)
        return found

    def _read_contexts(self, ids: Sequence[int]) -> dict[int, ExecutionContext]:
        return {
            execution.id: _execution_context(execution, self._contexts_of(execution.id))
            for execution in self.executions(ids).values()
        }

    def _contexts_of(self, execution_id: int) -> Sequence[metadata_store_pb2.Context]:
        try:
            return self.store.get_contexts_by_execution(execution_id)
        except errors.NotFoundError:  # in place of an empty list
            return ()


def last_part(type_name: str) -> str:
    """The name of a type without its module, such as 'Trainer' or 'Model'."""
    return type_name.rpartition(".")[2]


def _remembered(
    known: dict[int, _T], ids: Iterable[int], read: Callable[[Sequence[int]], Mapping[int, _T]]
) -> dict[int, _T]:
    """The records of `ids`, read if they are not known yet."""
    asked = list(dict.fromkeys(ids))
    for batch in _batches([each for each in asked if each not in known]):
        known.update(read(batch))
    return {each: known[each] for each in asked if each in known}


def _batches(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), _BATCH):
        yield ids[start : start + _BATCH]


def _key(event: metadata_store_pb2.Event) -> str:
    return next((step.key for step in event.path.steps if step.HasField("key")), "")


def _execution_context(
    execution: metadata_store_pb2.Execution, contexts: Sequence[metadata_store_pb2.Context]
) -> ExecutionContext:
    pipeline = _name_of_type(contexts, PIPELINE_TYPES)
    node = _name_of_type(contexts, _NODE_TYPES)
    if node is None:
        task = execution.custom_properties.get(_TASK_NAME)
        node = task.string_value if task is not None else last_part(execution.type)
    elif pipeline is not None:
        node = node.removeprefix(f"{pipeline}.")
    return ExecutionContext(execution.id, node, _name_of_type(contexts, RUN_TYPES), pipeline)


def _name_of_type(contexts: Sequence[metadata_store_pb2.Context], types: Sequence[str]) -> str | None:
    return next((context.name for context in contexts if context.type in types), None)
