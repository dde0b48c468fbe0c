"""LabelledMetric: a metric of the user's, of a model's or an export's answers against labels in the examples."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ...saved_model.saved_objects import SavedObjects
from ..check.signature_inputs import RECORDS_PER_BATCH, Inputs
from .answer_difference import Answers
from .inputs import real_batches


@dataclasses.dataclass(frozen=True)
class LabelledMetric:
    """A metric of Keras and the feature that it is measured against.

    Attributes:
        name: A class of `keras.metrics` that needs no arguments, such as 'SparseCategoricalAccuracy'.
        label: Name of the feature of the tf.Examples with the label: numbers.

    Raises:
        ValueError: Keras has no such metric, or `label` is empty.
    """

    name: str
    label: str

    def __post_init__(self) -> None:
        if not self.label:
            raise ValueError("the label is '', expected the name of the feature that a metric is measured against.")
        self._made()

    def of(self, run: Callable[[Inputs], Answers], batches: Sequence["LabelledBatch"]) -> float:
        """The metric of a function's answers to some batches.

        Args:
            run: From inputs by name to answers by name; it has one output.
            batches: At least one.

        Raises:
            ValueError: There are several outputs, or the metric cannot be computed of answers and labels.
        """
        metric = self._made()
        for batch in batches:
            answers = run(batch.inputs)
            if len(answers) != 1:
                raise ValueError(
                    f"the signature has the outputs {', '.join(sorted(answers))}, and the metric {self.name!r} takes "
                    "one. Export a signature with one output, or leave the metric out."
                )
            (answer,) = answers.values()
            try:
                metric.update_state(batch.labels, answer[: len(batch.labels)])
            except Exception as error:  # what Keras raises of shapes and dtypes that do not fit has many types
                raise ValueError(
                    f"the metric {self.name!r} cannot be computed of answers of shape {list(answer.shape)} and labels "
                    f"of the feature {self.label!r}: {' '.join(str(error).split())[:300]}. Name another metric."
                ) from error
        return float(metric.result())

    def _made(self) -> Any:
        import keras  # here, as a strip without a metric does without

        kind = getattr(keras.metrics, self.name, None)
        if not (isinstance(kind, type) and issubclass(kind, keras.metrics.Metric)):
            raise ValueError(
                f"the metric is {self.name!r}, expected the name of a class of keras.metrics, such as "
                "'SparseCategoricalAccuracy'."
            )
        try:
            return kind()
        except TypeError as error:
            raise ValueError(
                f"the metric {self.name!r} needs arguments ({error}), expected one without, such as 'AUC'."
            ) from error


@dataclasses.dataclass(frozen=True)
class LabelledBatch:
    """Inputs of a signature, and the labels of the same examples.

    Attributes:
        inputs: The inputs; if the batch size is fixed, more examples than `labels` may be in them.
        labels: [examples, numbers of the feature].
    """

    inputs: Inputs
    labels: np.ndarray


def labelled_batches(
    saved: SavedObjects, model: Any, signature: str, records: Sequence[bytes], label: str
) -> tuple[LabelledBatch, ...]:
    """Makes the batches on which a metric is measured. Examples that the signature refuses are left out.

    Args:
        saved: The SavedModel.
        model: The same, loaded.
        signature: Name of the signature.
        records: Serialized tf.Examples, at least one.
        label: Name of the feature with the label.

    Raises:
        ValueError: A record is no tf.Example with that label, or the signature takes none of them.
    """
    found = tuple(_batches(saved, model, signature, records, label))
    if not found:
        raise ValueError(
            f"signature {signature!r} takes none of the examples, so no metric can be measured. Give examples that a "
            "signature of the model parses, or that have its inputs as features."
        )
    return found


def _batches(
    saved: SavedObjects, model: Any, signature: str, records: Sequence[bytes], label: str
) -> Iterator[LabelledBatch]:
    specs = model.signatures[signature].structured_input_signature[1]
    fixed = next((spec.shape[0] for spec in specs.values() if spec.shape.rank), None)
    size = fixed or RECORDS_PER_BATCH
    for start in range(0, len(records), size):
        chunk = records[start : start + size]
        labels = np.stack([_label(record, label) for record in chunk])
        # The last one has all of the chunk; before it there may be one with the first example alone.
        for inputs in real_batches(saved, model, signature, chunk)[-1:]:
            if _length(inputs) == (fixed or len(chunk)):
                yield LabelledBatch(inputs, labels)


def _length(inputs: Inputs) -> int:
    return int(tf.shape(next(iter(inputs.values())))[0])


def _label(record: bytes, label: str) -> np.ndarray:
    try:
        features = tf.train.Example.FromString(record).features.feature
    except Exception as error:  # what protobuf raises depends on its implementation
        raise ValueError(f"an example is no tf.Example ({error}), and has no label {label!r}.") from error
    kind = features[label].WhichOneof("kind") if label in features else None
    if kind not in ("int64_list", "float_list"):
        what = "holds text" if kind else f"is none of its features {', '.join(sorted(features))}"
        raise ValueError(
            f"the label {label!r} of an example {what}, expected a feature with numbers. Name that, or give examples "
            "that have it, such as Transform's."
        )
    return np.asarray(getattr(features[label], kind).value)
