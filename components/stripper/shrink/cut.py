"""Cut: which indices of which axes stay, and what goes into biases."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from ...structure.liveness import live_units
from ...structure.products import weighted_sum
from ...structure.site import Site, product
from ...structure.tensors import Holder, Shape, Tensor
from ...structure.trace import Call, Trace
from ...structure.units import Axis
from ...structure.values import Along, Known


@dataclasses.dataclass(frozen=True)
class Cut:
    """What stays of a traced model.

    Attributes:
        trace: The model.
        alive: Whether each unit stays; bool [units].
    """

    trace: Trace
    alive: np.ndarray

    @classmethod
    def of(cls, trace: Trace) -> "Cut":
        """The cut that takes all dead units of a model."""
        return cls(trace, live_units(trace))

    def kept(self, axis: np.ndarray) -> np.ndarray:
        """The indices of an axis that stay, int64, ascending."""
        return np.flatnonzero(self.alive[axis])

    def count(self, axis: np.ndarray) -> int:
        """How many indices of an axis stay."""
        return int(np.count_nonzero(self.alive[axis]))

    def is_cut(self, axis: Axis) -> bool:
        """Whether an index of an axis goes."""
        return axis is not None and not self.alive[axis].all()

    def cuts(self, tensor: Tensor | Holder) -> bool:
        """Whether a tensor becomes smaller."""
        return any(map(self.is_cut, tensor.axes))

    def cuts_in(self, call: Call) -> bool:
        """Whether a tensor in a function, or in those that it calls, becomes smaller."""
        return any(self.cuts(tensor) for each in call.all_calls() for made in each.tensors.values() for tensor in made)

    def shape(self, tensor: Tensor | Holder) -> Shape:
        """A tensor's shape after the cut."""
        if tensor.shape is None:
            return None
        return tuple(
            size if axis is None else self.count(axis) for size, axis in zip(tensor.shape, tensor.axes, strict=True)
        )

    def held(self) -> Iterator[Holder]:
        """The variables and captured constants that become smaller."""
        return (holder for holder in self.trace.holders.values() if self.cuts(holder))

    def multiply_adds(self, call: Call) -> tuple[int, int]:
        """The multiply-adds an example of a function's sums of products, before and after the cut."""
        costs = [counts for each in call.all_calls() for counts in each.costs]
        return sum(map(product, costs)), sum(product(counts, self.alive) for counts in costs)

    def constant(self, site: Site) -> np.ndarray | None:
        """What the units that go from a site's sum add to it.

        Args:
            site: A sum of products.

        Returns:
            A tensor that is broadcast against the sum after the cut, in the dtype of the weights; None for zeros.
        """
        one, other = site.factors
        found = None
        if other.value is None:
            return None
        for left, right in site.pairs:
            constants = one.constants.get(left)
            if constants is None or not self.is_cut(one.axes[left]):
                continue
            goes = constants.mask & ~self.alive[one.axes[left]] & (constants.vector != 0)
            if goes.any():
                part = self._part(site, right, goes, constants)
                found = part if found is None else found + part
        return None if found is None or not found.any() else found

    def _part(self, site: Site, axis: int, goes: np.ndarray, constants: Along) -> np.ndarray:
        other = site.factors[1]
        rows = np.moveaxis(other.value.array, axis, 0)[goes]
        rest = [at for at in range(len(other.axes)) if at != axis]
        kept = [position for position, at in enumerate(rest, start=1) if at in site.output_of]
        total = weighted_sum(rows, constants.vector[goes], kept)
        places = [site.output_of[at] for at in rest if at in site.output_of]
        for position, place in enumerate(places):
            if (units := site.output[place]) is not None and self.is_cut(units):
                total = np.take(total, self.kept(units), axis=position)
        order = np.argsort(places)
        shape = [1] * len(site.output)
        for position in order:
            shape[places[position]] = total.shape[position]
        return np.transpose(total, order).reshape(shape)


def is_constant(call: Call) -> bool:
    """Whether nothing that a function returns depends on what it is given."""
    return bool(call.outputs) and all(map(_is_constant, call.outputs))


def _is_constant(tensor: Tensor) -> bool:
    if isinstance(tensor.value, Along):
        return bool(tensor.value.mask.all())
    return isinstance(tensor.value, Known)


def cut_array(array: np.ndarray, axes: tuple[Axis, ...], cut: Cut) -> np.ndarray:
    """What stays of an array; the array itself if that is all."""
    for position, axis in enumerate(axes):
        if cut.is_cut(axis):
            array = np.take(array, cut.kept(axis), axis=position)
    return array
