"""Operations that take parts of a tensor."""

import dataclasses

import numpy as np

from ..operation import BarrierError, Operation, operation
from ..site import Mend
from ..tensors import Tensor
from ..units import Axis
from ..values import Along, Sizes, Value
from .sizes import picked


@dataclasses.dataclass(frozen=True)
class _Part:
    """What is taken of an axis.

    Attributes:
        axis: Its number; None for a new axis of size 1.
        indices: Those taken; None for all.
        gone: Whether the axis goes, for one index of it is taken.
        position: In the inputs that tell begin and end; None if they do not tell.
    """

    axis: int | None
    indices: range | None = None
    gone: bool = False
    position: int | None = None


@operation("StridedSlice", takes_sizes=True)
def strided_slice(op: Operation) -> Tensor:
    """Slices along several axes."""
    if isinstance(op.inputs[0].value, Sizes):
        return _sliced_sizes(op)
    begin, end, strides = (op.known(index) for index in (1, 2, 3))
    parts = _parts(op, begin, end, strides)
    tensor = op.inputs[0]
    begins: list[int | np.ndarray | None] = [int(each) for each in begin]
    ends: list[int | np.ndarray | None] = [int(each) for each in end]
    axes: list[Axis] = []
    for part in parts:
        units = None if part.axis is None else tensor.axes[part.axis]
        if units is None or part.indices is None:
            taken = units
        elif part.gone or part.indices.step != 1:
            op.pin(units)
            taken = None
        else:
            taken = _some(op, units, part.indices)
            begins[part.position] = units[: part.indices.start]
            ends[part.position] = units[: part.indices.stop]
        if not part.gone:
            axes.append(taken)
    for index, sizes in ((1, begins), (2, ends)):
        if any(isinstance(each, np.ndarray) for each in sizes):
            op.mends.append(Mend(op.node.name, index, tuple(sizes)))
    return op.output(axes, _value(tensor.value, parts))


@operation("Slice")
def slice_(op: Operation) -> Tensor:
    """A slice along each axis."""
    tensor = op.inputs[0]
    begin, size = op.known(1), op.known(2)
    begins: list[int | np.ndarray | None] = [int(each) for each in begin]
    sizes: list[int | np.ndarray | None] = [int(each) for each in size]
    axes: list[Axis] = []
    parts = []
    for axis, units in enumerate(tensor.axes):
        length = tensor.shape[axis]
        if begin[axis] == 0 and (size[axis] == -1 or size[axis] == length):
            parts.append(_Part(axis))
            axes.append(units)
            if units is not None:
                sizes[axis] = -1 if size[axis] == -1 else units
            continue
        if length is None:
            parts.append(_Part(axis, range(0)))
            axes.append(None)
            continue
        stop = length if size[axis] == -1 else int(begin[axis] + size[axis])
        parts.append(_Part(axis, range(int(begin[axis]), stop)))
        axes.append(None if units is None else _some(op, units, parts[-1].indices))
        if units is not None:
            begins[axis] = units[: int(begin[axis])]
            sizes[axis] = units[int(begin[axis]) : stop]
    for index, found in ((1, begins), (2, sizes)):
        if any(isinstance(each, np.ndarray) for each in found):
            op.mends.append(Mend(op.node.name, index, tuple(found)))
    return op.output(axes, _value(tensor.value, parts))


@operation("Split")
def split(op: Operation) -> list[Tensor]:
    """Equal parts along an axis; if they are cut to parts that differ, SplitV takes its place."""
    return _split(op, op.inputs[1], int(op.known(0).reshape(())), 1, "SplitV")


@operation("SplitV")
def split_v(op: Operation) -> list[Tensor]:
    """Parts along an axis."""
    return _split(op, op.inputs[0], int(op.known(2).reshape(())), 1, None)


