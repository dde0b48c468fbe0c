"""Builds stores of ML Metadata as TFX's local runner leaves them, without running anything."""

import pathlib
import sqlite3
from collections.abc import Mapping, Sequence

import ml_metadata
from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx import types

from tfx_pruning import properties

Inputs = Mapping[str, Sequence[int] | int]

EVENT = mlmd.Event
STATE = mlmd.Execution
PRUNED = {
    properties.PRUNE_OPTION: "weight",
    properties.TARGET_SPARSITY: 0.9,
    properties.SPARSITY: 0.899999,
    properties.PRUNABLE_PARAMETERS: 163328,
    properties.NONZERO_PARAMETERS: 16333,
    properties.HPARAMS: "name=model_pruning,target_sparsity=0.9,pruning_frequency=8,nbins=256",
    properties.TRAINED_BYTES: 3218360,
}
STRIPPED = {**PRUNED, properties.STRIPPED_BYTES: 883999, properties.VARIABLES_REMOVED: 26}


def stored_properties(path: pathlib.Path, artifact: types.Artifact) -> dict[str, str | int | float]:
    """The custom properties of an artifact after it was put into a store of ML Metadata in a SQLite file."""
    store = StoreBuilder(path).store
    new = mlmd.Artifact(uri=artifact.uri, custom_properties=artifact.mlmd_artifact.custom_properties)
    new.type_id = store.put_artifact_type(artifact.artifact_type)
    (number,) = store.put_artifacts([new])
    (found,) = store.get_artifacts_by_id([number])
    return {key: getattr(value, value.WhichOneof("value")) for key, value in found.custom_properties.items()}


