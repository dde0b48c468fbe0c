"""Metrics read from what Evaluator wrote."""

import math
import re

import pytest

from helpers.evaluations import write_evaluation
from tfx_pruning.sparsity_selector.evaluation import EvaluatedMetric, read_metric

BOTH = {"candidate": {"auc": 1 / 3, "loss": 2.5}, "baseline": {"auc": 0.1 + 0.2, "loss": 2.0}}


def test_the_metrics_of_both_models_are_exact(tmp_path):
    write_evaluation(tmp_path / "evaluation", BOTH)
    assert read_metric(str(tmp_path / "evaluation"), "auc") == EvaluatedMetric(1 / 3, 0.1 + 0.2)
    assert read_metric(str(tmp_path / "evaluation"), "loss") == EvaluatedMetric(2.5, 2.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_candidate_without_a_finite_metric_has_none(tmp_path, value):
    write_evaluation(tmp_path / "evaluation", {"candidate": {"auc": value}, "baseline": {"auc": 0.5}})
    assert math.isnan(read_metric(str(tmp_path / "evaluation"), "auc").candidate)


def test_a_baseline_without_a_finite_metric_is_refused(tmp_path):
    write_evaluation(tmp_path / "evaluation", {"candidate": {"auc": 0.5}, "baseline": {"auc": math.nan}})
    with pytest.raises(ValueError, match=r"auc of the dense model in the evaluation in .* is nan"):
        read_metric(str(tmp_path / "evaluation"), "auc")


def test_another_metric_names_those_that_are_there(tmp_path):
    metrics = {model: {**values, "plot": b"x"} for model, values in BOTH.items()}
    write_evaluation(tmp_path / "evaluation", metrics)
    for name in ("accuracy", "plot"):
        with pytest.raises(ValueError, match=rf"no number '{name}', but auc, loss\."):
            read_metric(str(tmp_path / "evaluation"), name)


def test_an_evaluation_without_a_baseline_is_refused(tmp_path):
    write_evaluation(tmp_path / "evaluation", {"candidate": {"auc": 0.5}})
    with pytest.raises(ValueError, match=r"no metrics of all examples of the model 'baseline'\. Give its Evaluator"):
        read_metric(str(tmp_path / "evaluation"), "auc")


def test_an_evaluation_of_a_slice_only_is_refused(tmp_path):
    write_evaluation(tmp_path / "evaluation", BOTH, slices=[("company", "Taxi")])
    with pytest.raises(ValueError, match="no metrics of all examples of the model 'candidate'"):
        read_metric(str(tmp_path / "evaluation"), "auc")


def test_a_missing_evaluation_is_refused(tmp_path):
    uri = str(tmp_path / "evaluation")
    with pytest.raises(ValueError, match=f"{re.escape(uri)} is gone. Run the Evaluator that made it again"):
        read_metric(uri, "auc")


def test_a_corrupt_evaluation_is_refused(tmp_path):
    write_evaluation(tmp_path / "evaluation", BOTH)
    file = tmp_path / "evaluation" / "metrics-00000-of-00001.tfrecord"
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"cannot be read \(.*\)\. Run its Evaluator again"):
        read_metric(str(tmp_path / "evaluation"), "auc")
