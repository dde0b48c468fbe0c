"""Traces the functions of a model: its tensors, their units, and where these are read."""

import dataclasses
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import function_pb2, node_def_pb2

from . import operations  # noqa: F401  its rules register themselves
from .groups import Groups
from .node_order import has_loop, in_order
from .node_outputs import output_begin, output_count
from .operation import Operation, pin
from .site import Gather, Mend, Site
from .tensors import HeldValue, Holder, Shape, Tensor
from .units import Units
from .values import Known, is_finite

_CALLS = {"PartitionedCall": "f", "StatefulPartitionedCall": "f"}
_LOOPS = ("While", "StatelessWhile")
_BRANCHES = ("If", "StatelessIf", "Case", "StatelessCase")
_READERS = ("ReadVariableOp", "ResourceGather")
_MOST_CALLS = 10_000


class TooManyCallsError(ValueError):
    """That a model's functions call each other too often to be traced, each call by itself."""


@dataclasses.dataclass(eq=False)
class Call:
    """One call of a function, with all that it calls in turn.

    Attributes:
        function: Its name.
        arguments: What it is given.
        outputs: What it returns.
        tensors: The outputs of its nodes, by the node's name.
        calls: What its nodes call: by the node's name, the calls by the attribute that names the function, and the
            number of the function there.
        sites: The sums of products in it.
        mends: The inputs of its nodes that tell sizes.
        costs: What the numbers of its multiply-adds an example are products of.
        gathers: The inputs of its nodes of which only some indices are taken.
        constants: What its constants are, by the node's name.
        reads: The nodes that read variables, and which.
    """

    function: str
    arguments: list[Tensor]
    outputs: list[Tensor] = dataclasses.field(default_factory=list)
    tensors: dict[str, tuple[Tensor, ...]] = dataclasses.field(default_factory=dict)
    calls: dict[str, dict[tuple[str, int], "Call"]] = dataclasses.field(default_factory=dict)
    sites: list[Site] = dataclasses.field(default_factory=list)
    mends: list[Mend] = dataclasses.field(default_factory=list)
    costs: list[tuple[int | np.ndarray, ...]] = dataclasses.field(default_factory=list)
    gathers: list[Gather] = dataclasses.field(default_factory=list)
    constants: dict[str, Holder] = dataclasses.field(default_factory=dict)
    reads: list[tuple[str, Holder]] = dataclasses.field(default_factory=list)

    def all_calls(self) -> Iterator["Call"]:
        """The call, and all below it."""
        yield self
        for each in self.calls.values():
            for call in each.values():
                yield from call.all_calls()


@dataclasses.dataclass(frozen=True)
class Root:
    """A function that a model offers, or runs by itself.

    Attributes:
        function: Its name.
        captures: The names of the holders that its last arguments are; None for what is no holder.
        shapes: Of its arguments; those of captures do not matter.
    """

    function: str
    captures: Sequence[Hashable | None]
    shapes: Sequence[Shape]


@dataclasses.dataclass(frozen=True)
class Trace:
    """What was traced.

    Attributes:
        roots: The calls of the roots, in their order.
        holders: The variables, by name.
        groups: What is tied.
    """

    roots: tuple[Call, ...]
    holders: Mapping[Hashable, Holder]
    groups: Groups

    def calls(self) -> Iterator[Call]:
        """All calls, those of each root in the order in which they run."""
        for root in self.roots:
            yield from root.all_calls()

    def axes(self) -> Iterator[np.ndarray]:
        """All axes that may be cut, of tensors and holders."""
        for holder in self.holders.values():
            yield from (axis for axis in holder.axes if axis is not None)
        for call in self.calls():
            for tensors in call.tensors.values():
                for tensor in tensors:
                    yield from (axis for axis in tensor.axes if axis is not None)


# A node of a function, by the names of both.
Place = tuple[str, str]


def trace(
    functions: Mapping[str, function_pb2.FunctionDef],
    roots: Sequence[Root],
    held: Mapping[Hashable, HeldValue],
    gathered: Collection[Place] = (),
) -> Trace:
    """Traces functions.

    What a root is given, but for what it captures, and what it returns keeps its shape. So does all that a node reads
    for whose operation there is no rule, or none for the form that it has.

    Args:
        functions: By name.
        roots: The functions that count; all others are traced as they are called, each call by itself.
        held: By name, what holders are made of.
        gathered: Matrix products whose first factor may be given with some of its indices only, so that the second, the
            weights, can be cut whatever the first is.

    Returns:
        The calls of all roots, and what is tied. A variable that a function may change has no known value, and no axis
        of it is cut. Nor is one with an infinity or NaN in it, by which zeros are multiplied to NaN.

    Raises:
        TooManyCallsError: There are more than 10,000 calls.
        ValueError: A function uses an operation that is not loaded.
    """
    changed = {name for name, each in held.items() if each.read is not None and not is_finite(each.read())}
    while True:
        tracer = _Tracer(functions, held, changed, gathered)
        found = tracer.run(roots)
        if tracer.changed <= changed:
            return found
        changed |= tracer.changed


