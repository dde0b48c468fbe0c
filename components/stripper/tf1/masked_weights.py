"""The products of weights and masks in a TensorFlow 1 graph, as google-research's `model_pruning` makes them."""

import dataclasses
import re
from collections.abc import Collection, Iterable

import tensorflow as tf
from tensorflow.core.framework import node_def_pb2

from .graph import Graph, Reference, data_inputs

_PRODUCT = re.compile(r"(?:.*/)?masked_weight(?:_\d+)?")
_PRODUCT_PART = re.compile(r"masked_weight(?:_\d+)?")
_MASK = re.compile(r"(?:.*/)?mask(?:_\d+)?(?:/part_\d+)?")
_MULTIPLY_OP = "Mul"
_CONCAT_OP = "ConcatV2"


@dataclasses.dataclass(frozen=True)
class MaskedWeight:
    """A node that multiplies a weight by its mask.

    Attributes:
        product: The node.
        weight: What it reads as the weight.
        mask: What it reads as the mask.
        variables: The variable that is the weight, or those that are its partitions.
        axis: The axis along which the partitions are joined.
        masks: The variables of the mask.
    """

    product: str
    weight: Reference
    mask: Reference
    variables: tuple[str, ...]
    axis: int
    masks: tuple[str, ...]


def is_product(node: node_def_pb2.NodeDef) -> bool:
    """Whether a node's name and operation are those of a product of a weight and its mask."""
    return node.op == _MULTIPLY_OP and _PRODUCT.fullmatch(node.name) is not None


def without_product(name: str) -> str:
    """A node's name without the part that marks it as part of a product.

    Examples:
        >>> without_product('rnn/while/weights/masked_weight/Enter')
        'rnn/while/weights/Enter'
    """
    return "/".join(part for part in name.split("/") if not _PRODUCT_PART.fullmatch(part)) or "weight"


def masked_weights(graph: Graph, names: Iterable[str], masks: Collection[str]) -> list[MaskedWeight]:
    """Finds the products of weights and masks.

    Args:
        graph: The graph.
        names: The nodes to look at.
        masks: Variables that are masks, whatever their names. Others are recognized by their names, '.../mask'.

    Returns:
        The products, in the order of their names.

    Raises:
        ValueError: A node with the name of such a product multiplies something else.
    """
    found = []
    for name in sorted(names):
        if is_product(graph[name]):
            first, second = data_inputs(graph[name])
            for mask, weight in ((first, second), (second, first)):
                (mask_parts, _), (weight_parts, axis) = _parts(graph, mask), _parts(graph, weight)
                if _are_masks(mask_parts, masks) and weight_parts and not _are_masks(weight_parts, masks):
                    found.append(MaskedWeight(name, weight, mask, weight_parts, axis, mask_parts))
                    break
            else:
                raise ValueError(
                    f"the node {name!r} does not multiply a variable by its mask, but {first!r} by {second!r}"
                )
    return found


def _are_masks(variables: Collection[str], known: Collection[str]) -> bool:
    return bool(variables) and all(each in known or _MASK.fullmatch(each) for each in variables)


def _parts(graph: Graph, reference: Reference) -> tuple[tuple[str, ...], int]:
    """The variables that a value consists of, and the axis along which they are joined; none if it is another value."""
    node = graph.source(reference)
    if node is None or node.op != _CONCAT_OP:
        variable = graph.variable(reference)
        return ((variable,) if variable else (), 0)
    *parts, axis = data_inputs(node)
    variables = [graph.variable(part) for part in parts]
    constant = graph.source(axis)
    if None in variables or constant is None or constant.op != "Const":
        return (), 0
    return tuple(variables), int(tf.make_ndarray(constant.attr["value"].tensor))