class StoreBuilder:
    """Writes a store, run by run and node by node. Ids of executions and artifacts count from 1.

    Attributes:
        path: The SQLite file.
        store: The store, to write to.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        config = mlmd.ConnectionConfig()
        config.sqlite.filename_uri = str(path)
        config.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        self.store = ml_metadata.MetadataStore(config)
        self._contexts: list[mlmd.Context] = []

    def run(self, pipeline: str | None, run: str | None, types: Sequence[str] = ("pipeline", "pipeline_run")) -> None:
        """Begins a pipeline run; what follows belongs to it. Without names it belongs to none."""
        names = zip(types, (pipeline, run), strict=True)
        self._contexts = [self._context(type_name, name) for type_name, name in names if name is not None]
        if len(self._contexts) == 2:
            parent, child = self._contexts
            self.store.put_parent_contexts([mlmd.ParentContext(child_id=child.id, parent_id=parent.id)])

    def execute(
        self,
        type_name: str,
        inputs: Inputs | None = None,
        outputs: Mapping[str, str] | None = None,
        *,
        node: str | None = "",
        state: int = STATE.COMPLETE,
        custom: Mapping[str, Mapping[str, str | int | float]] | None = None,
        artifact_state: int = mlmd.Artifact.LIVE,
        task_name: str = "",
        events: tuple[int, int] = (EVENT.INPUT, EVENT.OUTPUT),
    ) -> dict[str, int]:
        """Records an execution.

        Args:
            type_name: Its type; the node is named by the last part of it.
            inputs: Ids of artifacts by the inputs' names.
            outputs: Types of new artifacts by the outputs' names.
            node: Name of the node; None for none.
            state: The execution's.
            custom: Custom properties of the outputs by their names.
            artifact_state: That of the outputs.
            task_name: Kubeflow's name of the node.
            events: Types of the events of inputs and of outputs.

        Returns:
            Ids of the new artifacts, by the outputs' names.
        """
        name = type_name.rpartition(".")[2] if node == "" else node
        contexts = list(self._contexts)
        if name is not None and contexts and contexts[0].type == "pipeline":
            contexts.append(self._context("node", f"{contexts[0].name}.{name}"))
        type_id = self.store.put_execution_type(mlmd.ExecutionType(name=type_name))
        execution = mlmd.Execution(type_id=type_id, last_known_state=state)
        if task_name:
            execution.custom_properties["task_name"].string_value = task_name
        pairs = [
            (mlmd.Artifact(id=id), self._event(events[0], key, id))
            for key, ids in (inputs or {}).items()
            for id in ([ids] if isinstance(ids, int) else ids)
        ]
        pairs = [(self.store.get_artifacts_by_id([artifact.id])[0], event) for artifact, event in pairs]
        for key, output_type in (outputs or {}).items():
            artifact = self._artifact(output_type, f"root/{name}/{key}", artifact_state, (custom or {}).get(key, {}))
            pairs.append((artifact, self._event(events[1], key)))
        _, ids, _ = self.store.put_execution(execution, pairs, contexts)
        return dict(zip(outputs or {}, ids[len(ids) - len(outputs or {}) :], strict=True))

    def cached(self, type_name: str, inputs: Inputs, outputs: Mapping[str, int]) -> None:
        """Records a cached execution, whose outputs are of an earlier one."""
        self.reuse(type_name, inputs, outputs, STATE.CACHED, EVENT.OUTPUT)

    def reuse(self, type_name: str, inputs: Inputs, outputs: Mapping[str, int], state: int, event_type: int) -> None:
        """Records an execution whose outputs are artifacts that are there."""
        self.execute(type_name, inputs, state=state)
        execution = max(execution.id for execution in self.store.get_executions())
        events = [self._event(event_type, key, id) for key, id in outputs.items()]
        for event in events:
            event.execution_id = execution
        self.store.put_events(events)

    def artifact(self, type_name: str, uri: str = "root/imported") -> int:
        """Records an artifact that no execution made; returns its id."""
        return self.store.put_artifacts([self._artifact(type_name, uri, mlmd.Artifact.LIVE, {})])[0]

    def append_trainings(self, count: int) -> None:
        """Records a run for each of `count` trainings, each of which starts from the model before; in few calls."""
        store = self.store
        start = store.get_artifacts_by_id([1])[0]
        training = store.put_execution_type(mlmd.ExecutionType(name="Trainer"))
        run = store.put_context_type(mlmd.ContextType(name="pipeline_run"))
        runs = store.put_contexts([mlmd.Context(type_id=run, name=f"run-{index}") for index in range(count)])
        models = store.put_artifacts([mlmd.Artifact(type_id=start.type_id, uri=f"root/{n}") for n in range(count)])
        trainings = store.put_executions([mlmd.Execution(type_id=training)] * count)
        store.put_attributions_and_associations(
            [], [mlmd.Association(execution_id=each, context_id=run) for each, run in zip(trainings, runs, strict=True)]
        )
        for event_type, ids in ((EVENT.INPUT, [start.id, *models[:-1]]), (EVENT.OUTPUT, models)):
            pairs = zip(ids, trainings, strict=True)
            store.put_events([mlmd.Event(type=event_type, artifact_id=a, execution_id=e) for a, e in pairs])

    def set_times(self, table: str, id: int, created: int, updated: int) -> None:
        """Sets the times, in milliseconds since 1970, of a row of the table 'Execution', 'Artifact' or 'Context'."""
        with sqlite3.connect(self.path) as connection:
            connection.execute(
                f"UPDATE {table} SET create_time_since_epoch = ?, last_update_time_since_epoch = ? WHERE id = ?",
                (created, updated, id),
            )
        connection.close()

    def _artifact(self, type_name: str, uri: str, state: int, custom: Mapping[str, str | int | float]) -> mlmd.Artifact:
        type_id = self.store.put_artifact_type(mlmd.ArtifactType(name=type_name))
        artifact = mlmd.Artifact(type_id=type_id, uri=uri, state=state)
        artifact.custom_properties["is_external"].int_value = 0
        for name, value in custom.items():
            kind = {str: "string_value", int: "int_value", float: "double_value"}[type(value)]
            setattr(artifact.custom_properties[name], kind, value)
        return artifact

    @staticmethod
    def _event(event_type: int, key: str, artifact_id: int | None = None) -> mlmd.Event:
        event = mlmd.Event(type=event_type, artifact_id=artifact_id)
        event.path.steps.add().key = key
        event.path.steps.add().index = 0
        return event

    def _context(self, type_name: str, name: str) -> mlmd.Context:
        found = self.store.get_context_by_type_and_name(type_name, name)
        if found is None:
            type_id = self.store.put_context_type(mlmd.ContextType(name=type_name))
            self.store.put_contexts([mlmd.Context(type_id=type_id, name=name)])
            found = self.store.get_context_by_type_and_name(type_name, name)
        return found


def build_sweep(path: pathlib.Path) -> StoreBuilder:
    """A sweep of four candidates, of which s90 is chosen.

    Ids: Model 1 is dense; candidates are Models 2, 4, 6, 8, each before its ModelEvaluation; SparsitySelector's Model
    is 10, its ModelBlessing 11, and what was pushed 12.
    """
    builder = StoreBuilder(path)
    builder.run("sweep", "run-1")
    dense = builder.execute("Trainer", outputs={"model": "Model"})["model"]
    inputs: dict[str, int] = {}
    for name in ("s50", "s90", "s95", "s99"):
        pruned = builder.execute("PruningTrainer", {"base_model": dense}, {"model": "Model"})["model"]
        evaluated = {"model": pruned, "baseline_model": dense}
        found = builder.execute("Evaluator", evaluated, {"evaluation": "ModelEvaluation"})
        inputs |= {f"model_{name}": pruned, f"evaluation_{name}": found["evaluation"]}
    choice = {
        properties.CANDIDATE: "s90",
        properties.METRIC: "auc",
        properties.METRIC_VALUE: "0.94209",
        properties.METRIC_LIMIT: "0.9394",
    }
    outputs = {"model": "Model", "blessing": "ModelBlessing"}
    selected = builder.execute(
        "SparsitySelector",
        inputs,
        outputs,
        custom={"model": {**STRIPPED, **choice}, "blessing": {**choice, "blessed": 1}},
    )
    pushed = {"model": selected["model"], "model_blessing": selected["blessing"]}
    builder.execute("Pusher", pushed, {"pushed_model": "PushedModel"})
    return builder


def build_taxi(path: pathlib.Path) -> StoreBuilder:
    """Two runs of a small pipeline of the taxi's shape; the second takes the data from the cache.

    First run: Examples 1, Schema 2, TransformGraph 3, Examples 4, Model 5 dense, Model 6 pruned, Model 7 stripped,
    ModelBlessing 8, PushedModel 9. Second run, whose training starts from Model 7: Model 10 dense, Model 11 pruned,
    Model 12 stripped, ModelBlessing 13 not blessed, PushedModel 14 not pushed. Executions are 1 to 8, and 9 to 17, of
    which 9 to 11 are cached and 12 is the Resolver.
    """
    builder = StoreBuilder(path)
    builder.run("taxi", "run-1")
    builder.execute("tfx.components.CsvExampleGen", {}, {"examples": "Examples"})
    builder.execute("tfx.components.SchemaGen", {"examples": 1}, {"schema": "Schema"})
    builder.execute(
        "tfx.components.Transform",
        {"examples": 1, "schema": 2},
        {"transform_graph": "TransformGraph", "transformed_examples": "Examples"},
    )
    _train(builder, base_model=None)
    builder.run("taxi", "run-2")
    builder.cached("tfx.components.CsvExampleGen", {}, {"examples": 1})
    builder.cached("tfx.components.SchemaGen", {"examples": 1}, {"schema": 2})
    builder.cached(
        "tfx.components.Transform", {"examples": 1, "schema": 2}, {"transform_graph": 3, "transformed_examples": 4}
    )
    builder.reuse("tfx.dsl.Resolver", {}, {"model": 7}, STATE.COMPLETE, EVENT.INTERNAL_OUTPUT)
    _train(builder, base_model=7)
    return builder


def _train(builder: StoreBuilder, base_model: int | None) -> None:
    """The nodes from Trainer to Pusher."""
    blessed = base_model is None
    data = {"examples": 4, "transform_graph": 3}
    start = {} if base_model is None else {"base_model": base_model}
    dense = builder.execute("tfx.components.Trainer", {**data, **start}, {"model": "Model"})["model"]
    pruned = builder.execute(
        "tfx_pruning.PruningTrainer", {**data, "base_model": dense}, {"model": "Model"}, custom={"model": PRUNED}
    )["model"]
    stripped = builder.execute(
        "tfx_pruning.Stripper",
        {"trained_model": pruned, "examples": 1},
        {"model": "Model"},
        custom={"model": STRIPPED},
    )["model"]
    blessing = builder.execute(
        "tfx.components.Evaluator",
        {"model": stripped, "baseline_model": dense, "examples": 1},
        {"blessing": "ModelBlessing"},
        custom={"blessing": {"blessed": int(blessed), "current_model_id": stripped}},
    )["blessing"]
    destination = {"pushed_destination": "serving/7"} if blessed else {}
    builder.execute(
        "tfx.components.Pusher",
        {"model": stripped, "model_blessing": blessing},
        {"pushed_model": "PushedModel"},
        custom={"pushed_model": {"pushed": int(blessed), **destination}},
    )