class _Tracer:
    """One pass over all roots."""

    def __init__(
        self,
        functions: Mapping[str, function_pb2.FunctionDef],
        held: Mapping[Hashable, HeldValue],
        changing: set[Hashable],
        gathered: Collection[Place],
    ) -> None:
        self._functions = functions
        self._gathered = frozenset(gathered)
        self._held = held
        self._units = Units()
        self._count = 0
        self.changed: set[Hashable] = set()
        self._holders = {
            name: self._holder(name, each, name not in changing and each.read is not None)
            for name, each in held.items()
        }

    def run(self, roots: Sequence[Root]) -> Trace:
        calls = []
        for root in roots:
            given = len(root.shapes) - len(root.captures)
            arguments = [Tensor.opaque(shape) for shape in root.shapes[:given]]
            for name, shape in zip(root.captures, root.shapes[given:], strict=True):
                arguments.append(Tensor.opaque(shape) if name is None else self._captured(name))
            call = self._call(root.function, arguments)
            for each in call.outputs:
                self._note_use(each)
                pin(self._units, each)
            calls.append(call)
        return Trace(tuple(calls), self._holders, self._units.groups())

    def _holder(self, name: Hashable, held: HeldValue, cut: bool) -> Holder:
        axes = tuple(self._units.axis(size) if cut else None for size in held.shape)
        value = Known(held.shape, held.read) if cut else None
        return Holder(name, held.shape, axes, value)

    def _captured(self, name: Hashable) -> Tensor:
        holder = self._holders[name]
        if self._held[name].is_tensor:
            return Tensor(holder.shape, holder.axes, holder.value, holder)
        return Tensor((), resource=holder)

    def _call(self, function: str, arguments: list[Tensor]) -> Call:
        self._count += 1
        if self._count > _MOST_CALLS:
            raise TooManyCallsError(
                f"The model makes more than {_MOST_CALLS:,} calls of functions, but each is traced by itself, and no "
                "more are traced. Have it make fewer, such as by tf.while_loop in place of an unrolled loop."
            )
        definition = self._functions[function]
        call = Call(function, arguments)
        names = {each.name: tensor for each, tensor in zip(definition.signature.input_arg, arguments, strict=True)}

        def value(reference: str) -> Tensor:
            name, _, rest = reference.partition(":")
            if name in names:
                return names[name]
            output, _, index = rest.partition(":")
            return call.tensors[name][output_begin(nodes[name], output, self._functions) + int(index or 0)]

        nodes = {node.name: node for node in definition.node_def}
        ordered = in_order(definition)
        if has_loop(ordered):
            self._leave(call, ordered)
        else:
            for node in ordered:
                self._trace(call, node, [value(each) for each in node.input if not each.startswith("^")])
        call.outputs = [value(definition.ret[output.name]) for output in definition.signature.output_arg]
        return call

    def _leave(self, call: Call, nodes: Sequence[node_def_pb2.NodeDef]) -> None:
        """Takes a function as a barrier: its arguments keep their shapes, and nothing is known of its nodes."""
        for each in call.arguments:
            self._note_use(each)
            pin(self._units, each)
        for node in nodes:
            shapes = _output_shapes(node)
            shapes += [None] * (output_count(node, self._functions) - len(shapes))
            call.tensors[node.name] = tuple(map(Tensor.opaque, shapes))

    def _trace(self, call: Call, node: node_def_pb2.NodeDef, inputs: list[Tensor]) -> None:
        shapes = _output_shapes(node)
        if node.op == "Const":
            call.tensors[node.name] = (self._constant(call, node),)
        elif node.op in _CALLS:
            self._trace_call(call, node, inputs)
        elif node.op in _BRANCHES:
            self._trace_branches(call, node, inputs, shapes)
        elif node.op in _LOOPS:
            self._trace_loop(call, node, inputs, shapes)
        else:
            if node.op in _READERS:
                call.reads.extend((node.name, each.resource) for each in inputs if each.resource is not None)
            else:
                for each in inputs:
                    self._note_use(each)
            shapes += [None] * (output_count(node, self._functions) - len(shapes))
            op = Operation(node, inputs, shapes, self._units, (call.function, node.name) in self._gathered)
            call.tensors[node.name] = op.traced()
            call.sites.extend(op.sites)
            call.mends.extend(op.mends)
            call.costs.extend(op.costs)
            call.gathers.extend(op.gathers)

    def _constant(self, call: Call, node: node_def_pb2.NodeDef) -> Tensor:
        proto = node.attr["value"].tensor
        shape = tuple(dimension.size for dimension in proto.tensor_shape.dim)
        held = HeldValue(shape, lambda: tf.make_ndarray(proto))
        # Numbers of shapes and of places are no weights.
        floating = tf.as_dtype(proto.dtype).is_floating or tf.as_dtype(proto.dtype).is_complex
        finite = not floating or is_finite(held.read())
        holder = self._holder((id(call), node.name), held, floating and finite)
        call.constants[node.name] = holder
        return Tensor(shape, holder.axes, Known(shape, held.read) if finite else None, holder)

    def _trace_call(self, call: Call, node: node_def_pb2.NodeDef, inputs: list[Tensor]) -> None:
        below = self._call(node.attr["f"].func.name, inputs)
        call.calls[node.name] = {("f", 0): below}
        call.tensors[node.name] = tuple(below.outputs)

    def _trace_branches(
        self, call: Call, node: node_def_pb2.NodeDef, inputs: list[Tensor], shapes: list[Shape]
    ) -> None:
        pin(self._units, inputs[0])
        below: dict[tuple[str, int], Call] = {}
        for key in ("then_branch", "else_branch"):
            if key in node.attr:
                below[key, 0] = self._call(node.attr[key].func.name, inputs[1:])
        for number, function in enumerate(node.attr["branches"].list.func if "branches" in node.attr else ()):
            below["branches", number] = self._call(function.name, inputs[1:])
        call.calls[node.name] = below
        outputs = []
        for index, alternatives in enumerate(zip(*(each.outputs for each in below.values()), strict=True)):
            outputs.append(self._alternative(alternatives, shapes[index] if index < len(shapes) else None))
        call.tensors[node.name] = tuple(outputs)

    def _trace_loop(self, call: Call, node: node_def_pb2.NodeDef, inputs: list[Tensor], shapes: list[Shape]) -> None:
        """Traces a loop: what each turn hands on as it was given may be cut, and all else keeps its shape."""
        body = self._functions[node.attr["body"].func.name]
        if "output_shapes" in node.attr:
            shapes = list(map(_shape, node.attr["output_shapes"].list.shape))
        shapes += [None] * (len(inputs) - len(shapes))
        names = [each.name for each in body.signature.input_arg]
        stays = [body.ret[each.name] == name for each, name in zip(body.signature.output_arg, names, strict=True)]
        carried = [
            each if same else Tensor.opaque(shape) for each, same, shape in zip(inputs, stays, shapes, strict=True)
        ]
        below = {(key, 0): self._call(node.attr[key].func.name, carried) for key in ("cond", "body")}
        given = [each for each, same in zip(inputs, stays, strict=True) if not same]
        made = [each for each, same in zip(below["body", 0].outputs, stays, strict=True) if not same]
        for each in (*given, *made, *below["cond", 0].outputs):
            self._note_use(each)
            pin(self._units, each)
        for turn in (each for part in below.values() for each in part.all_calls()):
            # How many turns an example takes is not known.
            turn.costs.clear()
        call.calls[node.name] = below
        call.tensors[node.name] = tuple(carried)

    def _alternative(self, alternatives: Sequence[Tensor], shape: Shape) -> Tensor:
        """What is one of several tensors."""
        first = alternatives[0]
        if any(each is not first for each in alternatives):
            for each in alternatives:
                self._note_use(each)
        if shape is None or any(each.shape != shape or each.element is not None for each in alternatives):
            for each in alternatives:
                pin(self._units, each)
            return Tensor.opaque(shape)
        axes = list(first.axes)
        for each in alternatives:
            axes = [self._units.tie(one, other) for one, other in zip(axes, each.axes, strict=True)]
            pin_told = Tensor(each.shape, (), each.value)
            pin(self._units, pin_told)
        return Tensor(shape, tuple(axes))

    def _note_use(self, tensor: Tensor) -> None:
        """Notes that something else than a read is done to a variable, if a tensor is one."""
        if tensor.resource is not None:
            self.changed.add(tensor.resource.name)


def _output_shapes(node: node_def_pb2.NodeDef) -> list[Shape]:
    """What a node tells of its outputs' shapes, which may be nothing. Looking it up with [] would add it."""
    told = node.attr.get("_output_shapes")
    return [] if told is None else [_shape(each) for each in told.list.shape]


def _shape(proto: object) -> Shape:
    if proto.unknown_rank:
        return None
    return tuple(None if dimension.size < 0 else dimension.size for dimension in proto.dim)
