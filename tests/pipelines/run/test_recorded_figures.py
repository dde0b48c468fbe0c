import dataclasses
import pathlib

import pytest

from helpers.store_builder import STRIPPED, StoreBuilder
from tfx_pruning import properties
from tfx_pruning.call_times import CallTimes
from tfx_pruning.pipelines.run.metadata_run import MetadataRun
from tfx_pruning.pipelines.run.outcome import RunOutcome
from tfx_pruning.pipelines.run.page_file import PageFile
from tfx_pruning.pipelines.run.recorded_figures import record_figures
from tfx_pruning.report.latency import Latency

OUTCOME = RunOutcome(
    pipeline_name="line",
    dense={"AUC": 0.1 + 0.2, "Recall": 0.5},
    pruned={"AUC": 0.25, "Recall": 0.25},
    sparsity=0.9,
    prunable_parameters=10,
    nonzero_parameters=1,
    dense_bytes=1,
    trained_bytes=1,
    stripped_bytes=1,
    gzipped_bytes=1,
    refusals=(),
    pushed_to=None,
    record="",
    page=PageFile(None),
)


@pytest.fixture
def builder(tmp_path: pathlib.Path) -> StoreBuilder:
    builder = StoreBuilder(tmp_path / "metadata.sqlite")
    builder.run("line", "run-1")
    builder.execute("Trainer", {}, {"model": "Model"})
    builder.execute("Stripper", {}, {"model": "Model"}, custom={"model": STRIPPED})
    builder.execute("Evaluator", {}, {"evaluation": "ModelEvaluation", "blessing": "ModelBlessing"})
    builder.execute("Pusher", {}, {"pushed_model": "PushedModel"})
    return builder


def _added(builder: StoreBuilder, node: str, key: str) -> dict[str, str | int | float]:
    found = MetadataRun(str(builder.path), "line", "run-1").output(node, key).properties
    return {name: value for name, value in found.items() if name not in ("is_external", *STRIPPED)}


def test_metric_and_latency_are_on_artifacts_that_no_node_takes(builder: StoreBuilder) -> None:
    latency = tuple(
        Latency("serve", batch, CallTimes(3.0 * batch, 1.0, 4.0, 9), CallTimes(1.5 * batch, 1.0, 4.0, 9))
        for batch in (1, 64)
    )
    run = MetadataRun(str(builder.path), "line", "run-1")
    record_figures(run, dataclasses.replace(OUTCOME, latency=latency))
    expected = {
        properties.METRIC: "AUC",
        properties.METRIC_VALUE: "0.25",
        properties.BASELINE_METRIC_VALUE: "0.30000000000000004",
        properties.MILLISECONDS: "96.0",
        properties.DENSE_MILLISECONDS: "192.0",
        properties.LATENCY_BATCH: 64,
    }
    assert _added(builder, "Evaluator", "evaluation") == _added(builder, "Pusher", "pushed_model") == expected
    # TFX's cache would not find what was made from these any more.
    for node, key in (("Trainer", "model"), ("Stripper", "model"), ("Evaluator", "blessing")):
        assert _added(builder, node, key) == {}
    assert run.output("Stripper", "model").properties.items() >= STRIPPED.items()


def test_what_was_not_measured_is_not_recorded(builder: StoreBuilder) -> None:
    record_figures(MetadataRun(str(builder.path), "line", "run-1"), OUTCOME)
    assert properties.MILLISECONDS not in _added(builder, "Evaluator", "evaluation")


def test_an_error_fails_no_run(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    builder = StoreBuilder(tmp_path / "metadata.sqlite")
    builder.run("line", "run-1")
    record_figures(MetadataRun(str(builder.path), "line", "run-1"), OUTCOME)
    assert "has no evaluation of Evaluator" in capsys.readouterr().err
