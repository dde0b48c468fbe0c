"""Which metrics fit a label, and what a model answers."""

import difflib
import enum
from collections.abc import Collection

import numpy as np


class LabelKind(enum.Enum):
    """What a label is; the value says it in words."""

    YES_OR_NO = "0 or 1"
    CLASS = "the number of a class"
    ONE_HOT = "one-hot"
    NUMBER = "a number"


_ACCURACY = {
    LabelKind.YES_OR_NO: "BinaryAccuracy",
    LabelKind.CLASS: "SparseCategoricalAccuracy",
    LabelKind.ONE_HOT: "CategoricalAccuracy",
}
_CROSSENTROPY = {
    LabelKind.YES_OR_NO: "BinaryCrossentropy",
    LabelKind.CLASS: "SparseCategoricalCrossentropy",
    LabelKind.ONE_HOT: "CategoricalCrossentropy",
}
_OF_NUMBERS = ("MeanSquaredError", "MeanAbsoluteError")
# Names that Keras takes for one metric or another, as the label and the model are, and others that have a full name.
_BY_LABEL = {"accuracy": _ACCURACY, "acc": _ACCURACY, "crossentropy": _CROSSENTROPY, "ce": _CROSSENTROPY}
_SHORT = {
    "mse": "MeanSquaredError",
    "mae": "MeanAbsoluteError",
    "rmse": "RootMeanSquaredError",
    "rocauc": "AUC",
    "prauc": "AUCPrecisionRecall",
    "f1": "F1Score",
}
_EQUALITY = "Accuracy"  # compares labels and answers as they are
_TOP_K = {LabelKind.CLASS: "SparseTopKCategoricalAccuracy", LabelKind.ONE_HOT: "TopKCategoricalAccuracy"}
# Each class by itself, and labels that are probabilities.
_MAY_ALSO_HAVE = {
    "BinaryAccuracy": (LabelKind.CLASS, LabelKind.ONE_HOT),
    "BinaryCrossentropy": (LabelKind.CLASS, LabelKind.ONE_HOT, LabelKind.NUMBER),
}
_MOST_CLASSES = 1000


def label_kind(labels: np.ndarray, answers: np.ndarray | None = None) -> LabelKind | None:
    """What a label is, judged by values of it.

    Args:
        labels: Labels of examples, [examples] or [examples, values].
        answers: What the model answers to them, [examples] or [examples, values]; None if it is not known.

    Returns:
        The kind; None if it is none of those, or cannot be told.
    """
    if labels.dtype.kind not in "biuf" or not labels.size or not np.isfinite(labels).all():
        return None
    labels = labels.reshape(len(labels), -1).astype(np.float64)
    if labels.shape[1] > 1:
        one_hot = np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()
        return LabelKind.ONE_HOT if one_hot else None
    if (labels != np.rint(labels)).any():
        return LabelKind.NUMBER
    of_each_class = None if answers is None else answers.reshape(len(answers), -1).shape[1] > 1
    if of_each_class or (of_each_class is None and 1 < labels.max() < _MOST_CLASSES and labels.min() >= 0):
        return LabelKind.CLASS
    return LabelKind.YES_OR_NO if np.isin(labels, (0, 1)).all() else LabelKind.NUMBER


def metric_suggestion(name: str, known: Collection[str], kind: LabelKind | None = None) -> str:
    """Which metric was probably meant by a name that is none's, as a sentence for the end of an error message.

    Args:
        name: The name.
        known: The metrics that there are, sorted.
        kind: What the label is; None if that is not known.

    Example:
        >>> metric_suggestion("accuracy", ["AUC", "Accuracy"], LabelKind.CLASS)
        "Did you mean 'SparseCategoricalAccuracy', for a label that is the number of a class?"
        >>> metric_suggestion("auc", ["AUC", "Accuracy"])
        "Did you mean 'AUC'?"
    """
    plain = {_plain(each): each for each in known}
    asked = _plain(name)
    if asked not in _BY_LABEL and asked not in plain and asked not in _SHORT:
        close = difflib.get_close_matches(asked, [*plain, *_SHORT], n=1)
        if not close:
            return f"There are {', '.join(known) or 'none'}."
        (asked,) = close
    if asked not in _BY_LABEL:
        return f"Did you mean {_SHORT.get(asked) or plain[asked]!r}?"
    by_label = _BY_LABEL[asked]
    if kind is LabelKind.NUMBER:
        return f"Did you mean {' or '.join(map(repr, _OF_NUMBERS))}, for a label that is a number?"
    kinds = [kind] if kind else list(by_label)
    return f"Did you mean {'; or '.join(f'{by_label[each]!r}, for a label that is {each.value}' for each in kinds)}?"


def fitting_instead(metric: str, labels: np.ndarray, answers: np.ndarray) -> tuple[str, str] | None:
    """What is wrong with a metric for labels and a model's answers, and what to use; None if it may fit.

    Args:
        metric: Class of the metric.
        labels: Labels of examples, [examples] or [examples, values].
        answers: What the model answers to them, [examples] or [examples, values].

    Returns:
        The label and the answers in words, and the metrics that fit.
    """
    kind = label_kind(labels, answers)
    # Of a model that answers with classes, equality can be asked.
    if kind is None or answers.dtype.kind != "f" or (answers == np.rint(answers)).all():
        return None
    families = (_ACCURACY, _CROSSENTROPY, _TOP_K)
    family = next((each for each in families if metric in each.values()), _ACCURACY if metric == _EQUALITY else None)
    if family is None or metric == family.get(kind) or kind in _MAY_ALSO_HAVE.get(metric, ()):
        return None
    width = answers.reshape(len(answers), -1).shape[1]
    what = f"a label that is {kind.value} and a model that answers with {width} {'number' if width == 1 else 'numbers'}"
    return what, family.get(kind) or _ACCURACY.get(kind) or " or ".join(_OF_NUMBERS)


def _plain(name: str) -> str:
    return name.casefold().replace("_", "").replace("-", "").replace(" ", "")
