"""Trees of what artifacts came from and what came of them."""

import inspect
import json
import pathlib
import sys

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from helpers.store_builder import EVENT, STATE, StoreBuilder, build_sweep, build_taxi
from tfx_pruning.metadata.connection import StoreError, connection_config, open_store
from tfx_pruning.metadata.lineage import Input, Lineage, lineage
from tfx_pruning.metadata.store_reader import StoreReader


@pytest.fixture(scope="module")
def taxi(tmp_path_factory: pytest.TempPathFactory) -> StoreBuilder:
    return build_taxi(tmp_path_factory.mktemp("taxi") / "metadata.sqlite")


def _lineage(builder: StoreBuilder, artifact_id: int, across_runs: bool = False) -> Lineage:
    reader = StoreReader(open_store(connection_config(str(builder.path))))
    return lineage(reader, artifact_id, across_runs)


def _outline(found: Lineage, parent_id: int | None = None, depth: int = 0) -> list[str]:
    """A line for each artifact, indented; '*' is the one asked for, '...' stands where it goes on in another run."""
    lines = []
    for node in found.children(parent_id):
        mark = {"self": " *", "source": "", "result": ""}[node.relation] + ("" if node.followed else " ...")
        lines.append(f"{'  ' * depth}{node.artifact.type} {node.artifact.id}{mark}")
        lines += _outline(found, node.artifact.id, depth + 1)
    return lines


DATA = [
    "Examples 1",
    "  Schema 2",
    "    TransformGraph 3",
    "    Examples 4",
]


def _made(first: int, count: int = 5, *, asked: int = 0, depth: int = 3) -> list[str]:
    """The lines of what a run makes of its data, each from the one before, from the artifact `first` on."""
    kinds = ("Model", "Model", "Model", "ModelBlessing", "PushedModel")[:count]
    return [
        "  " * (depth + at) + f"{kind} {first + at}" + (" *" if first + at == asked else "")
        for at, kind in enumerate(kinds)
    ]


def test_stripped_model_from_the_data_to_the_pushed_model(taxi: StoreBuilder) -> None:
    assert _outline(_lineage(taxi, 7)) == [*DATA, *_made(5, asked=7), "            Model 10 ..."]


def test_pushed_model_has_its_sources_only(taxi: StoreBuilder) -> None:
    found = _lineage(taxi, 9)
    assert _outline(found) == [*DATA, *_made(5, asked=9)]
    assert [node.relation for node in found.nodes] == ["source"] * 8 + ["self"]


def test_run_on_cached_data_that_starts_from_the_blessed_model(taxi: StoreBuilder) -> None:
    assert _outline(_lineage(taxi, 10)) == [*DATA, *_made(10, asked=10), "Model 7 ..."]


def test_across_runs_the_blessed_model_has_its_own_sources(taxi: StoreBuilder) -> None:
    assert _outline(_lineage(taxi, 14, across_runs=True)) == [*DATA, *_made(5, 3), *_made(10, asked=14)]


def test_across_runs_the_blessed_model_has_its_later_results(taxi: StoreBuilder) -> None:
    found = _outline(_lineage(taxi, 7, across_runs=True))
    assert found[-8:] == [*_made(5, asked=7)[2:], *_made(10, depth=6)]


def test_data_that_both_runs_used(taxi: StoreBuilder) -> None:
    found = _lineage(taxi, 1)
    assert _outline(found) == ["Examples 1 *", *DATA[1:], *_made(5), *_made(10)]
    assert {node.relation for node in found.nodes} == {"self", "result"}


def test_inputs_are_all_there_with_their_names(taxi: StoreBuilder) -> None:
    nodes = {node.artifact.id: node for node in _lineage(taxi, 10).nodes}
    assert nodes[10].inputs == (
        Input(3, "transform_graph", other_run=False),
        Input(4, "examples", other_run=False),
        Input(7, "base_model", other_run=True),
    )
    assert nodes[13].inputs == (
        Input(1, "examples", other_run=False),
        Input(10, "baseline_model", other_run=False),
        Input(12, "model", other_run=False),
    )
    assert nodes[4].artifact.runs == ("run-1", "run-2")


def test_json_makes_the_tree(taxi: StoreBuilder) -> None:
    found = json.loads(json.dumps(_lineage(taxi, 7).to_json()))
    assert found["artifact_id"] == 7
    parents = {node["id"]: node["parent_id"] for node in found["nodes"]}
    assert parents == {1: None, 2: 1, 3: 2, 4: 2, 5: 4, 6: 5, 7: 6, 8: 7, 9: 8, 10: 7}
    last = found["nodes"][-1]
    assert (last["relation"], last["followed"], last["node"], last["stage"]) == ("result", False, "Trainer", None)
    assert last["inputs"][-1] == {"artifact_id": 7, "key": "base_model", "other_run": True}


def test_later_evaluation_of_a_cached_model_is_a_result_of_it(builder: StoreBuilder) -> None:
    builder.run("taxi", "run-1")
    builder.execute("Trainer", {}, {"model": "Model"})
    builder.run("taxi", "run-2")
    builder.cached("Trainer", {}, {"model": 1})
    builder.execute("Evaluator", {"model": 1}, {"blessing": "ModelBlessing"})
    assert _outline(_lineage(builder, 1)) == ["Model 1 *", "  ModelBlessing 2"]


