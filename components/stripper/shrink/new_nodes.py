"""Nodes that a cut adds to functions."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2, function_pb2, node_def_pb2

from ...saved_model.function_body import Reference
from ...structure.tensors import Shape

OUTPUT_SHAPES = "_output_shapes"


def new_node(
    function: function_pb2.FunctionDef, name: str, operation: str, inputs: Sequence[Reference], shape: Shape
) -> node_def_pb2.NodeDef:
    """Adds a node with one output.

    Args:
        function: The function, which is changed.
        name: The name; a number goes behind one that is taken.
        operation: The operation.
        inputs: What goes in.
        shape: The output's; None if it is not known.
    """
    node = function.node_def.add(name=_new_name(function, name), op=operation, input=inputs)
    node.attr[OUTPUT_SHAPES].list.shape.add().CopyFrom(tf.TensorShape(shape).as_proto())
    return node


def new_constant(function: function_pb2.FunctionDef, name: str, array: np.ndarray) -> Reference:
    """Adds a constant; returns how it is referred to."""
    node = function.node_def.add(name=_new_name(function, name), op="Const")
    set_tensor(node, array)
    return f"{node.name}:output:0"


def new_binary(
    function: function_pb2.FunctionDef,
    name: str,
    operation: str,
    one: Reference,
    other: Reference,
    dtype: int,
    shape: Shape,
) -> Reference:
    """Adds arithmetic of two tensors, such as AddV2 or Mul, of one dtype; returns how the result is referred to."""
    node = new_node(function, name, operation, [one, other], shape)
    node.attr["T"].type = dtype
    return f"{node.name}:z:0"


def set_tensor(node: node_def_pb2.NodeDef, array: np.ndarray) -> None:
    """Gives a constant a value."""
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(array, tf.as_dtype(array.dtype), array.shape))
    node.attr["dtype"].type = tf.as_dtype(array.dtype).as_datatype_enum
    shapes = attr_value_pb2.AttrValue()
    shapes.list.shape.add().CopyFrom(tf.TensorShape(array.shape).as_proto())
    node.attr[OUTPUT_SHAPES].CopyFrom(shapes)


def _new_name(function: function_pb2.FunctionDef, name: str) -> str:
    taken = {each.name for each in function.node_def} | {each.name for each in function.signature.input_arg}
    number, new = 0, name
    while new in taken:
        number += 1
        new = f"{name}_{number}"
    return new
