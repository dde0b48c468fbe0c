"""What the Evaluator of a pipeline measures, and when it blesses."""

import json

from tfx import v1 as tfx  # noqa: F401  Before TFMA, which lacks its names otherwise.

# isort: split
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.utils.keras_lib import tf_keras

from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.metric_fit import LabelKind, metric_suggestion

EXAMPLE_COUNT = "ExampleCount"


def eval_config(config: PipelineConfig, judge: bool = True) -> tfma.EvalConfig:
    """Makes the Evaluator's configuration, which measures all of `config.metrics` and blesses by `metric` alone.

    A model is blessed if the metric is within `min_metric` or `max_metric`, and at most `max_metric_drop` worse than
    the dense model's. The Evaluator writes each metric under the name of its class, by which the configuration and
    all that shows it call it.

    Args:
        config: Configuration of the pipeline.
        judge: Whether there are thresholds; without them no model is blessed or refused.

    Raises:
        ValueError: A metric is known neither to TFMA nor to Keras.
    """
    check_metrics(config)
    specs = [
        tfma.MetricConfig(class_name=name, config=json.dumps({"name": name}))
        for name in dict.fromkeys([*config.metrics, EXAMPLE_COUNT])
    ]
    if judge:
        specs[0].threshold.CopyFrom(_threshold(config))
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                signature_name=config.serving_signature,
                preprocessing_function_names=[config.preprocessing_signature] * bool(config.preprocessing_signature),
                label_key=config.label_key,
            )
        ],
        slicing_specs=[tfma.SlicingSpec()],
        metrics_specs=[tfma.MetricsSpec(metrics=specs)],
    )


def check_metrics(config: PipelineConfig, kind: LabelKind | None = None) -> None:
    """Checks that there are such metrics.

    Args:
        config: Configuration of the pipeline.
        kind: What the label is, for the metric that an error suggests; None if that is not known.

    Raises:
        ValueError: A metric is known neither to TFMA nor to Keras.
    """
    of_keras = [name for name, kind in vars(tf_keras.metrics).items() if isinstance(kind, type)]
    known = sorted({*metric_types.registered_metrics(), *of_keras})
    for metric in config.metrics:
        if metric not in known:
            raise ValueError(
                f"There is no metric {metric!r} in TFMA or Keras. {metric_suggestion(metric, known, kind)}"
            )


def _threshold(config: PipelineConfig) -> tfma.MetricThreshold:
    threshold = tfma.MetricThreshold()
    if config.higher_is_better:
        threshold.change_threshold.direction = tfma.MetricDirection.HIGHER_IS_BETTER
        threshold.change_threshold.absolute.value = -config.max_metric_drop
    else:
        threshold.change_threshold.direction = tfma.MetricDirection.LOWER_IS_BETTER
        threshold.change_threshold.absolute.value = config.max_metric_drop
    if config.min_metric is not None:
        threshold.value_threshold.lower_bound.value = config.min_metric
    if config.max_metric is not None:
        threshold.value_threshold.upper_bound.value = config.max_metric
    return threshold