def test_deleted_artifacts_stay_in_the_tree(builder: StoreBuilder) -> None:
    builder.run("taxi", "run-1")
    builder.execute("Trainer", {}, {"model": "Model"}, artifact_state=mlmd.Artifact.DELETED)
    builder.execute("Pusher", {"model": 1}, {"pushed_model": "PushedModel"})
    found = _lineage(builder, 2)
    assert _outline(found) == ["Model 1", "  PushedModel 2 *"]
    assert [node.artifact.state for node in found.nodes] == ["deleted", "live"]


def test_other_pipeline_without_pruning(builder: StoreBuilder) -> None:
    builder.run(None, None)
    builder.execute("acme.Split", {}, {"train": "acme.Table", "test": "acme.Table"}, node=None)
    builder.execute("acme.Fit", {"table": 1}, {"model": "acme.Forest"}, node=None)
    builder.execute("acme.Score", {"model": 3, "table": 2}, {"score": "acme.Score"}, node=None)
    assert _outline(_lineage(builder, 3)) == ["acme.Table 1", "  acme.Forest 3 *", "    acme.Score 4"]
    assert _lineage(builder, 3).nodes[-1].inputs == (Input(2, "table", False), Input(3, "model", False))


def test_artifact_from_nothing_and_to_nothing(builder: StoreBuilder) -> None:
    builder.artifact("Schema")
    assert _outline(_lineage(builder, 1)) == ["Schema 1 *"]


def test_several_sources_are_several_roots(builder: StoreBuilder) -> None:
    builder.artifact("Schema")
    builder.run("taxi", "run-1")
    builder.execute("CsvExampleGen", {}, {"examples": "Examples"})
    builder.execute("Trainer", {"schema": 1, "examples": 2}, {"model": "Model"})
    assert _outline(_lineage(builder, 3)) == ["Schema 1", "Examples 2", "  Model 3 *"]


def test_execution_that_puts_out_its_input(builder: StoreBuilder) -> None:
    builder.artifact("Model")
    builder.run("taxi", "run-1")
    builder.reuse("Tagger", {"model": 1}, {"tagged": 1}, STATE.COMPLETE, EVENT.OUTPUT)
    builder.execute("Pusher", {"model": 1}, {"pushed_model": "PushedModel"})
    found = _lineage(builder, 1)
    assert _outline(found) == ["Model 1 *", "  PushedModel 2"]
    assert found.nodes[0].inputs == ()


@pytest.mark.parametrize("asked", [1, 2, 3])
def test_circle_of_executions_is_opened(builder: StoreBuilder, asked: int) -> None:
    builder.artifact("Model")
    builder.execute("A", {"in": 1}, {"out": "Model"})
    builder.execute("B", {"in": 2}, {"out": "Model"})
    builder.reuse("C", {"in": 3}, {"out": 1}, STATE.COMPLETE, EVENT.OUTPUT)
    found = _lineage(builder, asked)
    assert [node.artifact.id for node in found.nodes] == [1, 2, 3]
    assert [line.strip(" *") for line in _outline(found)] == ["Model 1", "Model 2", "Model 3"]


def test_chain_of_many_runs(builder: StoreBuilder) -> None:
    builder.artifact("Model")
    builder.append_trainings(250)
    limit = sys.getrecursionlimit()
    # A history may be longer than the interpreter's own limit.
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        found = _lineage(builder, 251, across_runs=True)
    finally:
        sys.setrecursionlimit(limit)
    assert [node.parent_id for node in found.nodes] == [None, *range(1, 251)]
    assert [node.artifact.id for node in _lineage(builder, 251).nodes] == [250, 251]


def test_unfinished_output_is_a_result(builder: StoreBuilder) -> None:
    builder.run("taxi", "run-1")
    builder.execute("CsvExampleGen", {}, {"examples": "Examples"})
    builder.execute(
        "Trainer",
        {"examples": 1},
        {"model": "Model"},
        state=STATE.RUNNING,
        artifact_state=mlmd.Artifact.PENDING,
        events=(EVENT.INPUT, EVENT.PENDING_OUTPUT),
    )
    found = _lineage(builder, 1)
    assert _outline(found) == ["Examples 1 *", "  Model 2"]
    assert found.nodes[1].artifact.state == "pending"


def test_unknown_id_is_refused(taxi: StoreBuilder) -> None:
    with pytest.raises(StoreError, match=r"there is no artifact 99; the nearest ids are 13, 14\."):
        _lineage(taxi, 99)


def test_chosen_model_stands_under_the_candidate_it_was_chosen_from(tmp_path: pathlib.Path) -> None:
    builder = build_sweep(tmp_path / "metadata.sqlite")
    assert _outline(_lineage(builder, 10)) == [
        "Model 1",
        "  Model 2",
        "    ModelEvaluation 3",
        "  Model 4",
        "    ModelEvaluation 5",
        "    Model 10 *",
        "      PushedModel 12",
        "  Model 6",
        "    ModelEvaluation 7",
        "  Model 8",
        "    ModelEvaluation 9",
    ]
    # Of a candidate that was not chosen the choice is a result too.
    assert _outline(_lineage(builder, 2)) == [
        "Model 1",
        "  Model 2 *",
        "    ModelEvaluation 3",
        "      Model 10",
        "        PushedModel 12",
        "      ModelBlessing 11",
    ]
