"""Pipeline runs, and how their nodes fared."""

import datetime
import json

import pytest

from helpers.store_builder import STATE, StoreBuilder, build_taxi
from tfx_pruning.metadata.connection import StoreError, connection_config, open_store
from tfx_pruning.metadata.runs import Run, list_runs
from tfx_pruning.metadata.store_reader import StoreReader

SECOND = datetime.timedelta(seconds=1)
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def _runs(builder: StoreBuilder, **arguments) -> tuple[Run, ...]:
    return list_runs(StoreReader(open_store(connection_config(str(builder.path)))), **arguments)


def test_empty_store_has_none(builder: StoreBuilder) -> None:
    assert _runs(builder) == ()


def test_states_of_the_nodes_newest_run_first(tmp_path) -> None:
    runs = _runs(build_taxi(tmp_path / "metadata.sqlite"))
    assert [(run.pipeline, run.id) for run in runs] == [("taxi", "run-2"), ("taxi", "run-1")]
    second, first = runs
    nodes = ["CsvExampleGen", "SchemaGen", "Transform", "Trainer", "PruningTrainer", "Stripper", "Evaluator", "Pusher"]
    assert [execution.node for execution in first.executions] == nodes
    assert [execution.id for execution in first.executions] == list(range(1, 9))
    assert first.states() == {"complete": 8}
    assert [execution.node for execution in second.executions] == [*nodes[:3], "Resolver", *nodes[3:]]
    assert [execution.state for execution in second.executions] == ["cached"] * 3 + ["complete"] * 6
    assert second.states() == {"complete": 6, "cached": 3}


def test_times(builder: StoreBuilder) -> None:
    builder.run("taxi", "run-1")
    builder.execute("Trainer")
    builder.execute("Pusher")
    (run,) = builder.store.get_contexts_by_type("pipeline_run")
    builder.set_times("Context", run.id, 1_000, 1_000)
    builder.set_times("Execution", 1, 2_000, 5_250)
    builder.set_times("Execution", 2, 6_000, 9_500)
    (run,) = _runs(builder)
    assert (run.started, run.seconds) == (EPOCH + SECOND, 8.5)
    assert [(each.started, each.seconds) for each in run.executions] == [
        (EPOCH + 2 * SECOND, 3.25),
        (EPOCH + 6 * SECOND, 3.5),
    ]
    assert run.to_json() == json.loads(json.dumps(run.to_json()))
    assert run.to_json()["started"] == "1970-01-01T00:00:01.000+00:00"


@pytest.mark.parametrize("state", [STATE.RUNNING, STATE.NEW])
def test_no_time_while_a_node_runs(builder: StoreBuilder, state: int) -> None:
    builder.run("taxi", "run-1")
    builder.execute("Trainer")
    builder.execute("Pusher", state=state)
    (run,) = _runs(builder)
    assert run.seconds is None
    assert [each.seconds is None for each in run.executions] == [False, True]


@pytest.mark.parametrize(("state", "name"), [(STATE.FAILED, "failed"), (STATE.CANCELED, "canceled")])
def test_a_node_that_failed_has_ended(builder: StoreBuilder, state: int, name: str) -> None:
    builder.run("taxi", "run-1")
    builder.execute("Trainer", state=state)
    (run,) = _runs(builder)
    assert run.states() == {name: 1}
    assert run.seconds is not None


def test_run_before_its_first_node(builder: StoreBuilder) -> None:
    builder.run("taxi", "run-1")
    (run,) = _runs(builder)
    assert (run.id, run.executions, run.seconds) == ("run-1", (), None)


def test_of_one_pipeline_and_not_more_than_the_limit(builder: StoreBuilder) -> None:
    for pipeline, run in (("taxi", "a"), ("iris", "b"), ("taxi", "c"), ("taxi", "d")):
        builder.run(pipeline, run)
        builder.execute("Trainer")
    assert [run.id for run in _runs(builder)] == ["d", "c", "b", "a"]
    assert [run.id for run in _runs(builder, limit=3)] == ["d", "c", "b"]
    assert [run.id for run in _runs(builder, pipeline="taxi", limit=2)] == ["d", "c"]
    assert [run.pipeline for run in _runs(builder, pipeline="iris")] == ["iris"]
    with pytest.raises(StoreError, match="there is no pipeline 'texi'; the store has 'iris', 'taxi'"):
        _runs(builder, pipeline="texi")


def test_more_executions_than_one_call_gives(builder: StoreBuilder) -> None:
    builder.run("taxi", "run-1")
    for index in range(120):
        builder.execute("Trainer", node=f"Trainer.{index}")
    (run,) = _runs(builder)
    assert [each.node for each in run.executions] == [f"Trainer.{index}" for index in range(120)]


def test_contexts_of_kubeflow(builder: StoreBuilder) -> None:
    builder.run("taxi", "0a1b", types=("system.Pipeline", "system.PipelineRun"))
    builder.execute("system.ContainerExecution", node=None, task_name="pruningtrainer")
    (run,) = _runs(builder, pipeline="taxi")
    assert (run.pipeline, run.id) == ("taxi", "0a1b")
    assert [each.node for each in run.executions] == ["pruningtrainer"]
