"""Loss: what the gradients of a trained model are those of."""

import dataclasses

import tensorflow as tf

from ..structure.flat_function import TensorName
from .traced_signature import Lookup, TracedSignature

SOFTMAX = "softmax_cross_entropy"
SIGMOID = "sigmoid_cross_entropy"
SQUARED = "squared_error"
AUTO = "auto"
LOSSES = (AUTO, SOFTMAX, SIGMOID, SQUARED)

# A last operation that makes probabilities of logits.
_ACTIVATIONS = {"Softmax": SOFTMAX, "Sigmoid": SIGMOID}
_FORWARDED = ("Identity", "StopGradient")


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss of a signature's answers.

    Attributes:
        kind: One of `LOSSES` but 'auto'; or '' if a tensor of the signature is the loss.
        tensor: The logits or numbers that are compared with the labels, or the loss itself.
    """

    kind: str
    tensor: TensorName

    @classmethod
    def of(cls, signature: TracedSignature, label: tf.Tensor | None, kind: str, output: str | None) -> "Loss":
        """Chooses a loss.

        Args:
            signature: The signature.
            label: Labels of one batch; None if the signature has the loss as an output.
            kind: One of `LOSSES`.
            output: Name of the output that is compared with the labels, or is the loss; None if there is but one.

        Raises:
            ValueError: There is no such output, or the labels do not tell the loss.
        """
        names = sorted(signature.outputs)
        if output is None and len(names) == 1:
            output = names[0]
        if output not in names:
            what = "none was named" if output is None else f"it has no {output!r}"
            raise ValueError(
                f"The signature {signature.name!r} returns {names}, and {what}: name the output that is compared with "
                "the labels, or is the loss."
            )
        tensor = signature.outputs[output]
        if label is None:
            return cls("", tensor)
        tensor, activation = _behind_activation(signature, tensor)
        if kind == AUTO:
            integers = label.dtype.is_integer
            shape = signature.model.signatures[signature.name].structured_outputs[output].shape
            classes = shape.rank is not None and shape.rank == label.shape.rank + 1 and shape[-1] != 1
            kind = activation or (SOFTMAX if integers and classes else "")
            kind = kind or ("" if integers else SQUARED)
        if not kind:
            raise ValueError(
                f"The labels, {label.dtype.name} of shape {label.shape}, do not tell the loss of the output "
                f"{output!r}. Name one of {', '.join(LOSSES[1:])}."
            )
        if activation == kind or kind == SQUARED or activation is None:
            return cls(kind, signature.outputs[output] if kind == SQUARED else tensor)
        raise ValueError(
            f"The output {output!r} comes out of a {'softmax' if activation == SOFTMAX else 'sigmoid'}, which "
            f"loss={kind!r} does not fit. Use {activation!r}, or leave it at 'auto'."
        )

    def value(self, lookup: Lookup, labels: tf.Tensor | None) -> tf.Tensor:
        """The loss, a scalar: the mean over the examples.

        Args:
            lookup: Gives `tensor`.
            labels: Of the same examples.
        """
        given = tf.cast(lookup(self.tensor), tf.float32)
        if not self.kind:
            return tf.reduce_mean(given)
        if self.kind == SOFTMAX:
            if labels.shape.rank == given.shape.rank and not labels.dtype.is_integer:
                return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels, given))
            labels = tf.reshape(labels, tf.shape(given)[:-1])
            return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, given))
        labels = tf.reshape(tf.cast(labels, tf.float32), tf.shape(given))
        if self.kind == SIGMOID:
            return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, given))
        return tf.reduce_mean(tf.square(given - labels))


def checked_loss(loss: str) -> str:
    """Raises a ValueError unless `loss` is one of `LOSSES`; returns it."""
    if loss not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}.")
    return loss


def _behind_activation(signature: TracedSignature, tensor: TensorName) -> tuple[TensorName, str | None]:
    """The logits that probabilities are made of, and the loss that fits them; the tensor itself if it is no such."""
    found = tensor
    node = signature.node(found)
    while node.op in _FORWARDED:
        found = node.input[0]
        node = signature.node(found)
    if node.op in _ACTIVATIONS:
        return node.input[0], _ACTIVATIONS[node.op]
    return tensor, None
