"""FunctionBody: one function of a SavedModel's library, opened for editing."""

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping, MutableSequence, Sequence

from tensorflow.core.framework import function_pb2, node_def_pb2
from tensorflow.python.framework import op_def_registry

# How a function spells an input of a node: 'argument', 'node:output:0', or '^node' for a control dependency.
Reference = str

IDENTITY_OPS = ("Identity", "StopGradient", "PreventGradient", "Snapshot")
BRANCH_OPS = ("If", "StatelessIf", "Case", "StatelessCase")
WHILE_OPS = ("While", "StatelessWhile")
CALL_OPS = ("PartitionedCall", "StatefulPartitionedCall", *BRANCH_OPS, *WHILE_OPS)

_INPUT_TYPES = ("Tin", "T")
_READ_ONLY_INPUTS = "_read_only_resource_inputs"
_COLOCATION = "_class"
_COLOCATION_PREFIX = b"loc:@"
_INPUT_SHAPES = "_input_shapes"


def first_argument(node: node_def_pb2.NodeDef) -> int:
    """The index of the call's input that is the first argument of the functions that it calls."""
    return 1 if node.op in BRANCH_OPS else 0


class FunctionBody:
    """A copy of a function, and the edits that keep it valid.

    Attributes:
        proto: The function.
    """

    def __init__(self, function: function_pb2.FunctionDef) -> None:
        """Copies `function`."""
        self.proto = function_pb2.FunctionDef()
        self.proto.CopyFrom(function)
        self._index()

    @property
    def nodes(self) -> Sequence[node_def_pb2.NodeDef]:
        """The nodes; their order means nothing."""
        return self.proto.node_def

    @property
    def names(self) -> list[str]:
        """The names of the arguments and nodes."""
        return [*self._arguments, *self._nodes]

    def node(self, reference: Reference) -> node_def_pb2.NodeDef | None:
        """The node that makes what `reference` names; None if that is an argument."""
        return self._nodes.get(_node_name(reference))

    def argument(self, reference: Reference) -> int | None:
        """The index of the argument that `reference` names; None if it names a node's output."""
        return self._arguments.get(_node_name(reference))

    def returned(self) -> list[Reference]:
        """What the function returns, in the order of its outputs."""
        return [self.proto.ret[output.name] for output in self.proto.signature.output_arg]

    def returned_argument(self, output: int) -> int | None:
        """The index of the argument that an output returns unchanged; None if the output is something else."""
        reference = self.returned()[output]
        while (node := self.node(reference)) is not None and node.op in IDENTITY_OPS:
            reference = node.input[0]
        return self.argument(reference)

    def remove(self, nodes: Collection[str], substitutes: Mapping[str, Reference]) -> None:
        """Removes nodes.

        What ran after a removed node will run after everything that the node itself ran after.

        Args:
            nodes: Names of the nodes.
            substitutes: What is read in place of a node's only output, by the node, if something still reads it.
        """

        def resolved(reference: Reference) -> Reference:
            while _node_name(reference) in substitutes:
                reference = substitutes[_node_name(reference)]
            return reference

        for node in self.nodes:
            if node.name not in nodes:
                inputs = [resolved(each) for each in data_inputs(node)]
                controls = self._controls(node, nodes, substitutes)
                del node.input[:]
                node.input.extend([*inputs, *controls])
        for output, reference in list(self.proto.ret.items()):
            self.proto.ret[output] = resolved(reference)
        self._delete(nodes)

    def remove_unreached(self) -> None:
        """Removes nodes without side effects, unless an output or a node with side effects needs them."""
        queue = [
            *map(_node_name, self.proto.ret.values()),
            *self.proto.control_ret.values(),
            *(node.name for node in self.nodes if _has_side_effects(node)),
        ]
        reached: set[str] = set()
        while queue:
            name = queue.pop()
            if name in self._nodes and name not in reached:
                reached.add(name)
                queue.extend(map(_node_name, self._nodes[name].input))
        self._delete(self._nodes.keys() - reached)

    def remove_unread(self, nodes: Collection[str]) -> None:
        """Removes those of `nodes` whose outputs nothing reads, or only other nodes that are removed."""
        while True:
            read = set(map(_node_name, self.proto.ret.values()))
            for node in self.nodes:
                read.update(map(_node_name, data_inputs(node)))
            unread = {name for name in nodes if name in self._nodes and name not in read}
            if not unread:
                return
            self.remove(unread, {})

    def drop_arguments(self, arguments: Collection[int]) -> None:
        """Removes arguments that nothing reads."""
        dropped = set(arguments)
        _drop(self.proto.signature.input_arg, dropped)
        _drop_arg_attrs(self.proto.arg_attr, dropped)
        ids = {
            _shifted(key, dropped): each
            for key, each in self.proto.resource_arg_unique_id.items()
            if key not in dropped
        }
        self.proto.resource_arg_unique_id.clear()
        self.proto.resource_arg_unique_id.update(ids)
        if _INPUT_SHAPES in self.proto.attr:
            _drop(self.proto.attr[_INPUT_SHAPES].list.shape, dropped)
        self._index()

    def drop_outputs(self, outputs: Collection[int]) -> None:
        """Removes outputs."""
        for output in outputs:
            del self.proto.ret[self.proto.signature.output_arg[output].name]
        _drop(self.proto.signature.output_arg, outputs)

    def drop_call_arguments(self, call: node_def_pb2.NodeDef, arguments: Collection[int]) -> None:
        """Removes arguments from a call. A loop loses the outputs that they become; nothing may read these."""
        if not arguments:
            return
        inputs = {argument + first_argument(call) for argument in arguments}
        _drop(call.input, inputs)
        for key in _INPUT_TYPES:
            if key in call.attr:
                _drop(call.attr[key].list.type, arguments)
        if _READ_ONLY_INPUTS in call.attr:
            kept = [index for index in call.attr[_READ_ONLY_INPUTS].list.i if index not in inputs]
            call.attr[_READ_ONLY_INPUTS].list.i[:] = [_shifted(index, inputs) for index in kept]
        if call.op in WHILE_OPS:
            self._drop_loop_outputs(call, arguments)

    def rename(self, new_name: Callable[[str], str]) -> None:
        """Gives arguments, outputs and nodes new names, with a number where two would be equal."""
        names = _new_names(self.names, new_name)
        outputs = _new_names([output.name for output in self.proto.signature.output_arg], new_name)
        control_outputs = _new_names(self.proto.signature.control_output, new_name)

        def renamed(reference: Reference) -> Reference:
            name = _node_name(reference)
            return reference.replace(name, names[name], 1)

        for argument in self.proto.signature.input_arg:
            argument.name = names[argument.name]
        for output in self.proto.signature.output_arg:
            output.name = outputs[output.name]
        for node in self.nodes:
            node.name = names[node.name]
            node.input[:] = map(renamed, node.input)
            if _COLOCATION in node.attr:
                groups = map(_colocated, node.attr[_COLOCATION].list.s)
                node.attr[_COLOCATION].list.s[:] = [_COLOCATION_PREFIX + names[each].encode() for each in groups]
        ret = {outputs[output]: renamed(reference) for output, reference in self.proto.ret.items()}
        control_ret = {control_outputs[key]: names[node] for key, node in self.proto.control_ret.items()}
        for old, new in ((self.proto.ret, ret), (self.proto.control_ret, control_ret)):
            old.clear()
            old.update(new)
        self.proto.signature.control_output[:] = [control_outputs[key] for key in self.proto.signature.control_output]
        self._index()

    def _index(self) -> None:
        self._nodes = {node.name: node for node in self.nodes}
        self._arguments = {argument.name: index for index, argument in enumerate(self.proto.signature.input_arg)}

    def _controls(
        self, node: node_def_pb2.NodeDef, removed: Collection[str], substitutes: Mapping[str, Reference]
    ) -> list[Reference]:
        """The control dependencies of a node that stays."""
        found: dict[Reference, None] = {}
        seen: set[str] = set()
        queue = [each for each in node.input if each.startswith("^")]
        for reference in data_inputs(node):
            while (name := _node_name(reference)) in substitutes:
                queue.extend(each for each in self._nodes[name].input if each != substitutes[name])
                reference = substitutes[name]
        while queue:
            reference = queue.pop(0)
            name = _node_name(reference)
            if name in removed and name not in seen:
                seen.add(name)
                queue.extend(self._nodes[name].input)
            elif name not in removed and (name in self._nodes or reference.startswith("^")):
                found[f"^{name}"] = None
        return list(found)

    def _delete(self, names: Collection[str]) -> None:
        _drop(self.proto.node_def, (index for index, node in enumerate(self.nodes) if node.name in names))
        self._index()
        for node in self.nodes:
            if _COLOCATION in node.attr:
                groups = [each for each in node.attr[_COLOCATION].list.s if _colocated(each) not in names]
                node.attr[_COLOCATION].list.s[:] = groups
        for key in [key for key, node in self.proto.control_ret.items() if node in names]:
            del self.proto.control_ret[key]
            self.proto.signature.control_output.remove(key)

    def _drop_loop_outputs(self, loop: node_def_pb2.NodeDef, outputs: Collection[int]) -> None:
        for key in ("output_shapes", "_output_shapes"):
            if key in loop.attr and loop.attr[key].list.shape:
                _drop(loop.attr[key].list.shape, outputs)
        if "_num_original_outputs" in loop.attr:
            attribute = loop.attr["_num_original_outputs"]
            attribute.i -= sum(output < attribute.i for output in outputs)

        def moved(reference: Reference) -> Reference:
            if reference.startswith("^") or _node_name(reference) != loop.name:
                return reference
            name, output, index = reference.split(":")
            return f"{name}:{output}:{_shifted(int(index), outputs)}"

        for node in self.nodes:
            node.input[:] = map(moved, node.input)
        for output, reference in list(self.proto.ret.items()):
            self.proto.ret[output] = moved(reference)


