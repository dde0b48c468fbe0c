"""ArtifactRecord: an artifact in ML Metadata, with its properties and what made it."""

import bisect
import dataclasses
import datetime
from collections.abc import Iterable
from typing import Any, Literal

from google.protobuf import json_format
from ml_metadata.proto import metadata_store_pb2

from .. import properties
from .connection import StoreError
from .store_reader import PIPELINE_TYPES, ExecutionContext, StoreReader, last_part
from .times import from_milliseconds, in_iso_8601

MODEL = "Model"
_State = metadata_store_pb2.Artifact.State


@dataclasses.dataclass(frozen=True)
class ArtifactRecord:
    """An artifact.

    Attributes:
        id: Its id in the store.
        type: Name of its type, such as 'Model'.
        state: 'live', 'pending', 'deleted' or another of ML Metadata's states, in lower case.
        uri: Where it is, or was.
        created: When it was recorded, in UTC.
        made_by: The execution that made it; None if none is recorded, such as for an artifact imported from elsewhere.
        runs: Sorted ids of the pipeline runs with it as an output: the one that made it, and those that had it cached.
        properties: All its properties, the type's and custom ones, by name.
    """

    id: int
    type: str
    state: str
    uri: str
    created: datetime.datetime
    made_by: ExecutionContext | None
    runs: tuple[str, ...]
    properties: dict[str, Any]

    @property
    def stage(self) -> Literal["pruned", "stripped"] | None:
        """'pruned' or 'stripped' for models of PruningTrainer or Stripper; None for all else."""
        if properties.STRIPPED_BYTES in self.properties:
            return "stripped"
        return "pruned" if properties.SPARSITY in self.properties else None

    def to_json(self) -> dict[str, Any]:
        """The record as JSON."""
        return {
            "id": self.id,
            "type": self.type,
            "stage": self.stage,
            "state": self.state,
            "uri": self.uri,
            "created": in_iso_8601(self.created),
            "pipeline": self.made_by and self.made_by.pipeline,
            "run": self.made_by and self.made_by.run,
            "node": self.made_by and self.made_by.node,
            "execution_id": self.made_by and self.made_by.execution_id,
            "runs": list(self.runs),
            "properties": self.properties,
        }


def records(reader: StoreReader, ids: Iterable[int]) -> dict[int, ArtifactRecord]:
    """Records of artifacts by id; those that are not in the store are left out."""
    artifacts = reader.artifacts(ids)
    producers = reader.producers(artifacts)
    contexts = reader.contexts(producers.values())
    runs = reader.runs(artifacts)
    return {
        id: ArtifactRecord(
            id=id,
            type=artifact.type,
            state=_State.Name(artifact.state).lower(),
            uri=artifact.uri,
            created=from_milliseconds(artifact.create_time_since_epoch),
            made_by=contexts.get(producers[id]) if id in producers else None,
            runs=tuple(sorted(runs.get(id, ()))),
            properties=values(artifact),
        )
        for id, artifact in artifacts.items()
    }


def list_artifacts(
    reader: StoreReader, type_name: str = MODEL, pipeline: str | None = None, limit: int | None = None
) -> tuple[ArtifactRecord, ...]:
    """Lists artifacts of a type, deleted ones too, the newest first.

    Args:
        reader: Reader of the store.
        type_name: Name of the type, whole or its last part: 'Model' is TFX's 'Model' and Kubeflow's 'tfx.Model'.
        pipeline: Name of the pipeline whose artifacts are listed; None for all.
        limit: Maximum number of artifacts, at least 1; None for all.

    Raises:
        StoreError: The store has no pipeline of that name.
    """
    types = [each for each in reader.store.get_artifact_types() if type_name in (each.name, last_part(each.name))]
    # Not by a filter_query, which ml-metadata 1.21 no longer has.
    if pipeline is None:
        found = [each for kind in types for each in reader.store.get_artifacts_by_type(kind.name, kind.version or None)]
    else:
        of_pipeline = reader.store.get_artifacts_by_context(pipeline_context(reader, pipeline).id)
        found = [each for each in of_pipeline if each.type_id in {kind.id for kind in types}]
    newest_first = sorted((artifact.id for artifact in found), reverse=True)
    return tuple(records(reader, newest_first[:limit]).values())


def type_names(reader: StoreReader) -> list[str]:
    """Names of the types that the store has artifacts of, sorted."""
    used = {artifact.type_id for artifact in reader.store.get_artifacts()}
    return sorted(each.name for each in reader.store.get_artifact_types() if each.id in used)


def pipeline_context(reader: StoreReader, name: str) -> metadata_store_pb2.Context:
    """The context of a pipeline.

    Raises:
        StoreError: The store has no pipeline of that name.
    """
    pipelines = [context for type_name in PIPELINE_TYPES for context in reader.store.get_contexts_by_type(type_name)]
    for context in pipelines:
        if context.name == name:
            return context
    names = ", ".join(sorted(repr(context.name) for context in pipelines))
    raise StoreError(f"there is no pipeline {name!r}; the store has {names or 'none'}.")


def check_recorded(reader: StoreReader, artifact_id: int) -> None:
    """Raises a StoreError that names the nearest ids if an artifact is not in the store."""
    if reader.artifacts([artifact_id]):
        return
    ids = sorted(artifact.id for artifact in reader.store.get_artifacts())
    if not ids:
        raise StoreError(f"there is no artifact {artifact_id}: the store holds no artifacts.")
    place = bisect.bisect(ids, artifact_id)
    near = ids[max(place - 2, 0) : place + 2]
    raise StoreError(f"there is no artifact {artifact_id}; the nearest ids are {', '.join(map(str, near))}.")


def values(artifact: metadata_store_pb2.Artifact) -> dict[str, Any]:
    """The properties of an artifact, the type's and custom ones, by name."""
    both = (*artifact.properties.items(), *artifact.custom_properties.items())
    return {name: _value(value) for name, value in sorted(both, key=lambda item: item[0])}


def _value(value: metadata_store_pb2.Value) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    found = getattr(value, kind)
    return found if isinstance(found, (bool, int, float, str)) else json_format.MessageToDict(found)
