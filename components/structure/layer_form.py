"""LayerForm: a product of activations and a weight as products of matrices, one for each group."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import node_def_pb2

from .evaluation import attribute
from .weight_uses import WeightUse


class NoLayerFormError(ValueError):
    """That a product has a form for which there is no rule."""


@dataclasses.dataclass(frozen=True, eq=False)
class LayerForm:
    """Y[g] = X[g] W[g] for every group g, where W[g] has elements of a weight.

    Attributes:
        inputs: X, what is multiplied, [groups, samples, inputs].
            For a convolution a sample is one place of one image, and the inputs are what is below the kernel.
        elements: Which element of the weight stands in W, int64 [groups, inputs, outputs].
    """

    inputs: tf.Tensor
    elements: np.ndarray

    @classmethod
    def of(cls, use: WeightUse, activation: tf.Tensor) -> "LayerForm":
        """Brings a product into this form, in the graph that is being built.

        Args:
            use: The product.
            activation: What is multiplied.

        Raises:
            NoLayerFormError: There is no rule for a product like this.
        """
        if activation.shape.rank is None:
            raise NoLayerFormError(f"{use.node.name} multiplies a tensor of unknown rank")
        elements = use.elements()
        if use.node.op in ("Conv2D", "Conv3D", "DepthwiseConv2dNative"):
            if use.operand != 1:
                raise NoLayerFormError(f"{use.node.name} has the weight for an image")
            return _convolution(use.node, activation, elements)
        labels = _labels(use.node, use.operand, activation.shape.rank, elements.ndim)
        return _sum_of_products(use.node, *labels, activation, elements)


Labels = Sequence[str]


def _labels(node: node_def_pb2.NodeDef, operand: int, active: int, rank: int) -> tuple[Labels, Labels, Labels]:
    """The labels of the axes of activation, weight and output in a product of matrices, as in Einstein's notation."""
    ranks = (active, rank) if operand == 1 else (rank, active)
    if node.op == "Einsum":
        found = _einsum_labels(node, ranks)
    else:
        batch = [f"b{at}" for at in range(max(ranks) - 2, 0, -1)]
        flip = ("transpose_a", "transpose_b") if node.op == "MatMul" else ("adj_x", "adj_y")
        sides = []
        for axes, flipped, count in zip((["i", "k"], ["k", "j"]), flip, ranks, strict=True):
            sides.append([*batch[len(batch) - (count - 2) :], *(axes[::-1] if attribute(node, flipped) else axes)])
        found = (*sides, [*batch, "i", "j"])
    return (found[0], found[1], found[2]) if operand == 1 else (found[1], found[0], found[2])


def _einsum_labels(node: node_def_pb2.NodeDef, ranks: tuple[int, int]) -> tuple[Labels, Labels, Labels]:
    equation = attribute(node, "equation").decode().replace(" ", "")
    inputs, arrow, output = equation.partition("->")
    texts = inputs.split(",")
    if not arrow or len(texts) != 2:
        raise NoLayerFormError(f"{node.name} has the equation {equation!r}")

    def spelled(text: str, rank: int) -> Labels:
        before, _, after = text.partition("...")
        # Counted from the last, as they are aligned so.
        return [*before, *(f".{at}" for at in range(rank - len(before) - len(after), 0, -1)), *after]

    sides = [spelled(text, rank) for text, rank in zip(texts, ranks, strict=True)]
    dots = max((label for side in sides for label in side if label[0] == "."), default=".0")
    found = (*sides, spelled(output, len(output.replace("...", "")) + int(dots[1:])))
    if any(len(set(side)) < len(side) for side in found):
        raise NoLayerFormError(f"{node.name} has the equation {equation!r}")  # a label twice is a diagonal
    return found


