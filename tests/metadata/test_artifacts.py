"""Artifacts with their properties and what made them."""

import json
import pathlib

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from helpers.store_builder import STRIPPED, StoreBuilder, build_taxi
from tfx_pruning.metadata.artifacts import ArtifactRecord, check_recorded, list_artifacts, type_names
from tfx_pruning.metadata.connection import StoreError, connection_config, open_store
from tfx_pruning.metadata.store_reader import ExecutionContext, StoreReader


def _reader(builder: StoreBuilder) -> StoreReader:
    return StoreReader(open_store(connection_config(str(builder.path))))


def _artifacts(builder: StoreBuilder, *arguments, **keywords) -> tuple[ArtifactRecord, ...]:
    return list_artifacts(_reader(builder), *arguments, **keywords)


def test_empty_store_has_none(builder: StoreBuilder) -> None:
    assert _artifacts(builder) == ()
    assert type_names(_reader(builder)) == []


def test_models_newest_first(tmp_path: pathlib.Path) -> None:
    models = _artifacts(build_taxi(tmp_path / "metadata.sqlite"))
    assert [(each.id, each.made_by.node, each.stage) for each in models] == [
        (12, "Stripper", "stripped"),
        (11, "PruningTrainer", "pruned"),
        (10, "Trainer", None),
        (7, "Stripper", "stripped"),
        (6, "PruningTrainer", "pruned"),
        (5, "Trainer", None),
    ]
    stripped = models[3]
    assert stripped.made_by == ExecutionContext(execution_id=6, node="Stripper", run="run-1", pipeline="taxi")
    assert (stripped.type, stripped.state, stripped.uri) == ("Model", "live", "root/Stripper/model")
    assert stripped.properties == {**STRIPPED, "is_external": 0}


def test_maker_is_the_execution_that_was_not_cached(tmp_path: pathlib.Path) -> None:
    (schema,) = _artifacts(build_taxi(tmp_path / "metadata.sqlite"), "Schema")
    assert schema.made_by == ExecutionContext(execution_id=2, node="SchemaGen", run="run-1", pipeline="taxi")
    assert schema.runs == ("run-1", "run-2")


def test_maker_is_not_cached_even_if_recorded_later(builder: StoreBuilder) -> None:
    model = builder.artifact("Model")
    builder.run("taxi", "cached")
    builder.cached("Trainer", {}, {"model": model})
    builder.run("taxi", "made")
    builder.reuse("Trainer", {}, {"model": model}, mlmd.Execution.COMPLETE, mlmd.Event.OUTPUT)
    assert _artifacts(builder)[0].made_by.run == "made"


def test_json_is_whole_and_flat(builder: StoreBuilder) -> None:
    builder.run("taxi", "run-1")
    builder.execute("Trainer", {}, {"model": "Model"}, custom={"model": {"steps": 5, "rate": 0.5, "name": "dense"}})
    builder.set_times("Artifact", 1, 1_500, 1_500)
    (model,) = _artifacts(builder)
    assert json.loads(json.dumps(model.to_json())) == {
        "id": 1,
        "type": "Model",
        "stage": None,
        "state": "live",
        "uri": "root/Trainer/model",
        "created": "1970-01-01T00:00:01.500+00:00",
        "pipeline": "taxi",
        "run": "run-1",
        "node": "Trainer",
        "execution_id": 1,
        "runs": ["run-1"],
        "properties": {"is_external": 0, "name": "dense", "rate": 0.5, "steps": 5},
    }


def test_properties_of_the_type_and_structures(builder: StoreBuilder) -> None:
    kind = mlmd.ArtifactType(name="Model", properties={"span": mlmd.INT})
    artifact = mlmd.Artifact(type_id=builder.store.put_artifact_type(kind))
    artifact.properties["span"].int_value = 3
    artifact.custom_properties["flag"].bool_value = True
    artifact.custom_properties["list"].struct_value.update({"__value__": [1, "two"]})
    builder.store.put_artifacts([artifact])
    (model,) = _artifacts(builder)
    assert model.properties == {"span": 3, "flag": True, "list": {"__value__": [1.0, "two"]}}


def test_artifact_that_nothing_made(builder: StoreBuilder) -> None:
    builder.artifact("Model")
    (model,) = _artifacts(builder)
    assert (model.made_by, model.runs) == (None, ())
    assert model.to_json()["node"] is None


def test_execution_without_contexts_is_named_by_its_type(builder: StoreBuilder) -> None:
    builder.run(None, None)
    builder.execute("acme.training.MyTrainer", {}, {"model": "Model"}, node=None)
    assert _artifacts(builder)[0].made_by == ExecutionContext(execution_id=1, node="MyTrainer", run=None, pipeline=None)


@pytest.mark.parametrize(
    ("state", "name"), [(mlmd.Artifact.DELETED, "deleted"), (mlmd.Artifact.MARKED_FOR_DELETION, "marked_for_deletion")]
)
def test_deleted_artifacts_are_listed(builder: StoreBuilder, state: int, name: str) -> None:
    builder.run("taxi", "run-1")
    builder.execute("Trainer", {}, {"model": "Model"}, artifact_state=state)
    assert [each.state for each in _artifacts(builder)] == [name]


def test_of_one_pipeline_and_type_and_not_more_than_the_limit(builder: StoreBuilder) -> None:
    for pipeline in ("taxi", "iris", "taxi"):
        builder.run(pipeline, f"run of {pipeline} {len(builder.store.get_executions())}")
        builder.execute("Trainer", {}, {"model": "Model", "model_run": "ModelRun"})
    assert [each.id for each in _artifacts(builder, limit=2)] == [5, 3]
    assert [each.id for each in _artifacts(builder, pipeline="taxi")] == [5, 1]
    assert [each.id for each in _artifacts(builder, "ModelRun")] == [6, 4, 2]
    assert _artifacts(builder, "Modell") == ()
    assert type_names(_reader(builder)) == ["Model", "ModelRun"]
    with pytest.raises(StoreError, match="there is no pipeline 'texi'; the store has 'iris', 'taxi'"):
        _artifacts(builder, pipeline="texi")


def test_type_of_kubeflow_goes_by_its_last_part(builder: StoreBuilder) -> None:
    builder.artifact("tfx.Model")
    assert [each.type for each in _artifacts(builder, "Model")] == ["tfx.Model"]
    assert [each.type for each in _artifacts(builder, "tfx.Model")] == ["tfx.Model"]


def test_unknown_id_names_the_nearest(builder: StoreBuilder) -> None:
    with pytest.raises(StoreError, match="there is no artifact 5: the store holds no artifacts"):
        check_recorded(_reader(builder), 5)
    for _ in range(6):
        builder.artifact("Model")
    check_recorded(_reader(builder), 6)
    with pytest.raises(StoreError, match=r"there is no artifact 99; the nearest ids are 5, 6\."):
        check_recorded(_reader(builder), 99)
