"""Graph: the graph of a TensorFlow 1 model, opened for editing."""

import itertools
from collections.abc import Collection, Container, Iterable, Mapping

from tensorflow.core.framework import graph_pb2, node_def_pb2

from ...saved_model.function_library import called_functions

# How a node spells its input: 'node', 'node:1', or '^node' for a control dependency.
Reference = str

VARIABLE_OPS = ("VariableV2", "Variable", "VarHandleOp", "TemporaryVariable")
READ_OP = "ReadVariableOp"
# Operations that pass their first input on, also into a loop or a branch.
_ENTER_OPS = ("Enter", "RefEnter")
_SWITCH_OPS = ("Switch", "RefSwitch")
IDENTITY_OPS = ("Identity", "RefIdentity", "StopGradient", "PreventGradient", "Snapshot")
CONTROL_FLOW_OPS = (*_ENTER_OPS, *_SWITCH_OPS)
_PASSING_OPS = (*CONTROL_FLOW_OPS, *IDENTITY_OPS)

_COLOCATION = "_class"
_COLOCATION_PREFIX = b"loc:@"
_OUTPUT_SHAPES = "_output_shapes"


class Graph:
    """A copy of a graph, and the edits that keep it valid.

    Attributes:
        proto: The graph.
    """

    def __init__(self, graph_def: graph_pb2.GraphDef) -> None:
        """Copies `graph_def`."""
        self.proto = graph_pb2.GraphDef()
        self.proto.CopyFrom(graph_def)
        self._nodes = {node.name: node for node in self.proto.node}

    def __contains__(self, name: str) -> bool:
        return name in self._nodes

    def __getitem__(self, name: str) -> node_def_pb2.NodeDef:
        return self._nodes[name]

    @property
    def names(self) -> Collection[str]:
        """The names of the nodes, in the order of the graph."""
        return self._nodes.keys()

    def maker(self, reference: Reference) -> node_def_pb2.NodeDef | None:
        """The node that makes what `reference` names; None if there is none."""
        return self._nodes.get(node_name(reference))

    def reached(self, roots: Iterable[str], barriers: Container[str] = ()) -> set[str]:
        """The nodes that some nodes need in order to run, for data or as control dependencies, themselves included.

        Args:
            roots: Names of nodes; those that the graph lacks are left out.
            barriers: Names of nodes that are not entered.
        """
        found: set[str] = set()
        queue = list(roots)
        while queue:
            name = queue.pop()
            if name in self._nodes and name not in found and name not in barriers:
                found.add(name)
                queue.extend(map(node_name, self._nodes[name].input))
        return found

    def called(self, names: Iterable[str]) -> list[node_def_pb2.NodeDef]:
        """The nodes of the functions that some nodes call, directly or through others."""
        functions = {function.signature.name: function for function in self.proto.library.function}
        found: list[node_def_pb2.NodeDef] = []
        queue = [self._nodes[name] for name in names]
        while queue:
            node = queue.pop()
            # A function of TensorFlow 1 is called by a node that has its name for an operation.
            for callee in (node.op, *called_functions(node)):
                if (function := functions.pop(callee, None)) is not None:
                    found.extend(function.node_def)
                    queue.extend(function.node_def)
        return found

    def source(self, reference: Reference) -> node_def_pb2.NodeDef | None:
        """The node that a value comes from unchanged, through identities, reads, loops and branches."""
        node = self.maker(reference)
        while node is not None and node.op in (*_PASSING_OPS, READ_OP):
            node = self.maker(node.input[0])
        return node

    def variable(self, reference: Reference) -> str | None:
        """The variable that `reference` is, or is the value of; None if it is something else."""
        node = self.source(reference)
        return node.name if node is not None and node.op in VARIABLE_OPS else None

    def control_flow(self, reference: Reference) -> list[Reference]:
        """The values by which `reference` enters loops and branches on the way from its source, the outermost first."""
        found: list[Reference] = []
        node = self.maker(reference)
        while node is not None and node.op in (*_PASSING_OPS, READ_OP):
            if node.op in CONTROL_FLOW_OPS:
                found.insert(0, reference)
            reference = node.input[0]
            node = self.maker(reference)
        return found

    def redirect(self, name: str, reference: Reference) -> None:
        """Makes the readers of a node's only output read something else; the node stays.

        What ran after the node will run after everything that the node itself ran after.
        """
        controls = [each for each in self[name].input if each.startswith("^")]
        for node in self.proto.node:
            if name not in map(node_name, node.input):
                continue
            for index, each in enumerate(node.input):
                if node_name(each) == name:
                    node.input[index] = f"^{node_name(reference)}" if each.startswith("^") else reference
            node.input.extend(controls)
            _tidy_controls(node)

    def keep(self, names: Container[str]) -> None:
        """Removes all other nodes, control dependencies on them, and colocations with them."""
        kept = [node for node in self.proto.node if node.name in names]
        remaining = graph_pb2.GraphDef(node=kept)
        del self.proto.node[:]
        self.proto.node.MergeFrom(remaining.node)
        self._nodes = {node.name: node for node in self.proto.node}
        for node in self.proto.node:
            for index in reversed(range(len(node.input))):
                if node.input[index].startswith("^") and node_name(node.input[index]) not in self._nodes:
                    del node.input[index]
            if _COLOCATION in node.attr:
                groups = [each for each in node.attr[_COLOCATION].list.s if _colocated(each) in self._nodes]
                node.attr[_COLOCATION].list.s[:] = groups
                if not groups:
                    del node.attr[_COLOCATION]

    def rename(self, new_names: Mapping[str, str]) -> None:
        """Gives nodes new names. No other node may have them."""
        for node in self.proto.node:
            node.name = new_names.get(node.name, node.name)
            node.input[:] = [renamed(each, new_names) for each in node.input]
            if _COLOCATION in node.attr:
                groups = map(_colocated, node.attr[_COLOCATION].list.s)
                node.attr[_COLOCATION].list.s[:] = [
                    _COLOCATION_PREFIX + new_names.get(each, each).encode() for each in groups
                ]
        self._nodes = {node.name: node for node in self.proto.node}

    def add(self, node: node_def_pb2.NodeDef) -> node_def_pb2.NodeDef:
        """Adds a copy of a node and returns it. No other node may have its name."""
        added = self.proto.node.add()
        added.CopyFrom(node)
        self._nodes[added.name] = added
        return added

    def unused(self, name: str) -> str:
        """A name that no node has: `name`, or `name` with a number."""
        candidates = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(1)))
        return next(each for each in candidates if each not in self._nodes)

    def straightened(self) -> graph_pb2.GraphDef:
        """A copy without loops, branches and control dependencies: nodes read directly what enters them."""
        copy = Graph(self.proto)
        for node in copy.proto.node:
            node.input[:] = map(copy.before_control_flow, data_inputs(node))
            for attribute in (_COLOCATION, _OUTPUT_SHAPES):
                node.attr.pop(attribute, None)
        return copy.proto

    def before_control_flow(self, reference: Reference) -> Reference:
        """What `reference` is outside of the loops and branches that it entered; itself if it entered none."""
        while (node := self.maker(reference)) is not None and node.op in CONTROL_FLOW_OPS:
            reference = node.input[0]
        return reference


def node_name(reference: Reference) -> str:
    """The name of the node that a reference, or a tensor's name, belongs to."""
    return reference.removeprefix("^").partition(":")[0]


def data_inputs(node: node_def_pb2.NodeDef) -> list[Reference]:
    """The inputs of a node, without its control dependencies."""
    return [each for each in node.input if not each.startswith("^")]


def renamed(reference: Reference, new_names: Mapping[str, str]) -> Reference:
    """A reference to a node that may have a new name."""
    name = node_name(reference)
    return reference.replace(name, new_names.get(name, name), 1)


def _tidy_controls(node: node_def_pb2.NodeDef) -> None:
    """Removes repeated control dependencies."""
    inputs = [*data_inputs(node), *dict.fromkeys(each for each in node.input if each.startswith("^"))]
    if len(inputs) != len(node.input):
        node.input[:] = inputs


def _colocated(group: bytes) -> str:
    return group.removeprefix(_COLOCATION_PREFIX).decode()
