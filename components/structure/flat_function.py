"""FlatFunction: a function with all that it calls written out in the places of the calls."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import function_pb2, graph_pb2, node_def_pb2

from .node_order import in_order
from .node_outputs import output_begin, output_count

# How a graph spells a tensor: 'node:0'.
TensorName = str

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
# What holds only in the function that a node comes from, or what is found out again when the graph is imported.
_DROPPED_ATTRIBUTES = ("_class", "_output_shapes", "_gradient_op_type", "_XlaMustCompile")


@dataclasses.dataclass(frozen=True, eq=False)
class FlatFunction:
    """Nodes of one graph. Only loops and branches still call functions.

    Attributes:
        nodes: By name, each after those whose outputs it reads; an argument is a Placeholder.
        arguments: The outputs of the arguments' placeholders, in their order.
        outputs: What the function returns, in its order.
    """

    nodes: Mapping[str, node_def_pb2.NodeDef]
    arguments: tuple[TensorName, ...]
    outputs: tuple[TensorName, ...]
    _functions: Mapping[str, function_pb2.FunctionDef]

    @classmethod
    def of(cls, functions: Mapping[str, function_pb2.FunctionDef], name: str) -> "FlatFunction":
        """Writes out a function.

        Args:
            functions: By name; with all that it calls.
            name: One of them.

        Raises:
            ValueError: It uses an operation that is not loaded.
        """
        flattening = _Flattening(functions)
        arguments = []
        for argument in functions[name].signature.input_arg:
            node = node_def_pb2.NodeDef(name=flattening.unused(argument.name), op="Placeholder")
            node.attr["dtype"].type = argument.type
            flattening.nodes[node.name] = node
            arguments.append(f"{node.name}:0")
        outputs, _ = flattening.write_out(name, arguments, [], "")
        return cls(flattening.nodes, tuple(arguments), tuple(outputs), functions)

    def inputs(self, node: node_def_pb2.NodeDef) -> list[TensorName]:
        """What a node reads, without control dependencies."""
        return [each for each in node.input if not each.startswith("^")]

    def node(self, tensor: TensorName) -> node_def_pb2.NodeDef:
        """The node whose output a tensor is."""
        return self.nodes[tensor.partition(":")[0]]

    def import_into_graph(self, arguments: Sequence[tf.Tensor], tensors: Sequence[TensorName]) -> list[tf.Tensor]:
        """Adds the nodes to the graph that is being built.

        Args:
            arguments: Tensors of that graph.
            tensors: Those that are wanted; nodes that they do not need are left out.

        Returns:
            The tensors that are wanted.
        """
        graph_def = graph_pb2.GraphDef()
        # A node of today's default behaviour.
        graph_def.versions.producer = tf.version.GRAPH_DEF_VERSION
        needed = self._needed(tensors)
        graph_def.node.extend(node for name, node in self.nodes.items() if name in needed)
        graph_def.library.function.extend(self._called(graph_def.node))
        given = {
            name: tensor
            for name, tensor in zip(self.arguments, arguments, strict=True)
            if name.partition(":")[0] in needed
        }
        return tf.graph_util.import_graph_def(graph_def, input_map=given, return_elements=list(tensors), name="flat")

    def _needed(self, tensors: Sequence[TensorName]) -> set[str]:
        found: set[str] = set()
        queue = [each.partition(":")[0] for each in tensors]
        while queue:
            name = queue.pop()
            if name not in found:
                found.add(name)
                queue.extend(each.removeprefix("^").partition(":")[0] for each in self.nodes[name].input)
        return found

    def _called(self, nodes: Any) -> Iterator[function_pb2.FunctionDef]:
        """The functions that nodes call, and those below them."""
        queue = [name for node in nodes for name in _called_by(node)]
        found: set[str] = set()
        while queue:
            name = queue.pop()
            if name in self._functions and name not in found:
                found.add(name)
                yield self._functions[name]
                queue.extend(below for node in self._functions[name].node_def for below in _called_by(node))


class _Flattening:
    """Writes functions out, one call after the other."""

    def __init__(self, functions: Mapping[str, function_pb2.FunctionDef]) -> None:
        self._functions = functions
        self.nodes: dict[str, node_def_pb2.NodeDef] = {}

    def unused(self, name: str) -> str:
        """A name that no node has yet, made of one that it has in its function."""
        # A function may name a node as no graph may.
        name = name.lstrip("_-./>") or "node"
        number, found = 1, name
        while found in self.nodes:
            number += 1
            found = f"{name}_{number}"
        return found

    def write_out(
        self, function: str, arguments: Sequence[TensorName], controls: Sequence[str], scope: str
    ) -> tuple[list[TensorName], list[str]]:
        """Adds the nodes of one call.

        Args:
            function: Its function.
            arguments: What it is given.
            controls: Names of the nodes that run before it.
            scope: Comes in front of the names of its nodes.

        Returns:
            What it returns, and the names of the nodes that have run when it is over.
        """
        definition = self._functions[function]
        values = {each.name: [name] for each, name in zip(definition.signature.input_arg, arguments, strict=True)}
        after: dict[str, list[str]] = {each.name: [] for each in definition.signature.input_arg}
        nodes = {node.name: node for node in definition.node_def}

        def tensor(reference: str) -> TensorName:
            name, _, rest = reference.partition(":")
            output, _, index = rest.partition(":")
            if name not in nodes:
                return values[name][0]
            begin = 0 if not output else output_begin(nodes[name], output, self._functions)
            return values[name][begin + int(index or 0)]

        for node in in_order(definition, controls=True):
            before = [*controls]
            for each in node.input:
                if each.startswith("^"):
                    before.extend(after[each[1:]])
            inputs = [tensor(each) for each in node.input if not each.startswith("^")]
            called = node.attr["f"].func.name if node.op in _CALLS else node.op
            if called in self._functions:
                values[node.name], after[node.name] = self.write_out(called, inputs, before, f"{scope}{node.name}/")
                continue
            copied = node_def_pb2.NodeDef()
            copied.CopyFrom(node)
            copied.name = self.unused(scope + node.name)
            copied.device = ""
            copied.input[:] = [*inputs, *(f"^{name}" for name in dict.fromkeys(before))]
            for key in _DROPPED_ATTRIBUTES:
                copied.attr.pop(key, None)
            self.nodes[copied.name] = copied
            count = output_count(node, self._functions)
            values[node.name] = [f"{copied.name}:{index}" for index in range(count)]
            after[node.name] = [copied.name]
        returned = [tensor(definition.ret[each.name]) for each in definition.signature.output_arg]
        ended = [name for node in definition.control_ret.values() for name in after[node]]
        return returned, [*controls, *ended]


def _called_by(node: node_def_pb2.NodeDef) -> list[str]:
    """Names of the functions that a node may call."""
    attributes = node.attr.values()
    return [name for each in attributes for name in (each.func.name, *(one.name for one in each.list.func)) if name]
