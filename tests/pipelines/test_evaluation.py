"""What the Evaluator is asked for."""

import pandas
import pytest

from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.evaluation import eval_config

# isort: split
import tensorflow_model_analysis as tfma  # after tfx, or it comes without its names

PATHS = {"pipeline_root": "artifacts", "data_root": "data", "serving_dir": "serving"}


def _metrics(config: PipelineConfig) -> dict[str, tfma.MetricConfig]:
    (spec,) = eval_config(config).metrics_specs
    return {metric.class_name: metric for metric in spec.metrics}


def test_example_is_judged_by_auc_of_the_transformed_label() -> None:
    config = eval_config(PipelineConfig(**PATHS))
    (model,) = config.model_specs
    assert (model.signature_name, model.label_key) == ("serving_default", "tips_xf")
    assert list(model.preprocessing_function_names) == ["transform_features"]
    assert list(_metrics(PipelineConfig(**PATHS))) == ["AUC", "BinaryAccuracy", "ExampleCount"]


def test_thresholds_where_higher_is_better() -> None:
    metrics = _metrics(PipelineConfig(**PATHS, min_metric=0.7, max_metric_drop=0.125))
    threshold = metrics.pop("AUC").threshold
    assert threshold.value_threshold.lower_bound.value == 0.7
    assert not threshold.value_threshold.HasField("upper_bound")
    assert threshold.change_threshold.direction == tfma.MetricDirection.HIGHER_IS_BETTER
    assert threshold.change_threshold.absolute.value == -0.125
    assert not [name for name, metric in metrics.items() if metric.HasField("threshold")]


def test_thresholds_where_lower_is_better() -> None:
    config = PipelineConfig(
        **PATHS,
        label_key="price",
        preprocessing_signature="",
        metric="MeanSquaredError",
        metric_direction="lower",
        min_metric=None,
        max_metric=250.0,
        max_metric_drop=12.5,
        further_metrics=("MeanAbsoluteError",),
    )
    metrics = _metrics(config)
    assert list(metrics) == ["MeanSquaredError", "MeanAbsoluteError", "ExampleCount"]
    threshold = metrics["MeanSquaredError"].threshold
    assert threshold.value_threshold.upper_bound.value == 250.0
    assert not threshold.value_threshold.HasField("lower_bound")
    assert threshold.change_threshold.direction == tfma.MetricDirection.LOWER_IS_BETTER
    assert threshold.change_threshold.absolute.value == 12.5
    (model,) = eval_config(config).model_specs
    assert (model.label_key, list(model.preprocessing_function_names)) == ("price", [])


def test_without_bounds_only_the_change_decides() -> None:
    threshold = _metrics(PipelineConfig(**PATHS, min_metric=None))["AUC"].threshold
    assert not threshold.HasField("value_threshold")
    assert threshold.HasField("change_threshold")


@pytest.mark.slow
def test_every_metric_is_written_under_the_name_that_the_configuration_has() -> None:
    names = ("AUC", "AUCPrecisionRecall", "BinaryAccuracy", "MeanSquaredError", "F1Score")
    config = PipelineConfig(**PATHS, metric=names[0], further_metrics=names[1:])
    asked = eval_config(config, judge=False)
    for spec in asked.model_specs:
        spec.ClearField("preprocessing_function_names")
        spec.label_key, spec.prediction_key = "label", "prediction"
    rows = pandas.DataFrame({"label": [0.0, 1.0, 1.0, 0.0], "prediction": [0.1, 0.4, 0.9, 0.45]})
    found = tfma.analyze_raw_data(rows, asked).get_metrics_for_slice()
    assert set(found) == {*names, "ExampleCount"}
    assert found["BinaryAccuracy"]["doubleValue"] == 0.75
    assert found["AUC"]["doubleValue"] == pytest.approx(0.75, abs=1e-3)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("BinaryAcuracy", "There is no metric 'BinaryAcuracy' in TFMA or Keras. Did you mean 'BinaryAccuracy'?"),
        ("Zzz", "There is no metric 'Zzz' in TFMA or Keras. There are .*AUC"),
    ],
)
@pytest.mark.parametrize("field", ["metric", "further_metrics"])
def test_unknown_metric_is_refused(field: str, metric: str, message: str) -> None:
    value = metric if field == "metric" else (metric,)
    with pytest.raises(ValueError, match=message):
        eval_config(PipelineConfig(**PATHS, **{field: value}))
