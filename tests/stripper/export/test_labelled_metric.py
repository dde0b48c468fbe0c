"""Exports measured by a metric of the user's, against labels in the examples."""

import pathlib
from collections.abc import Sequence

import numpy as np
import pytest
import tensorflow as tf

from helpers.record_files import example
from tfx_pruning import strip_saved_model
from tfx_pruning.stripper.export.exported_signature import ExportedSignature
from tfx_pruning.stripper.export.exporter import AnsweringExporter
from tfx_pruning.stripper.export.labelled_metric import LabelledMetric
from tfx_pruning.stripper.export.model_export import export_model

X = np.random.default_rng(5).standard_normal((150, 3)).astype(np.float32)
# The model answers x; a third of the labels are not its largest number.
LABELS = np.where(np.arange(150) % 3, X.argmax(axis=1), X.argmin(axis=1))
RECORDS = [example(x=row.tolist(), digit=[int(label)], word=[b"one"]) for row, label in zip(X, LABELS, strict=True)]


class Negated(AnsweringExporter):
    """A file whose answers have the other sign: the largest number is that which was the least."""

    name, file, tolerance = "negated", "negated.txt", 3.0

    def content(self, model):
        return b""

    def runner(self, content, model):
        return lambda inputs: {name: -answer for name, answer in model.answers(inputs).items()}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    module = tf.Module()
    module.scale = tf.Variable(1.0, name="scale")

    def signature(batch: int | None, outputs: Sequence[str] = ("y",)) -> tf.types.experimental.GenericFunction:
        spec = tf.TensorSpec([batch, 3], tf.float32, name="x")
        return tf.function(lambda x: dict.fromkeys(outputs, x * module.scale), input_signature=[spec])

    folder = tmp_path_factory.mktemp("metric")
    signatures = {"serving_default": signature(None), "seven": signature(7), "two": signature(None, ("y", "z"))}
    tf.saved_model.save(module, folder / "source", signatures=signatures)
    strip_saved_model(folder / "source", folder / "model")
    return folder / "model"


def _exported(path: pathlib.Path, signature: str = "serving_default", **fields: str) -> ExportedSignature:
    metric = LabelledMetric(**{"name": "SparseCategoricalAccuracy", "label": "digit", **fields})
    return ExportedSignature(str(path), str(path), signature, RECORDS, None, metric)


@pytest.mark.parametrize("signature", ["serving_default", "seven"])
def test_each_example_counts_once(signature: str, path: pathlib.Path) -> None:
    exported = _exported(path, signature)
    assert exported.metric_value == pytest.approx(100 / 150)
    assert Negated().check(b"", exported).metric_value == pytest.approx(50 / 150)


def test_numbers_are_compared_with_their_labels(path: pathlib.Path) -> None:
    expected = np.mean(np.abs(X - LABELS[:, None]))
    assert _exported(path, name="MeanAbsoluteError").metric_value == pytest.approx(expected, rel=1e-5)


def test_files_and_the_model_are_measured(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    metric = {"metric": "SparseCategoricalAccuracy", "label": "digit"}
    (file,) = export_model(path, tmp_path / "exports", ["frozen_graph"], examples=RECORDS, **metric)
    assert (file.metric_value, file.model_metric_value) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    (plain,) = export_model(path, tmp_path / "plain", ["frozen_graph"], examples=RECORDS)
    assert (plain.metric_value, plain.model_metric_value) == (None, None)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metric": "Accurcy", "label": "digit"}, "the metric is 'Accurcy', expected the name of a class"),
        ({"metric": "MeanIoU", "label": "digit"}, "'MeanIoU' needs arguments"),
        ({"metric": "AUC"}, "is 'AUC' and its label None, expected both or neither"),
        ({"label": "digit"}, "is None and its label 'digit', expected both or neither"),
        ({"metric": "AUC", "label": ""}, "the label is ''"),
        ({"metric": "AUC", "label": "number"}, "'number' of an example is none of its features digit, word, x"),
        ({"metric": "AUC", "label": "word"}, "'word' of an example holds text"),
        ({"metric": "AUC", "label": "digit", "examples": None}, "against labels in examples, and none are given"),
        (
            {"metric": "MeanSquaredError", "label": "digit", "signature": "two"},
            "the signature has the outputs y, z, and the metric 'MeanSquaredError' takes one",
        ),
        ({"metric": "AUC", "label": "digit"}, "'AUC' cannot be computed of answers of shape .* Name another metric"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_written(
    fields: dict[str, str], message: str, path: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(ValueError, match=message):
        export_model(path, tmp_path / "exports", ["frozen_graph"], **{"examples": RECORDS, **fields})
    assert not (tmp_path / "exports").exists()
