"""AnswerMeasure: how good a model's answers to examples are, with other values in its weights."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from .calibration import Batch, Calibration
from .loss import Loss
from .saved_weights import SavedWeight
from .traced_signature import TracedSignature

# What is measured where there is neither a label nor an output that is the loss.
DISTANCE = "distance"
OUTPUT = "output"


class AnswerMeasure:
    """The loss of a signature's answers; or their distance from those of the model as it was saved.

    The distance is the sum of the squared differences of all floating answers, over the sum of their squares.

    Attributes:
        name: What is measured: a loss of `loss.LOSSES`, 'output' for an output that is the loss, or 'distance'.
        dense: The measure of the model as it was saved.
    """

    def __init__(
        self,
        signature: TracedSignature,
        calibration: Calibration,
        loss: Loss | None,
        weights: Sequence[SavedWeight],
    ) -> None:
        """Runs all examples once.

        Args:
            signature: The signature.
            calibration: The examples, with labels unless the signature has the loss, or `loss` is None.
            loss: The loss; None for the distance.
            weights: The weights that may have other values.

        Raises:
            ValueError: The measure is not finite, or there is no answer whose distance could be measured.
        """
        self.name = DISTANCE if loss is None else loss.kind or OUTPUT
        self._signature = signature
        self._loss = loss
        self._values = {each.node: signature.value(each) for each in weights}
        self._changed = {node: tf.Variable(value, trainable=False) for node, value in self._values.items()}
        self._sums = tf.function(self._sums_of_batch, autograph=False, reduce_retracing=True)
        self._batches: list[Batch] = list(calibration.batches())
        self._answers: list[list[tf.Tensor]] = [[] for _ in self._batches]
        if loss is None:
            answers = tf.function(self._floating_answers, autograph=False, reduce_retracing=True)
            self._answers = [answers(inputs) for inputs, _ in self._batches]
            if not self._answers[0]:
                raise ValueError(
                    f"The signature {signature.name!r} returns no floating numbers whose distance from the dense "
                    "model's could be measured. Name a label, or an output that is the loss."
                )
        self.dense = self._measured()
        if not np.isfinite(self.dense):
            raise ValueError(
                f"The measure of the dense model, {self.name!r}, is {self.dense}. Give examples with finite numbers, "
                "as the model was trained on; or check the labels and the loss."
            )

    def of(self, values: Mapping[int, np.ndarray]) -> float:
        """The measure with other values, by object, in some of the weights."""
        for node, value in values.items():
            self._changed[node].assign(value)
        try:
            return self._measured()
        finally:
            for node in values:
                self._changed[node].assign(self._values[node])

    def _measured(self) -> float:
        sums = [
            self._sums(inputs, labels, answers)
            for (inputs, labels), answers in zip(self._batches, self._answers, strict=True)
        ]
        total, count = np.sum(np.array(sums, np.float64), axis=0)
        return float(total / count) if count else 0.0

    def _sums_of_batch(
        self, inputs: list[tf.Tensor], labels: tf.Tensor | None, answers: list[tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The two sums whose quotient over all batches is the measure, float64."""
        if self._loss is not None:
            lookup = self._signature.lookup(inputs, [self._loss.tensor], self._changed)
            count = tf.cast(tf.shape(inputs[0])[0] if inputs and inputs[0].shape.rank else 1, tf.float64)
            return tf.cast(self._loss.value(lookup, labels), tf.float64) * count, count
        found = self._floating_answers(inputs, self._changed)
        differences = [tf.reduce_sum(tf.square(one - two)) for one, two in zip(found, answers, strict=True)]
        return tf.add_n(differences), tf.add_n([tf.reduce_sum(tf.square(each)) for each in answers])

    def _floating_answers(
        self, inputs: list[tf.Tensor], changed: Mapping[int, tf.Variable] | None = None
    ) -> list[tf.Tensor]:
        names = list(dict.fromkeys(self._signature.outputs.values()))
        lookup = self._signature.lookup(inputs, names, changed)
        return [tf.cast(lookup(name), tf.float64) for name in names if lookup(name).dtype.is_floating]
