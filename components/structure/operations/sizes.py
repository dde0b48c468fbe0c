"""Operations that tell sizes, and that compute with them."""

import numpy as np

from ..operation import BarrierError, Operation, operation
from ..site import Mend
from ..tensors import Tensor
from ..values import Along, Known, Size, Sizes, as_sizes


@operation("Shape")
def shape(op: Operation) -> Tensor:
    """The sizes of all axes."""
    tensor = op.inputs[0]
    if tensor.shape is None:
        return op.barrier()[0]
    sizes = []
    for size, axis in zip(tensor.shape, tensor.axes, strict=True):
        if axis is not None:
            sizes.append(Size(1, (axis,)))
        else:
            sizes.append(Size(1, dynamic=1) if size is None else Size(size))
    return op.output((None,), Sizes(tuple(sizes)))


@operation("Prod", takes_sizes=True)
def prod(op: Operation) -> Tensor:
    """The product of sizes."""
    value = op.inputs[0].value
    if not isinstance(value, Sizes) or op.shapes[0] not in ((), (1,)):
        raise BarrierError
    total = Size(1)
    for each in value.sizes:
        total = total * each
    return op.output((None,) * len(op.shapes[0]), Sizes((total,)))


@operation("Fill", takes_sizes=True)
def fill(op: Operation) -> Tensor:
    """One number everywhere, as in the first state of a recurrent layer."""
    told = as_sizes(op.inputs[0].value)
    shape = op.shapes[0]
    if told is None or len(told) != len(shape):
        raise BarrierError
    axes = []
    for size, each in zip(shape, told, strict=True):
        # Sizes that are asked of other axes follow those.
        axes.append(None if each.dynamic or each.axes else op.units.axis(size))
        for axis in each.axes:
            op.pin(axis)
    units = [axis for axis, found in enumerate(axes) if found is not None]
    if not units:
        return op.output(axes)
    op.mends.append(
        Mend(
            op.node.name, 0, tuple(size if axis is None else axis for size, axis in zip(shape, axes, strict=True)), told
        )
    )
    number = op.inputs[1].value
    if not isinstance(number, Known) or isinstance(op.inputs[0].value, Known):
        # All of it is known if both are.
        return op.output(axes)
    size = shape[units[-1]]
    return op.output(axes, Along(units[-1], np.full(size, number.array), np.ones(size, bool)))


def picked(op: Operation, indices: np.ndarray) -> Tensor:
    """Those sizes that have the given indices among those of the first input."""
    sizes = as_sizes(op.inputs[0].value)
    if sizes is None or not all(-len(sizes) <= index < len(sizes) for index in indices.ravel()):
        raise BarrierError
    return op.output((None,) * len(op.shapes[0]), Sizes(tuple(sizes[int(index)] for index in indices.ravel())))
