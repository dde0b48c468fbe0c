import dataclasses
import io
from typing import Any

import pytest
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from rich.console import Console

from tfx_pruning.pipelines.cli.outcome_view import show_outcome, tell_of_missing_page
from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.evaluation import eval_config
from tfx_pruning.pipelines.run.metadata_run import MetadataRun
from tfx_pruning.pipelines.run.outcome import RunOutcome, figure
from tfx_pruning.pipelines.run.page_file import PageFile

# isort: split
import tensorflow_model_analysis as tfma  # after tfx, or it comes without its names

from tfx_pruning.pipelines.run import outcome

OUTCOME = RunOutcome(
    pipeline_name="taxi",
    dense={"AUC": 0.94444, "MeanSquaredError": 12345.678},
    pruned={"AUC": 0.94312, "MeanSquaredError": 0.00123456},
    sparsity=0.899999,
    prunable_parameters=163328,
    nonzero_parameters=16333,
    dense_bytes=2368932,
    trained_bytes=3703578,
    stripped_bytes=883889,
    gzipped_bytes=151525,
    refusals=(),
    pushed_to="root/serving/7",
    record="root/metadata.sqlite",
    page=PageFile("root/report.html"),
)


def _printed(outcome: RunOutcome) -> list[str]:
    stream = io.StringIO()
    show_outcome(Console(file=stream, width=1000), outcome, "17 s")
    return stream.getvalue().splitlines()


def test_outcome_as_it_is_printed() -> None:
    assert _printed(OUTCOME) == [
        "",
        "                                            dense     pruned",
        "AUC                                        0.9444     0.9431",
        "MeanSquaredError                            12346  0.0012346",
        "sparsity of the pruned weights                        90.00%",
        "parameters in the pruned weights          163,328    163,328",
        "non-zero parameters in them                           16,333",
        "SavedModel as trained, bytes            2,368,932  3,703,578",
        "SavedModel stripped, bytes                           883,889",
        "SavedModel stripped and gzipped, bytes               151,525",
        "",
        "pushed model  root/serving/7",
        "metadata      root/metadata.sqlite",
        "report        root/report.html",
        "",
        "17 s",
    ]


def test_printed_outcome_says_that_nothing_was_pushed() -> None:
    assert "pushed model  none" in _printed(dataclasses.replace(OUTCOME, pushed_to=None))


def test_missing_page_is_said_on_stderr_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    without = dataclasses.replace(OUTCOME, page=PageFile(None, "no disk"))
    assert "report        none" in _printed(without)
    tell_of_missing_page(without)
    tell_of_missing_page(OUTCOME)
    assert capsys.readouterr().err == "Warning: the report was not written: no disk\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0000"), (0.94444, "0.9444"), (-12.5, "-12.5000"), (250.125, "250.12"), (0.00123456, "0.0012346")],
)
def test_figure(value: float, text: str) -> None:
    assert figure(value) == text


def _failure(name: str, value: float | None, threshold: tfma.MetricThreshold) -> dict[str, Any]:
    """A failure as the Evaluator records it; `None` for a metric that was not measured."""
    failure = {"metric_key": {"name": name, "is_diff": threshold.HasField("change_threshold")}}
    failure["metric_threshold"] = threshold
    return failure if value is None else failure | {"metric_value": {"double_value": {"value": value}}}


def _config(**fields: Any) -> PipelineConfig:
    return PipelineConfig(pipeline_root="artifacts", data_root="data", serving_dir="serving", **fields)


def test_refusals_say_what_was_asked_for_in_either_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    def thresholds(config: PipelineConfig) -> list[tfma.MetricThreshold]:
        (spec,) = eval_config(config).metrics_specs
        of_metric = spec.metrics[0].threshold
        return [
            tfma.MetricThreshold(value_threshold=of_metric.value_threshold),
            tfma.MetricThreshold(change_threshold=of_metric.change_threshold),
        ]

    higher = thresholds(_config(min_metric=0.9, max_metric_drop=0.01))
    lower = thresholds(
        _config(metric="MeanSquaredError", metric_direction="lower", min_metric=None, max_metric=200, max_metric_drop=5)
    )
    failures = [
        _failure("AUC", 0.85, higher[0]),
        _failure("AUC", -0.02, higher[1]),
        _failure("MeanSquaredError", 250.5, lower[0]),
        _failure("MeanSquaredError", 7.25, lower[1]),
        _failure("AUC", None, higher[0]),
    ]
    result = tfma.ValidationResult()
    for failure in failures:
        result.metric_validations_per_slice.add(failures=[failure])
    monkeypatch.setattr(tfma, "load_validation_result", lambda uri: result)
    assert list(outcome._refusals("anywhere")) == [
        "AUC is 0.8500, asked for is at least 0.9000",
        "AUC is 0.0200 below the dense model's, allowed is 0.0100",
        "MeanSquaredError is 250.5, asked for is at most 200",
        "MeanSquaredError is 7.2500 above the dense model's, allowed is 5.0000",
        "AUC was not measured",
    ]


def test_read_without_a_run_is_refused(tmp_path) -> None:
    path = str(tmp_path / "metadata.sqlite")
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = path
    MetadataStore(config)
    with pytest.raises(ValueError, match="records no run first of the pipeline 'taxi'"):
        MetadataRun(path, "taxi", "first")
