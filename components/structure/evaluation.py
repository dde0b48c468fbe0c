"""Runs one operation on arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2, node_def_pb2
from tensorflow.python.eager import context, execute
from tensorflow.python.framework import op_def_registry


def evaluate(node: node_def_pb2.NodeDef, inputs: Sequence[np.ndarray], outputs: int = 1) -> list[np.ndarray]:
    """What a node gives for its data inputs.

    Args:
        node: Of an operation without state.
        inputs: One array for each of the node's data inputs.
        outputs: How many it has.

    Returns:
        Its outputs.

    Raises:
        tf.errors.OpError, TypeError, ValueError: It does not take these.
    """
    attributes: list[Any] = []
    for each in op_def_registry.get(node.op).attr:
        attributes.extend((each.name, attribute(node, each.name)))
    with tf.init_scope(), tf.device("CPU:0"):
        tensors = [tf.constant(each) for each in inputs]
        found = execute.execute(node.op.encode(), outputs, tensors, tuple(attributes), context.context())
    return [each.numpy() for each in found]


def is_stateless(operation: str) -> bool:
    """Whether an operation gives the same outputs for the same inputs, and does nothing else."""
    definition = op_def_registry.get(operation)
    return definition is not None and not definition.is_stateful


def attribute(node: node_def_pb2.NodeDef, name: str) -> Any:
    """The value of a node's attribute, which is its operation's default if the node has none; lists are lists."""
    found: attr_value_pb2.AttrValue | None = node.attr.get(name)
    if found is None:
        found = next(each.default_value for each in op_def_registry.get(node.op).attr if each.name == name)
    kind = found.WhichOneof("value")
    if kind == "list":
        return list(next((values for _, values in found.list.ListFields()), []))
    return getattr(found, kind)
