"""Reshape, with which one unit becomes a run of indices, and such a run a unit."""

import math

import numpy as np

from ..operation import BarrierError, Operation, operation
from ..site import Mend
from ..tensors import Shape, Tensor
from ..units import Axis
from ..values import Along, Size, Sizes, Value, as_sizes

# Axes of the input and of the output, by number, that hold the same elements.
Block = tuple[list[int], list[int]]


@operation("Reshape", takes_sizes=True)
def reshape(op: Operation) -> Tensor:
    """Other axes for the same elements in the same order."""
    tensor = op.inputs[0]
    shape = op.shapes[0]
    if isinstance(tensor.value, Sizes):
        return op.output((None,) * len(shape), tensor.value) if len(shape) <= 1 else op.barrier()[0]
    if tensor.shape is None:
        raise BarrierError
    told = as_sizes(op.inputs[1].value)
    if told is not None and len(told) != len(shape):
        told = None
    if told is not None:
        shape = tuple(_size(each) if size is None else size for size, each in zip(shape, told, strict=True))
    axes: list[Axis] = [None] * len(shape)
    value: Value | None = None
    blocks = _blocks(tensor.shape, shape)
    matched = {axis for before, _ in blocks for axis in before}
    for axis, units in enumerate(tensor.axes):
        if axis not in matched:
            op.pin(units)
    for before, after in blocks:
        sizes = [shape[axis] for axis in after]
        merged = _merged(op, [tensor.axes[axis] for axis in before], [tensor.shape[axis] for axis in before])
        for axis, units in zip(after, _split(op, merged, sizes), strict=True):
            axes[axis] = units
        if isinstance(tensor.value, Along) and tensor.value.axis in before:
            value = _value(tensor, before, after, sizes)
    if any(units is not None for units in axes):
        _pin_untold(op, shape, axes, told)
        wanted = tuple(size if units is None else units for size, units in zip(shape, axes, strict=True))
        op.mends.append(Mend(op.node.name, 1, wanted, told))
    else:
        for size in told or ():
            for units in size.axes:
                op.pin(units)
    return Tensor(shape, tuple(axes), value)


def _size(told: Size) -> int | None:
    """A size that is told, if it is known before the model runs."""
    if told.dynamic or told.factor < 0:
        return None
    return told.factor * math.prod(axis.size for axis in told.axes)


def _pin_untold(op: Operation, shape: Shape, axes: list[Axis], told: tuple[Size, ...] | None) -> None:
    """Pins what no vector of sizes could tell, for several sizes are known to the running model alone."""
    for size, each in zip(shape, told or (), strict=False):
        if size is None:
            for units in each.axes:
                op.pin(units)
    if sum(size is None for size in shape) > 1:
        for at, units in enumerate(axes):
            if told is None or told[at].dynamic:
                op.pin(units)


def _blocks(before: Shape, after: Shape) -> list[Block]:
    """The smallest groups of axes that hold the same elements, from the last as far as sizes are known."""
    found: list[Block] = []
    old, new = len(before) - 1, len(after) - 1
    while old >= 0 or new >= 0:
        block: Block = ([], [])
        products = [1, 1]
        if old >= 0:
            block[0].append(old)
        if new >= 0:
            block[1].append(new)
        while True:
            sizes = [before[axis] for axis in block[0]], [after[axis] for axis in block[1]]
            if not all(map(all, sizes)):
                return found  # a size is unknown, or 0
            products = [math.prod(each) for each in sizes]
            if products[0] == products[1]:
                break
            smaller = int(products[0] > products[1])
            following = (old, new)[smaller] - len(block[smaller])
            if following < 0:
                return found
            block[smaller].append(following)
        old -= len(block[0])
        new -= len(block[1])
        found.append((block[0][::-1], block[1][::-1]))
    return found


def _merged(op: Operation, axes: list[Axis], sizes: list[int]) -> Axis:
    """One axis in place of several: an index of it stays if the units of all axes that it is of do."""
    merged: Axis = None
    before = 1
    for units, size in zip(axes, sizes, strict=True):
        if units is None:
            merged = None if merged is None else np.repeat(merged, size)
        else:
            merged = np.tile(units, before) if merged is None else op.product(merged, units)
        before *= size
    return merged


def _split(op: Operation, merged: Axis, sizes: list[int]) -> list[Axis]:
    """Several axes in place of one."""
    found: list[Axis] = []
    rest = merged
    for size in reversed(sizes):
        if rest is None or size == 1:
            found.append(None)
            continue
        rest, units = op.factors(rest.reshape(-1, size))
        found.append(units)
    return found[::-1]


def _value(tensor: Tensor, before: list[int], after: list[int], sizes: list[int]) -> Along | None:
    value = tensor.value
    olds = [tensor.shape[axis] for axis in before]

    def spread(vector: np.ndarray) -> np.ndarray:
        shape = [size if axis == value.axis else 1 for axis, size in zip(before, olds, strict=True)]
        return np.broadcast_to(vector.reshape(shape), olds).reshape(sizes)

    vectors, masks = spread(value.vector), spread(value.mask)
    for at, axis in reversed(list(enumerate(after))):
        others = tuple(each for each in range(len(after)) if each != at)
        first = np.moveaxis(vectors, at, -1).reshape(-1, sizes[at])[0]
        same = (vectors == first.reshape([sizes[at] if each == at else 1 for each in range(len(sizes))])) & masks
        found = Along.unless_empty(axis, first, same.all(axis=others))
        if found is not None:
            return found
    return None
