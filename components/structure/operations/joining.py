"""Operations that join tensors."""

import numpy as np

from ..groups import PINNED
from ..operation import BarrierError, Operation, operation
from ..tensors import Tensor
from ..units import Axis
from ..values import Along, Sizes, along, as_sizes


@operation("ConcatV2", takes_sizes=True)
def concat(op: Operation) -> Tensor:
    """Units follow upon each other along one axis, and are tied along the others."""
    *parts, _ = op.inputs
    if sizes := _joined_sizes(op, parts):
        return op.output((None,), sizes)
    rank = len(op.shapes[0])
    axis = int(op.known(len(parts)).reshape(())) % rank
    if any(each.rank != rank for each in parts):
        raise BarrierError
    axes: list[Axis] = []
    for at in range(rank):
        if at == axis:
            axes.append(_joined(op, [(each.shape[at], each.axes[at]) for each in parts]))
            continue
        tied = parts[0].axes[at]
        for each in parts[1:]:
            tied = op.tie(tied, each.axes[at])
        axes.append(tied)
    return op.output(axes, _value(parts, axis, rank))


@operation("Pack", takes_sizes=True)
def pack(op: Operation) -> Tensor:
    """Units are tied along all axes but the new one."""
    if sizes := _joined_sizes(op, op.inputs):
        return op.output((None,), sizes)
    rank = len(op.shapes[0])
    new = op.attribute("axis") % rank
    axes: list[Axis] = []
    for at in range(rank - 1):
        tied = op.inputs[0].axes[at]
        for each in op.inputs[1:]:
            tied = op.tie(tied, each.axes[at])
        axes.append(tied)
    axes.insert(new, None)
    return op.output(axes)


def _joined(op: Operation, parts: list[tuple[int | None, Axis]]) -> Axis:
    if all(units is None for _, units in parts):
        return None
    if any(size is None for size, _ in parts):
        for _, units in parts:
            op.pin(units)
        return None
    return np.concatenate([np.full(size, PINNED) if units is None else units for size, units in parts])


def _joined_sizes(op: Operation, parts: list[Tensor] | tuple[Tensor, ...]) -> Sizes | None:
    """The parts as one vector of sizes, if one of them is sizes of axes."""
    if not any(isinstance(each.value, Sizes) for each in parts):
        return None
    found = [as_sizes(each.value) for each in parts]
    if len(op.shapes[0]) != 1 or any(each is None for each in found):
        raise BarrierError
    return Sizes(tuple(size for each in found for size in each))


def _value(parts: list[Tensor], axis: int, rank: int) -> Along | None:
    for at in {each.value.axis for each in parts if isinstance(each.value, Along)}:
        sizes = [each.shape[at] for each in parts]
        if None in sizes:
            continue
        known = [along(each.value, at) for each in parts]
        if at == axis:
            dtype = next(each.vector.dtype for each in known if each is not None)
            nothing = [Along(at, np.zeros(size, dtype), np.zeros(size, bool)) for size in sizes]
            found = [each or none for each, none in zip(known, nothing, strict=True)]
            vector = np.concatenate([each.vector for each in found])
            return Along.unless_empty(at, vector, np.concatenate([each.mask for each in found]))
        if all(each is not None for each in known):
            vector = known[0].vector
            agree = np.logical_and.reduce([each.mask & (each.vector == vector) for each in known])
            return Along.unless_empty(at, vector, agree)
    return None
