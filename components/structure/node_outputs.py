"""The outputs of a node, which a function names and a graph numbers."""

from collections.abc import Iterator, Mapping

from tensorflow.core.framework import function_pb2, node_def_pb2
from tensorflow.python.framework import op_def_registry

Functions = Mapping[str, function_pb2.FunctionDef]


def output_begin(node: node_def_pb2.NodeDef, output: str, functions: Functions) -> int:
    """The number of the first of a node's outputs with a name.

    Args:
        node: The node.
        output: The name.
        functions: The functions of its model, by name: a node may have one's name for an operation.

    Raises:
        ValueError: It has no such output, or its operation is not loaded.
    """
    begin = 0
    for name, count in _output_counts(node, functions):
        if name == output:
            return begin
        begin += count
    raise ValueError(f"The node {node.name!r} of the operation {node.op} has no output {output!r}.")


def output_count(node: node_def_pb2.NodeDef, functions: Functions) -> int:
    """How many outputs a node has; arguments and errors as of `output_begin`."""
    return sum(count for _, count in _output_counts(node, functions))


def _output_counts(node: node_def_pb2.NodeDef, functions: Functions) -> Iterator[tuple[str, int]]:
    """The names of a node's outputs, and how many have each name."""
    function = functions.get(node.op)
    definition = function.signature if function is not None else op_def_registry.get(node.op)
    if definition is None:
        raise ValueError(
            f"The model uses the operation {node.op}, which is not loaded; import the library first that has it."
        )
    for argument in definition.output_arg:
        if argument.number_attr:
            yield argument.name, node.attr[argument.number_attr].i
        elif argument.type_list_attr:
            yield argument.name, len(node.attr[argument.type_list_attr].list.type)
        else:
            yield argument.name, 1
