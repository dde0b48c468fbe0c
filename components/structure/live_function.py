"""The structure of a function that was traced in this process, and is in no SavedModel."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import function_pb2

from .tensors import HeldValue
from .trace import Root, Trace, trace

_OUTPUT_SHAPES = "_output_shapes"


def trace_function(function: tf.types.experimental.ConcreteFunction, variables: Sequence[tf.Variable]) -> Trace:
    """Traces a concrete function, such as the forward pass of a model.

    Args:
        function: What `tf.function(...).get_concrete_function(...)` gives.
        variables: Those whose axes may be cut; they name their holders in the trace by their places in the sequence.
            All others that the function captures keep their shapes.

    Returns:
        The trace, whose groups say which indices of which axes of the variables live and die together.

    Raises:
        ValueError: The function uses an operation that is not loaded, or makes too many calls of others.
    """
    held = {place: _held(variable) for place, variable in enumerate(variables)}
    places: dict[int, int] = {}
    for place, variable in enumerate(variables):
        for copy in _copies(variable):
            # The function's own variables may have a copy beside the variable that it is of.
            places.setdefault(id(copy.handle), place)
    captures = [places.get(id(capture)) for capture in function.captured_inputs]
    definition = function.function_def
    shapes = [_sizes(tensor.shape) for tensor in function.inputs]
    root = Root(definition.signature.name, captures, shapes)
    return trace(_library(function), [root], held)


def _copies(variable: tf.Variable) -> Sequence[tf.Variable]:
    """The variable itself, or its copies on the devices of a `tf.distribute` strategy: a function reads one of them."""
    return variable.values if isinstance(variable, tf.distribute.DistributedValues) else (variable,)


def _held(variable: tf.Variable) -> HeldValue:
    return HeldValue(tuple(variable.shape.as_list()), lambda: np.asarray(variable.numpy()))


def _library(function: tf.types.experimental.ConcreteFunction) -> Mapping[str, function_pb2.FunctionDef]:
    """The function and all below it, by name, with the shapes of what their nodes make."""
    found: dict[str, function_pb2.FunctionDef] = {}
    queue = [function.inference_fn]
    while queue:
        each = queue.pop()
        name = each.name.decode()
        if name not in found:
            found[name] = _with_shapes(each.definition, each.graph)
            queue.extend(each.children)
    return found


def _with_shapes(definition: function_pb2.FunctionDef, graph: tf.Graph) -> function_pb2.FunctionDef:
    found = function_pb2.FunctionDef()
    found.CopyFrom(definition)
    operations = {operation.name: operation for operation in graph.get_operations()}
    for node in found.node_def:
        operation = operations.get(node.name)
        if operation is not None and operation.type == node.op:
            node.attr[_OUTPUT_SHAPES].list.shape.extend(output.shape.as_proto() for output in operation.outputs)
    return found


def _sizes(shape: tf.TensorShape) -> tuple[int | None, ...] | None:
    return None if shape.rank is None else tuple(shape.as_list())
