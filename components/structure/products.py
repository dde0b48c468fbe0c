"""Sums of products of two factors, whose axes have labels, as Einstein's notation has them."""

import dataclasses
from collections.abc import Hashable, Iterator, Sequence

import numpy as np

from .operation import BarrierError, Operation
from .site import Factor, Site, count
from .tensors import Tensor
from .units import Axis
from .values import Along, Known, along

Label = Hashable

_CHUNK_BYTES = 1 << 24


@dataclasses.dataclass(frozen=True)
class Term:
    """A factor and the labels of its axes.

    Attributes:
        tensor: The factor.
        labels: One for each of its axes.
    """

    tensor: Tensor
    labels: tuple[Label, ...]

    def axis(self, label: Label) -> Axis:
        """The units of the axis with a label; None if they are never cut, or if there is no such axis."""
        return self.tensor.axes[self.labels.index(label)] if label in self.labels else None

    def size(self, label: Label) -> int | None:
        """The size of the axis with a label; None if it is unknown."""
        return self.tensor.shape[self.labels.index(label)] if label in self.labels else None


def sum_of_products(
    op: Operation,
    one: Term,
    other: Term,
    labels: Sequence[Label],
    *,
    only_zero: bool = False,
    uncounted: Sequence[Label] = (),
    times: Sequence[int] = (),
) -> Tensor:
    """Traces a sum of products.

    Axes of both factors with one label are tied, and go together. Those that the outcome lacks are summed over.

    Args:
        op: The operation.
        one: A factor.
        other: Another; of two, the one whose value is known should be this one.
        labels: Of the outcome's axes.
        only_zero: Whether what is summed over is padded, so that a constant other than 0 is none at the border.
        uncounted: Labels that do not count for the number of multiply-adds an example.
        times: What that is the product of, besides the sizes of all other labels.

    Returns:
        The outcome.

    Raises:
        BarrierError: An axis of one factor alone is summed over, and holds units.
    """
    if isinstance(one.tensor.value, Known) and not isinstance(other.tensor.value, Known):
        one, other = other, one
    everything = list(dict.fromkeys((*one.labels, *other.labels)))
    for label in everything:
        both = label in one.labels and label in other.labels
        if both:
            if 1 in (one.size(label), other.size(label)):
                op.pin(one.axis(label))
                op.pin(other.axis(label))
            else:
                op.tie(one.axis(label), other.axis(label))
        elif label not in labels:
            op.pin(one.axis(label))
            op.pin(other.axis(label))
    axes = [_units(one, other, label) for label in labels]
    summed = [label for label in one.labels if label in other.labels and label not in labels]
    weight = other.tensor.value if isinstance(other.tensor.value, Known) else None
    constants = {
        one.labels.index(label): found
        for label in summed
        if (found := along(one.tensor.value, one.labels.index(label))) is not None
    }
    if only_zero or len(constants) > 1:
        # What is constant along two axes must not be summed up twice.
        constants = {axis: Along(axis, each.vector, each.mask & (each.vector == 0)) for axis, each in constants.items()}
    op.sites.append(
        Site(
            op.node.name,
            op.node.op,
            (
                Factor(one.tensor.axes, tuple(map(one.labels.index, summed)), None, constants),
                Factor(
                    other.tensor.axes,
                    tuple(map(other.labels.index, summed)),
                    weight,
                    {} if weight is not None else _constants(other, summed),
                ),
            ),
            tuple((one.labels.index(label), other.labels.index(label)) for label in summed),
            tuple(axes),
            {other.labels.index(label): at for at, label in enumerate(labels) if label in other.labels},
        )
    )
    counted = [label for label in everything if label not in uncounted]
    sizes = (count(_units(one, other, label), one.size(label) or other.size(label)) for label in counted)
    op.costs.append((*times, *sizes))
    return op.output(axes, _value(op, one, other, labels, summed, constants))


def _units(one: Term, other: Term, label: Label) -> Axis:
    if label in one.labels and label in other.labels and None in (_or_none(one, label), _or_none(other, label)):
        return None
    return one.axis(label) if label in one.labels else other.axis(label)


def _or_none(term: Term, label: Label) -> bool | None:
    return None if term.axis(label) is None else True


