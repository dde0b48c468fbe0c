"""WeightUse: a place where activations are multiplied by a weight, or by a view of it."""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import node_def_pb2, types_pb2

from .evaluation import evaluate, is_stateless
from .flat_function import FlatFunction, TensorName

# Sums of products, whose two factors are their first two inputs.
PRODUCTS = frozenset(
    ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum", "Conv2D", "Conv3D", "DepthwiseConv2dNative")
)
_SAME = frozenset(("Identity", "StopGradient", "PreventGradient", "Snapshot", "Cast", "CheckNumerics", "EnsureShape"))
# Operations that move elements, and which of their inputs has these; all others must be constant.
_MOVES = {"Reshape": 0, "Transpose": 0, "ExpandDims": 0, "Squeeze": 0, "Slice": 0, "StridedSlice": 0}
_MOVES |= {"Split": 1, "SplitV": 0, "Unpack": 0}
_CALLERS = frozenset(("While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase"))


# A node that moves elements, which of its outputs it is, and its other inputs.
_Step: TypeAlias = tuple[node_def_pb2.NodeDef, int, tuple[np.ndarray, ...]]


@dataclasses.dataclass(frozen=True, eq=False)
class WeightUse:
    """A product of activations and a weight.

    Attributes:
        weight: Names the weight.
        node: Computes the product.
        operand: Which of its two factors is the weight.
        activation: The other factor.
    """

    weight: Hashable
    node: node_def_pb2.NodeDef
    operand: int
    activation: TensorName
    _steps: tuple[_Step, ...]
    _shape: tuple[int, ...]

    def elements(self) -> np.ndarray:
        """Which element of the weight, counted row by row, each element of the factor is; int64 of its shape."""
        found = np.arange(np.prod(self._shape, dtype=np.int64)).reshape(self._shape)
        for node, output, constants in self._steps:
            inputs = [*constants[: _MOVES[node.op]], found, *constants[_MOVES[node.op] :]]
            found = evaluate(node, inputs, output + 1 if node.op not in _MANY else _count(node))[output]
        return found


@dataclasses.dataclass(frozen=True, eq=False)
class _View:
    """A weight, some of whose elements were moved."""

    weight: Hashable
    steps: tuple[_Step, ...] = ()

    def then(self, node: node_def_pb2.NodeDef, output: int, constants: Sequence[np.ndarray]) -> "_View":
        moving = node_def_pb2.NodeDef()
        moving.CopyFrom(node)
        # Not the weight's elements are moved, but their numbers.
        moving.attr["T"].type = types_pb2.DT_INT64
        return _View(self.weight, (*self.steps, (moving, output, tuple(constants))))


_MANY = {"Split": "num_split", "SplitV": "num_split", "Unpack": "num"}


def _count(node: node_def_pb2.NodeDef) -> int:
    return node.attr[_MANY[node.op]].i


@dataclasses.dataclass(frozen=True, eq=False)
class WeightUses:
    """Where a function uses weights.

    Attributes:
        products: The products of activations and weights, each after those whose outputs it may read.
        inside: The weights that a loop or a branch is given, which may use them inside.
        reads: The nodes that read each weight.
    """

    products: tuple[WeightUse, ...]
    inside: frozenset[Hashable]
    reads: Mapping[Hashable, tuple[str, ...]]

    @classmethod
    def of(cls, function: FlatFunction, weights: Mapping[TensorName, tuple[Hashable, tuple[int, ...]]]) -> "WeightUses":
        """Follows weights through a function.

        Args:
            function: The function.
            weights: Arguments that are variables, with a name and the shape of each.
        """
        shapes = dict(weights.values())
        resources = {argument: name for argument, (name, _) in weights.items()}
        views: dict[TensorName, _View] = {}
        constants = _Constants(function)
        products: list[WeightUse] = []
        inside: set[Hashable] = set()
        reads: dict[Hashable, tuple[str, ...]] = {}
        for node in function.nodes.values():
            inputs = function.inputs(node)
            output = f"{node.name}:0"
            if node.op == "ReadVariableOp" and inputs[0] in resources:
                name = resources[inputs[0]]
                views[output] = _View(name)
                reads[name] = (*reads.get(name, ()), node.name)
            elif node.op in _SAME and inputs[0] in resources:
                resources[output] = resources[inputs[0]]
            elif node.op in _SAME and inputs[0] in views:
                views[output] = views[inputs[0]]
            elif node.op in _MOVES and inputs[_MOVES[node.op]] in views:
                view = views[inputs[_MOVES[node.op]]]
                others = [constants.value(each) for at, each in enumerate(inputs) if at != _MOVES[node.op]]
                if all(each is not None for each in others):
                    for number in range(_count(node) if node.op in _MANY else 1):
                        views[f"{node.name}:{number}"] = view.then(node, number, others)
            elif node.op in PRODUCTS and len(inputs) == 2:
                for operand, factor in enumerate(inputs):
                    other = inputs[1 - operand]
                    if factor in views and other not in views and not constants.is_constant(other):
                        view = views[factor]
                        products.append(WeightUse(view.weight, node, operand, other, view.steps, shapes[view.weight]))
            elif node.op in _CALLERS:
                inside.update(resources[each] for each in inputs if each in resources)
                inside.update(views[each].weight for each in inputs if each in views)
        return cls(tuple(products), frozenset(inside), reads)


class _Constants:
    """What in a function depends on nothing that it is given."""

    def __init__(self, function: FlatFunction) -> None:
        self._function = function
        self._constant: dict[str, bool] = {}
        for node in function.nodes.values():
            inputs = [each.partition(":")[0] for each in function.inputs(node)]
            self._constant[node.name] = node.op == "Const" or (
                bool(inputs) and is_stateless(node.op) and all(self._constant[each] for each in inputs)
            )
        self._values: dict[str, list[np.ndarray]] = {}

    def is_constant(self, tensor: TensorName) -> bool:
        return self._constant[tensor.partition(":")[0]]

    def value(self, tensor: TensorName) -> np.ndarray | None:
        if not self.is_constant(tensor):
            return None
        name, _, output = tensor.partition(":")
        if name not in self._values:
            node = self._function.nodes[name]
            if node.op == "Const":
                self._values[name] = [tf.make_ndarray(node.attr["value"].tensor)]
            else:
                inputs = [self.value(each) for each in self._function.inputs(node)]
                try:
                    self._values[name] = evaluate(node, inputs, int(output) + 1)
                except (tf.errors.OpError, TypeError, ValueError):
                    return None
        found = self._values[name]
        return found[int(output)] if int(output) < len(found) else None
