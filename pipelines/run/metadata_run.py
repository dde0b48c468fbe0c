"""MetadataRun: one run of a pipeline in ML Metadata."""

from collections.abc import Mapping

import ml_metadata
from ml_metadata.proto import metadata_store_pb2

from tfx_pruning.pipelines.run.outputs import NodeOutput


class MetadataRun:
    """One run of a pipeline in ML Metadata; a RunOutputs."""

    def __init__(self, metadata_path: str, pipeline_name: str, name: str) -> None:
        """Finds the run.

        Args:
            metadata_path: The SQLite file of ML Metadata.
            pipeline_name: Name of the pipeline.
            name: Name of the run.

        Raises:
            ValueError: No such run of the pipeline is recorded.
        """
        config = metadata_store_pb2.ConnectionConfig()
        config.sqlite.filename_uri = metadata_path
        config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
        self._store = ml_metadata.MetadataStore(config)
        pipeline = self._store.get_context_by_type_and_name("pipeline", pipeline_name)
        runs = self._store.get_children_contexts_by_context(pipeline.id) if pipeline else []
        runs = [context for context in runs if (context.type, context.name) == ("pipeline_run", name)]
        if not runs:
            raise ValueError(f"{metadata_path} records no run {name} of the pipeline {pipeline_name!r}.")
        self._run = runs[0]
        self.name, self.pipeline_name, self.record = name, pipeline_name, metadata_path

    def output(self, node: str, key: str) -> NodeOutput:
        """As RunOutputs."""
        artifact = self._artifact(node, key)
        found = artifact.custom_properties.items()
        return NodeOutput(artifact.uri, {name: getattr(value, value.WhichOneof("value")) for name, value in found})

    def set_properties(self, node: str, key: str, values: Mapping[str, str | int]) -> None:
        """Adds custom properties to an output, in place of those of the same names.

        Args:
            node: Id of the node.
            key: Name of the output.
            values: The properties.

        Raises:
            ValueError: The run has no such output.
        """
        artifact = self._artifact(node, key)
        for name, value in values.items():
            if isinstance(value, int):
                artifact.custom_properties[name].int_value = value
            else:
                artifact.custom_properties[name].string_value = value
        config = metadata_store_pb2.ConnectionConfig()
        config.sqlite.filename_uri = self.record
        config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE
        ml_metadata.MetadataStore(config).put_artifacts([artifact])

    def _artifact(self, node: str, key: str) -> metadata_store_pb2.Artifact:
        context = self._store.get_context_by_type_and_name("node", f"{self.pipeline_name}.{node}")
        executions = self._store.get_executions_by_context(context.id) if context else []
        in_run = {execution.id for execution in self._store.get_executions_by_context(self._run.id)}
        ids = [execution.id for execution in executions if execution.id in in_run]
        if ids:
            for event in self._store.get_events_by_execution_ids([max(ids)]):
                if event.type == metadata_store_pb2.Event.OUTPUT and event.path.steps[0].key == key:
                    (artifact,) = self._store.get_artifacts_by_id([event.artifact_id])
                    return artifact
        raise ValueError(f"The run {self.name} of {self.pipeline_name!r} has no {key} of {node}.")