@operation("Unpack")
def unpack(op: Operation) -> list[Tensor]:
    """One tensor for each index of an axis."""
    tensor = op.inputs[0]
    axis = op.attribute("axis") % op.rank(0)
    op.pin(tensor.axes[axis])
    axes = [units for at, units in enumerate(tensor.axes) if at != axis]
    return [op.output(axes, None, index) for index in range(len(op.shapes))]


def _split(op: Operation, tensor: Tensor, axis: int, index: int, operation_after: str | None) -> list[Tensor]:
    if tensor.rank is None:
        raise BarrierError
    axis %= tensor.rank
    sizes = [shape[axis] for shape in op.shapes]
    if None in sizes or sum(sizes) != tensor.shape[axis]:
        raise BarrierError
    found, parts = [], []
    begin = 0
    for number, size in enumerate(sizes):
        units = tensor.axes[axis]
        taken = None if units is None else _some(op, units, range(begin, begin + size))
        parts.append(size if taken is None else taken)
        axes = [taken if at == axis else each for at, each in enumerate(tensor.axes)]
        whole = [_Part(at, range(begin, begin + size) if at == axis else None) for at in range(tensor.rank)]
        found.append(op.output(axes, _value(tensor.value, whole), number))
        begin += size
    if tensor.axes[axis] is not None:
        op.mends.append(Mend(op.node.name, index, tuple(parts), operation=operation_after))
    return found


def _some(op: Operation, units: np.ndarray, indices: range) -> Axis:
    """Some units of an axis; a single one is never cut, for there would be nothing left."""
    taken = units[indices.start : indices.stop]
    if len(taken) < 2:
        op.pin(taken)
        return None
    return taken


def _sliced_sizes(op: Operation) -> Tensor:
    count = len(op.inputs[0].value.sizes)
    begin, end, strides = (op.known(index) for index in (1, 2, 3))
    if len(begin) != 1 or op.attribute("ellipsis_mask") or op.attribute("new_axis_mask"):
        raise BarrierError
    if op.attribute("shrink_axis_mask"):
        return picked(op, begin)
    start = None if op.attribute("begin_mask") else int(begin[0])
    stop = None if op.attribute("end_mask") else int(end[0])
    return picked(op, np.arange(count)[slice(start, stop, int(strides[0]))])


def _parts(op: Operation, begin: np.ndarray, end: np.ndarray, strides: np.ndarray) -> list[_Part]:
    masks = {
        name: op.attribute(name)
        for name in ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    }

    def is_set(name: str, position: int) -> bool:
        return bool(masks[name] >> position & 1)

    tensor, found = op.inputs[0], []
    rank = op.rank(0)
    positions = range(len(begin))
    named = sum(not is_set("ellipsis_mask", each) and not is_set("new_axis_mask", each) for each in positions)
    for position in positions:
        axis = sum(part.axis is not None for part in found)
        if is_set("ellipsis_mask", position):
            found.extend(_Part(axis + each) for each in range(rank - named))
        elif is_set("new_axis_mask", position):
            found.append(_Part(None))
        else:
            size = tensor.shape[axis]
            gone = is_set("shrink_axis_mask", position)
            start = None if is_set("begin_mask", position) and not gone else int(begin[position])
            stop = None if is_set("end_mask", position) and not gone else int(end[position])
            step = int(strides[position])
            if gone:
                found.append(_Part(axis, range(0), True, position))
            elif start is None and stop is None and step == 1:
                found.append(_Part(axis))
            elif size is None:
                found.append(_Part(axis, range(0), False, position))
            else:
                found.append(_Part(axis, range(*slice(start, stop, step).indices(size)), False, position))
    axis = sum(part.axis is not None for part in found)
    return found + [_Part(each) for each in range(axis, rank)]


def _value(value: Value | None, parts: list[_Part]) -> Along | None:
    if not isinstance(value, Along):
        return None
    kept = [part for part in parts if not part.gone]
    for at, part in enumerate(kept):
        if part.axis == value.axis:
            indices = slice(None) if part.indices is None else list(part.indices)
            return Along.unless_empty(at, value.vector[indices], value.mask[indices])
    return None