def data_inputs(node: node_def_pb2.NodeDef) -> list[Reference]:
    """The inputs of a node, without its control dependencies."""
    return [each for each in node.input if not each.startswith("^")]


def _node_name(reference: Reference) -> str:
    return reference.removeprefix("^").partition(":")[0]


def _colocated(group: bytes) -> str:
    return group.removeprefix(_COLOCATION_PREFIX).decode()


def _has_side_effects(node: node_def_pb2.NodeDef) -> bool:
    definition = op_def_registry.get(node.op)
    return definition is None or definition.is_stateful


def _new_names(old: Sequence[str], new_name: Callable[[str], str]) -> dict[str, str]:
    names = {name: name for name in old if new_name(name) == name}
    taken = set(names)
    for name in old:
        if name not in names:
            candidates = itertools.chain([new_name(name)], (f"{new_name(name)}_{each}" for each in itertools.count(1)))
            names[name] = next(each for each in candidates if each not in taken)
            taken.add(names[name])
    return names


def _shifted(index: int, dropped: Iterable[int]) -> int:
    return index - sum(each < index for each in dropped)


def _drop(repeated: MutableSequence, indices: Iterable[int]) -> None:
    """Deletes elements of a repeated field."""
    for index in sorted(indices, reverse=True):
        del repeated[index]


def _drop_arg_attrs(attributes: MutableMapping[int, function_pb2.FunctionDef.ArgAttrs], dropped: set[int]) -> None:
    kept = {key: function_pb2.FunctionDef.ArgAttrs() for key in attributes if key not in dropped}
    for key, value in kept.items():
        value.CopyFrom(attributes[key])
    attributes.clear()
    for key, value in kept.items():
        attributes[_shifted(key, dropped)].CopyFrom(value)
