"""What is left of the functions that save and restore a model's variables."""

import itertools

from tensorflow.core.framework import function_pb2

from ...saved_model.function_body import FunctionBody
from .new_nodes import OUTPUT_SHAPES

_INPUT_SHAPES = "_input_shapes"


def shortened(function: function_pb2.FunctionDef) -> function_pb2.FunctionDef:
    """A function that saves or restores variables, without what is of no use to that.

    TensorFlow writes each variable's name several times into both functions, with its shape: in a network of many
    small variables they are nearly half of saved_model.pb. No one but the two operations of the saver calls them.

    Args:
        function: The function.

    Returns:
        The same with its own name, short ones within, and no shapes, which are not those of the variables any more.
    """
    body = FunctionBody(function)
    numbers = itertools.count()
    body.rename(lambda _: f"n{next(numbers)}")
    for argument in body.proto.signature.input_arg:
        argument.ClearField("handle_data")
    for node in body.nodes:
        node.attr.pop(OUTPUT_SHAPES, None)
    body.proto.attr.pop(_INPUT_SHAPES, None)
    body.proto.arg_attr.clear()
    return body.proto
