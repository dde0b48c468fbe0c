"""Operation: a node that is being traced, as the rules see it, and the registry of these rules."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tensorflow.core.framework import node_def_pb2

from .evaluation import attribute, evaluate, is_stateless
from .site import Gather, Mend, Site
from .tensors import Shape, Tensor
from .units import Axis, Units
from .values import Known, Sizes, Value

Rule = Callable[["Operation"], "Sequence[Tensor] | Tensor"]


@dataclasses.dataclass(frozen=True)
class _Entry:
    rule: Rule
    takes_sizes: bool
    takes_lists: bool


_RULES: dict[str, _Entry] = {}


class BarrierError(Exception):
    """That a rule does not know a node of this form, whose inputs keep their shapes then."""


def operation(*names: str, takes_sizes: bool = False, takes_lists: bool = False) -> Callable[[Rule], Rule]:
    """Registers a rule.

    The rule is given the node, says which units are tied, and returns the node's outputs. It may raise `BarrierError`.

    Args:
        *names: Operations that it is for.
        takes_sizes: Whether it sees to inputs that are sizes of axes, which otherwise pin those axes.
        takes_lists: Whether it sees to inputs that are lists of tensors, whose axes are otherwise pinned.
    """

    def register(rule: Rule) -> Rule:
        for name in names:
            if name in _RULES:
                raise ValueError(f"There are two rules for {name}; keep one.")
            _RULES[name] = _Entry(rule, takes_sizes, takes_lists)
        return rule

    return register


class Operation:
    """A node, its inputs, and what its rule says of it.

    Attributes:
        node: The node.
        inputs: Its data inputs.
        shapes: Of its outputs.
        units: Where units are made and tied.
        sites: The sums of products that it is.
        mends: Its inputs that tell sizes.
        costs: What the numbers of its multiply-adds an example are the products of; axes count by their sizes.
        gathers: Its inputs of which only some indices are taken.
        may_gather: Whether there may be such.
    """

    def __init__(
        self,
        node: node_def_pb2.NodeDef,
        inputs: Sequence[Tensor],
        shapes: Sequence[Shape],
        units: Units,
        may_gather: bool = False,
    ) -> None:
        """Takes a node with its inputs and the shapes of its outputs."""
        self.node = node
        self.inputs = tuple(inputs)
        self.shapes = tuple(shapes)
        self.units = units
        self.sites: list[Site] = []
        self.mends: list[Mend] = []
        self.costs: list[tuple[int | np.ndarray, ...]] = []
        self.gathers: list[Gather] = []
        self.may_gather = may_gather
        self._seen_to: list[Axis] = []

    def traced(self) -> tuple[Tensor, ...]:
        """The node's outputs, by the rule for its operation; a barrier if there is none."""
        entry = _RULES.get(self.node.op)
        unranked = any(each.shape is None for each in self.inputs)
        if entry is None or unranked or (self.shapes and self.shapes[0] is None):
            return self.barrier()
        for each in self.inputs:
            if not entry.takes_sizes:
                pin_sizes(self.units, each.value)
            if not entry.takes_lists and each.element is not None:
                pin(self.units, each.element)
        try:
            outputs = entry.rule(self)
        except BarrierError:
            self.sites.clear()
            self.mends.clear()
            self.costs.clear()
            self.gathers.clear()
            return self.barrier()
        found = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
        self._pin_forgotten(found)
        return self._folded(found)

    def barrier(self) -> tuple[Tensor, ...]:
        """Outputs of which nothing is known; what goes in keeps its shape."""
        for each in self.inputs:
            pin(self.units, each)
        return tuple(map(Tensor.opaque, self.shapes))

    def pin(self, axis: Axis) -> None:
        """Says that an axis is never cut."""
        self._seen_to.append(axis)
        self.units.pin(axis)

    def tie(self, one: Axis, other: Axis) -> Axis:
        """Ties two axes index by index."""
        self._seen_to.extend((one, other))
        return self.units.tie(one, other)

    def product(self, outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
        """An axis of the elements of two; see `Units.product`."""
        self._seen_to.extend((outer, inner))
        return self.units.product(outer, inner)

    def factors(self, units: np.ndarray) -> tuple[Axis, Axis]:
        """Two axes that one is made of; see `Units.factors`."""
        self._seen_to.append(units)
        return self.units.factors(units)

    def output(self, axes: Sequence[Axis], value: Value | None = None, index: int = 0) -> Tensor:
        """The node's output number `index`."""
        shape = self.shapes[index]
        if shape is not None:
            # A function of any size that is called with units has as many.
            shape = tuple(
                units.size if size is None and units is not None else size
                for size, units in zip(shape, axes, strict=True)
            )
        return Tensor(shape, tuple(axes), value)

    def attribute(self, name: str) -> Any:
        """The value of an attribute; lists are lists, strings are str."""
        found = attribute(self.node, name)
        return found.decode() if isinstance(found, bytes) else found

    def known(self, index: int) -> np.ndarray:
        """The value of an input that must be known and small, as permutations and the like are.

        Raises:
            BarrierError: It is not.
        """
        value = self.inputs[index].value
        if not isinstance(value, Known) or value.size > 1024:
            raise BarrierError
        return value.array

    def rank(self, index: int) -> int:
        """The number of dimensions of an input.

        Raises:
            BarrierError: It is unknown.
        """
        rank = self.inputs[index].rank
        if rank is None:
            raise BarrierError
        return rank

    def _pin_forgotten(self, outputs: Sequence[Tensor]) -> None:
        """Pins the axes of inputs of which a rule says nothing: neither tied nor summed over, nor in what is made."""
        axes = [axis for each in self.inputs for axis in each.axes if axis is not None]
        known = [*self._seen_to, *(axis for each in outputs for axis in (each.element or each).axes)]
        known.extend(factor.axes[number] for site in self.sites for factor in site.factors for number in factor.summed)
        for each in outputs:
            if isinstance(each.value, Sizes):
                known.extend(axis for size in each.value.sizes for axis in size.axes)
        same = {id(axis) for axis in known if axis is not None}
        if forgotten := [axis for axis in axes if id(axis) not in same]:
            units = np.concatenate([np.zeros(0, np.int64), *(axis.ravel() for axis in known if axis is not None)])
            for axis in forgotten:
                if not np.isin(axis, units).any():
                    self.units.pin(axis)

    def _folded(self, outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The outputs with their values, if all inputs' are known."""
        values = [each.value for each in self.inputs]
        if (
            not values
            or not all(isinstance(value, Known) for value in values)
            or not is_stateless(self.node.op)
            or all(each.value is not None for each in outputs)
            or any(each.shape is None or None in each.shape or each.element is not None for each in outputs)
        ):
            return outputs

        def compute(index: int) -> np.ndarray:
            return evaluate(self.node, [value.array for value in values], len(outputs))[index]

        return tuple(
            dataclasses.replace(each, value=Known(each.shape, lambda index=index: compute(index)))
            for index, each in enumerate(outputs)
        )


def pin(units: Units, tensor: Tensor) -> None:
    """Says that no axis of a tensor, or of which it tells the size, is ever cut."""
    for axis in tensor.axes:
        units.pin(axis)
    if tensor.resource is not None:
        for axis in tensor.resource.axes:
            units.pin(axis)
    if tensor.element is not None:
        pin(units, tensor.element)
    pin_sizes(units, tensor.value)


def pin_sizes(units: Units, value: Value | None) -> None:
    """Says that no axis is ever cut of which a value tells the size."""
    if isinstance(value, Sizes):
        for size in value.sizes:
            for axis in size.axes:
                units.pin(axis)