def _constants(term: Term, summed: Sequence[Label]) -> dict[int, Along]:
    places = [term.labels.index(label) for label in summed]
    return {place: found for place in places if (found := along(term.tensor.value, place)) is not None}


def _value(
    op: Operation, one: Term, other: Term, labels: Sequence[Label], summed: Sequence[Label], constants: dict[int, Along]
) -> Along | None:
    """Where the outcome does not depend on the input: all that it is made of is zero, or constant, or has weight 0."""
    weight = other.tensor.value
    if not isinstance(weight, Known):
        return _zeros(one, labels) or _zeros(other, labels)
    if isinstance(one.tensor.value, Known) or not weight.size:
        return None
    free = [label for label in other.labels if label in labels]
    if not free:
        return None
    array = weight.array
    label = next((label for label in summed if one.labels.index(label) in constants), None)
    if label is None:
        reads = any_nonzero(array, [other.labels.index(each) for each in free])
        total = np.zeros(reads.shape, array.dtype)
    else:
        found = constants[one.labels.index(label)]
        rows = np.moveaxis(array, other.labels.index(label), 0)
        names = [each for each in other.labels if each != label]
        kept = [names.index(each) + 1 for each in free if each != label]
        reads = any_nonzero(rows[~found.mask], kept)
        total = weighted_sum(rows[found.mask], found.vector[found.mask], kept)
    for at, name in reversed(list(enumerate(free))):
        others = tuple(each for each in range(len(free)) if each != at)
        first = np.moveaxis(total, at, -1).reshape(-1, total.shape[at])[0]
        same = total == np.expand_dims(first, others)
        value = Along.unless_empty(
            list(labels).index(name), first.astype(array.dtype), (~reads & same).all(axis=others)
        )
        if value is not None and op.shapes[0][value.axis] == len(first):
            return value
    return _zeros(one, labels)


def _zeros(term: Term, labels: Sequence[Label]) -> Along | None:
    """Where the outcome is 0, for a factor is 0 there along an axis that the outcome has."""
    value = term.tensor.value
    if not isinstance(value, Along) or term.labels[value.axis] not in labels:
        return None
    return Along.unless_empty(
        list(labels).index(term.labels[value.axis]), value.vector, value.mask & (value.vector == 0)
    )


def any_nonzero(array: np.ndarray, kept: Sequence[int]) -> np.ndarray:
    """Whether an element is not zero, by the indices of some axes.

    Args:
        array: The elements; looked at part by part, so that little memory is needed.
        kept: The axes, in the order of the outcome.

    Returns:
        A bool array with those axes.
    """
    gone = tuple(axis for axis in range(array.ndim) if axis not in kept)
    order = [axis for axis in range(array.ndim) if axis not in gone]
    found = np.zeros([array.shape[axis] for axis in order], bool)
    for begin, end in _chunks(array):
        part = (array[begin:end] != 0).any(axis=gone)
        if 0 in gone:
            found |= part
        else:
            found[begin:end] = part
    return np.transpose(found, [order.index(axis) for axis in kept])


def weighted_sum(rows: np.ndarray, vector: np.ndarray, kept: Sequence[int]) -> np.ndarray:
    """The sum of rows, each times a number, over all axes but some; in the rows' dtype, computed in a wide one.

    Args:
        rows: Of any shape.
        vector: A number for each index of the first axis.
        kept: Axes of `rows` that stay, none of them the first, in ascending order.
    """
    gone = tuple(axis - 1 for axis in range(1, rows.ndim) if axis not in kept)
    wide = {"c": np.complex128, "i": np.int64, "u": np.int64, "b": np.int64}.get(rows.dtype.kind, np.float64)
    total = np.zeros([rows.shape[axis] for axis in kept], wide)
    used = np.flatnonzero(vector)
    for row, number in zip(rows[used], vector[used].astype(wide), strict=True):
        total += number * row.astype(wide).sum(axis=gone)
    return total.astype(rows.dtype)


def _chunks(array: np.ndarray) -> Iterator[tuple[int, int]]:
    rows = max(1, _CHUNK_BYTES // max(1, array.nbytes // max(1, len(array))))
    for begin in range(0, len(array), rows):
        yield begin, min(begin + rows, len(array))


def check_known(condition: bool) -> None:
    """Raises `BarrierError` unless a condition holds."""
    if not condition:
        raise BarrierError
