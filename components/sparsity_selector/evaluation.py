"""Reads one metric of a model and of its baseline from what Evaluator wrote."""

import dataclasses
import math

import tensorflow as tf
import tensorflow_model_analysis as tfma


@dataclasses.dataclass(frozen=True)
class EvaluatedMetric:
    """A metric of two models on the same data.

    Attributes:
        candidate: Of the model that was evaluated; NaN if it is no finite number.
        baseline: Of the model it was compared with.
    """

    candidate: float
    baseline: float


def read_metric(uri: str, metric: str) -> EvaluatedMetric:
    """Reads a metric of all examples.

    Args:
        uri: Of Evaluator's output `evaluation`.
        metric: Name of the metric, such as 'AUC'.

    Raises:
        ValueError: The evaluation is missing or cannot be read, has no baseline, or has no such number; or that of the
            baseline is not finite.
    """
    candidate, baseline = (_value(uri, metric, model) for model in (tfma.CANDIDATE_KEY, tfma.BASELINE_KEY))
    if not math.isfinite(baseline):
        raise ValueError(
            f"The {metric} of the dense model in the evaluation in {uri} is {baseline}; nothing can be compared with "
            "that. Mend the training of the dense model first."
        )
    return EvaluatedMetric(candidate if math.isfinite(candidate) else math.nan, baseline)


def _value(uri: str, metric: str, model: str) -> float:
    if not tf.io.gfile.isdir(uri):
        raise ValueError(f"The evaluation {uri} is gone. Run the Evaluator that made it again.")
    try:
        values = tfma.load_eval_result(uri, model_name=model).get_metrics_for_slice()
    # TFMA raises whatever the readers of files below it raise.
    except Exception as error:
        raise ValueError(f"The evaluation in {uri} cannot be read ({error}). Run its Evaluator again.") from error
    if values is None:
        raise ValueError(
            f"The evaluation in {uri} has no metrics of all examples of the model {model!r}. Give its Evaluator the "
            "dense model as baseline_model, and its eval_config an empty SlicingSpec."
        )
    numbers = {name: value["doubleValue"] for name, value in values.items() if "doubleValue" in value}
    if metric not in numbers:
        there = ", ".join(sorted(numbers)) or "none"
        raise ValueError(
            f"The evaluation in {uri} has no number {metric!r}, but {there}. Name one of them, or add the metric to "
            "the eval_config of its Evaluator."
        )
    # JSON has no NaN and no infinity: they are strings here.
    return float(numbers[metric])
