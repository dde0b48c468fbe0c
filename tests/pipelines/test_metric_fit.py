"""Which metric is suggested for a label, and for what a model answers."""

import numpy as np
import pytest

from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.evaluation import check_metrics
from tfx_pruning.pipelines.metric_fit import LabelKind, fitting_instead, label_kind

YES_OR_NO, CLASS, ONE_HOT, NUMBER = LabelKind
BITS = np.array([[0], [1], [1]])
CLASSES = np.array([[0], [2], [1]])
HOT = np.eye(3, dtype=np.float32)
PRICES = np.array([[0.5], [200.25], [3.0]])
ONE = np.array([[0.1], [0.7], [0.2]])
SOFTMAX = np.array([[0.1, 0.7, 0.2]] * 3)


@pytest.mark.parametrize(
    ("labels", "answers", "kind"),
    [
        (BITS, None, YES_OR_NO),
        (BITS.astype(np.float32)[:, 0], ONE, YES_OR_NO),
        (BITS == 1, None, YES_OR_NO),
        (BITS, SOFTMAX, CLASS),
        (CLASSES, None, CLASS),
        (CLASSES, ONE, NUMBER),
        (CLASSES, SOFTMAX, CLASS),
        (CLASSES * 5000, None, NUMBER),
        (-CLASSES, None, NUMBER),
        (HOT, None, ONE_HOT),
        (HOT * 0.5, None, None),
        (HOT + HOT[::-1], SOFTMAX, None),
        (PRICES, None, NUMBER),
        (PRICES * np.nan, None, None),
        (np.array([[b"a"]]), None, None),
        (np.zeros((0, 1)), None, None),
    ],
)
def test_kind_of_a_label(labels: np.ndarray, answers: np.ndarray | None, kind: LabelKind | None) -> None:
    assert label_kind(labels, answers) is kind


@pytest.mark.parametrize(
    ("name", "kind", "suggested"),
    [
        ("accuracy", CLASS, "'SparseCategoricalAccuracy', for a label that is the number of a class?"),
        ("acc", YES_OR_NO, "'BinaryAccuracy', for a label that is 0 or 1?"),
        ("Accuraci", ONE_HOT, "'CategoricalAccuracy', for a label that is one-hot?"),
        ("Accuracy ", NUMBER, "'MeanSquaredError' or 'MeanAbsoluteError', for a label that is a number?"),
        (
            "accuracy",
            None,
            "'BinaryAccuracy', for a label that is 0 or 1; or 'SparseCategoricalAccuracy', for a label that is the "
            "number of a class; or 'CategoricalAccuracy', for a label that is one-hot?",
        ),
        ("crossentropy", CLASS, "'SparseCategoricalCrossentropy', for a label that is the number of a class?"),
        ("binary_accuracy", CLASS, "'BinaryAccuracy'?"),
        ("auc", None, "'AUC'?"),
        ("mse", None, "'MeanSquaredError'?"),
        ("ROC-AUC", None, "'AUC'?"),
        ("BinaryAcuracy", None, "'BinaryAccuracy'?"),
    ],
)
def test_suggestion_fits_the_label(name: str, kind: LabelKind | None, suggested: str) -> None:
    config = PipelineConfig(pipeline_root="a", data_root="b", serving_dir="c", min_metric=None, metric=name)
    with pytest.raises(ValueError, match="There is no metric ") as caught:
        check_metrics(config, kind)
    assert str(caught.value).endswith(f"Did you mean {suggested}")


@pytest.mark.parametrize(
    ("metric", "labels", "answers", "instead"),
    [
        ("Accuracy", CLASSES, SOFTMAX, "SparseCategoricalAccuracy"),
        ("CategoricalAccuracy", CLASSES, SOFTMAX, "SparseCategoricalAccuracy"),
        ("TopKCategoricalAccuracy", CLASSES, SOFTMAX, "SparseTopKCategoricalAccuracy"),
        ("Accuracy", BITS, ONE, "BinaryAccuracy"),
        ("SparseCategoricalAccuracy", BITS, ONE, "BinaryAccuracy"),
        ("SparseTopKCategoricalAccuracy", BITS, ONE, "BinaryAccuracy"),
        ("CategoricalCrossentropy", BITS, ONE, "BinaryCrossentropy"),
        ("SparseCategoricalAccuracy", HOT, SOFTMAX, "CategoricalAccuracy"),
        ("BinaryAccuracy", PRICES, ONE * 33, "MeanSquaredError or MeanAbsoluteError"),
        *((metric, CLASSES, SOFTMAX, None) for metric in ("SparseCategoricalAccuracy", "AUC", "BinaryAccuracy")),
        *((metric, BITS, ONE, None) for metric in ("BinaryAccuracy", "AUC", "MeanSquaredError", "BinaryCrossentropy")),
        ("Accuracy", CLASSES, np.array([0, 2, 2]), None),
        ("Accuracy", CLASSES, np.array([0.0, 2.0, 2.0]), None),
        ("BinaryCrossentropy", ONE, ONE, None),
        ("MeanSquaredError", PRICES, ONE, None),
        ("Accuracy", np.array([[b"a"]] * 3), SOFTMAX, None),
    ],
)
def test_metric_that_does_not_fit(metric: str, labels: np.ndarray, answers: np.ndarray, instead: str | None) -> None:
    found = fitting_instead(metric, labels, answers)
    assert (found and found[1]) == instead


def test_what_does_not_fit_is_said_in_words() -> None:
    assert fitting_instead("Accuracy", CLASSES, SOFTMAX) == (
        "a label that is the number of a class and a model that answers with 3 numbers",
        "SparseCategoricalAccuracy",
    )