def _sum_of_products(
    node: node_def_pb2.NodeDef,
    active: Labels,
    weight: Labels,
    output: Labels,
    activation: tf.Tensor,
    elements: np.ndarray,
) -> LayerForm:
    weight, elements = _without_broadcast(weight, elements)
    shared = [label for label in weight if label in active]
    inputs = [label for label in shared if label not in output]
    groups = [label for label in shared if label in output]
    outputs = [label for label in weight if label not in active]
    if not inputs or not set(outputs) <= set(output):
        raise NoLayerFormError(f"{node.name} sums over axes of the weight alone, or over none of both")
    samples = [label for label in active if label not in shared]
    axes = {label: axis for axis, label in enumerate(active)}
    sizes = {label: elements.shape[axis] for axis, label in enumerate(weight)}
    arranged = tf.transpose(activation, [axes[label] for label in (*groups, *samples, *inputs)])
    group_count, input_count = (math.prod(sizes[each] for each in labels) for labels in (groups, inputs))
    if any(activation.shape[axes[label]] == 1 != sizes[label] for label in shared):
        raise NoLayerFormError(f"{node.name} repeats activations along an axis of the weight")
    return LayerForm(
        tf.reshape(arranged, [group_count, -1, input_count]),
        np.transpose(elements, [list(weight).index(label) for label in (*groups, *inputs, *outputs)]).reshape(
            group_count, input_count, -1
        ),
    )


def _without_broadcast(weight: Labels, elements: np.ndarray) -> tuple[Labels, np.ndarray]:
    """Drops the axes of size 1 along which a weight is repeated."""
    gone = [
        axis for axis, label in enumerate(weight) if label[0] in "b." and len(label) > 1 and elements.shape[axis] == 1
    ]
    return [label for axis, label in enumerate(weight) if axis not in gone], np.squeeze(elements, tuple(gone))


def _convolution(node: node_def_pb2.NodeDef, image: tf.Tensor, elements: np.ndarray) -> LayerForm:
    rank = image.shape.rank
    first = attribute(node, "data_format").decode().startswith("NC")
    if first:
        image = tf.transpose(image, [0, *range(2, rank), 1])
    places = slice(2, None) if first else slice(1, -1)
    strides, rates = (_of_places(attribute(node, name), places, rank) for name in ("strides", "dilations"))
    padding = attribute(node, "padding").decode()
    if padding == "EXPLICIT":
        pads = np.reshape(attribute(node, "explicit_paddings"), [rank, 2])
        image = tf.pad(image, np.concatenate([pads[:1], pads[2:], pads[1:2]]) if first else pads)
        padding = "VALID"
    channels = image.shape[-1]
    if channels is None or elements.ndim != rank:
        raise NoLayerFormError(f"{node.name} convolves an image of an unknown number of channels")
    taps = elements.shape[:-2]
    patches = _patches(node, image, taps, strides, rates, padding)
    size = math.prod(taps)
    if node.op == "DepthwiseConv2dNative":
        inputs = tf.transpose(tf.reshape(patches, [-1, size, channels]), [2, 0, 1])
        return LayerForm(inputs, np.moveaxis(elements.reshape(size, channels, -1), 1, 0))
    of_group, made = elements.shape[-2:]
    groups = channels // of_group
    inputs = tf.transpose(tf.reshape(patches, [-1, size, groups, of_group]), [2, 0, 1, 3])
    by_group = np.moveaxis(elements.reshape(size * of_group, groups, made // groups), 1, 0)
    return LayerForm(tf.reshape(inputs, [groups, -1, size * of_group]), by_group)


def _patches(
    node: node_def_pb2.NodeDef,
    image: tf.Tensor,
    taps: Sequence[int],
    strides: Sequence[int],
    rates: Sequence[int],
    padding: str,
) -> tf.Tensor:
    """What is below a kernel at each place: [batch, places..., taps * channels], channels the fastest."""
    if all(each == 1 for each in (*taps, *strides)):
        return image
    if len(taps) == 2:
        return tf.image.extract_patches(image, [1, *taps, 1], [1, *strides, 1], [1, *rates, 1], padding)
    if any(rate != 1 for rate in rates):
        raise NoLayerFormError(f"{node.name} is a dilated convolution of three dimensions")
    return tf.extract_volume_patches(image, [1, *taps, 1], [1, *strides, 1], padding)


def _of_places(values: Sequence[int], places: slice, rank: int) -> list[int]:
    return list(values or [1] * rank)[places]
