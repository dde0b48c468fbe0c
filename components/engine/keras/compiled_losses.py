"""CompiledLoss: the loss that a Keras model was compiled with for one of its outputs."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from ..choices import BINARY, CATEGORICAL, FROM_LOGITS, SQUARED_ERROR
from .version import Model

# By the name of Keras's function.
_KINDS = {
    "binary_crossentropy": BINARY,
    "binary_focal_crossentropy": BINARY,
    "categorical_crossentropy": CATEGORICAL,
    "categorical_focal_crossentropy": CATEGORICAL,
    "categorical_generalized_cross_entropy": CATEGORICAL,
    "huber": SQUARED_ERROR,
    "kl_divergence": CATEGORICAL,
    "log_cosh": SQUARED_ERROR,
    "mean_absolute_error": SQUARED_ERROR,
    "mean_absolute_percentage_error": SQUARED_ERROR,
    "mean_squared_error": SQUARED_ERROR,
    "mean_squared_logarithmic_error": SQUARED_ERROR,
    "poisson": SQUARED_ERROR,
    "sparse_categorical_crossentropy": CATEGORICAL,
}
_OF_KERAS = ("keras.", "tf_keras.")


@dataclasses.dataclass(frozen=True)
class CompiledLoss:
    """What an output is trained by.

    Attributes:
        index: The output's place among the model's outputs, flattened.
        loss: The loss, an object of Keras; None if the model's own `compute_loss` uses none that was compiled.
        weight: By which the loss is multiplied; None for 1.
        sample_weight: The output's sample weights; None for none.
    """

    index: int
    loss: Any
    weight: Any
    sample_weight: Any

    @property
    def kind(self) -> str | None:
        """What the loss takes the output for, as `distill_loss` names it; None if it does not tell."""
        function = getattr(self.loss, "fn", None)
        if not getattr(function, "__module__", "").startswith(_OF_KERAS):
            return None
        kind = _KINDS.get(function.__name__)
        return kind + FROM_LOGITS if kind and self._options.get("from_logits") else kind

    @property
    def name(self) -> str:
        """The loss's name."""
        function = getattr(self.loss, "fn", self.loss)
        return getattr(function, "__name__", type(function).__name__)

    @property
    def axis(self) -> int:
        """The axis of the classes."""
        return self._options.get("axis", -1)

    @property
    def ignored_class(self) -> int | None:
        """The label of what has no loss; None if all has."""
        return self._options.get("ignore_class")

    @property
    def reduction(self) -> str | None:
        """How the losses of a batch become one, as Keras 3 names it."""
        reduction = getattr(self.loss, "reduction", "auto")
        return "sum_over_batch_size" if reduction == "auto" else reduction

    @property
    def _options(self) -> dict[str, Any]:
        return getattr(self.loss, "_fn_kwargs", {})


def compiled_losses(model: Model, outputs: Any, sample_weight: Any) -> list[CompiledLoss]:
    """The losses of the outputs that have one.

    Args:
        model: The model, whose `compute_loss` has been called once.
        outputs: What the model returned, of any structure.
        sample_weight: The batch's sample weights, of any structure that Keras takes; None for none.
    """
    number = len(keras.tree.flatten(outputs))
    if isinstance(model, keras.Model):
        compiled = getattr(model, "_compile_loss", None)
        if compiled is not None and compiled.built:
            return list(_of_keras_3(compiled, number, sample_weight))
    else:
        compiled = model.compiled_loss
        if compiled is not None and compiled.built:
            return list(_of_keras_2(compiled, outputs, sample_weight))
    weights = _flat(sample_weight, number)
    return [CompiledLoss(index, None, None, weights[index]) for index in range(number)]


def _of_keras_3(compiled: Any, number: int, sample_weight: Any) -> Iterable[CompiledLoss]:
    places = keras.tree.pack_sequence_as(compiled._y_pred_build_structure, list(range(number)))
    for path, loss, weight, _ in compiled._flat_losses:
        nested = sample_weight is not None and keras.tree.is_nested(sample_weight)
        yield CompiledLoss(_at(path, places), loss, weight, _at(path, sample_weight) if nested else sample_weight)


def _of_keras_2(compiled: Any, outputs: Any, sample_weight: Any) -> Iterable[CompiledLoss]:
    weights = tf.nest.flatten(compiled._conform_to_outputs(outputs, sample_weight))
    for index, (loss, weight) in enumerate(zip(compiled._losses, compiled._loss_weights, strict=True)):
        if loss is not None:
            yield CompiledLoss(index, loss, weight, weights[index])


def _at(path: Sequence[Any], structure: Any) -> Any:
    for key in path:
        structure = structure[key]
    return structure


def _flat(sample_weight: Any, number: int) -> list[Any]:
    """The sample weights of each output: one for all, or one each."""
    if sample_weight is not None and keras.tree.is_nested(sample_weight):
        flat = keras.tree.flatten(sample_weight)
        return flat if len(flat) == number else [None] * number
    return [sample_weight] * number
