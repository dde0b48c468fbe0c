"""Operations that tell sizes, and that compute with them."""

import numpy as np

from ..operation import BarrierError, Operation, operation
from ..tensors import Tensor
from ..values import Size, Sizes, as_sizes


@operation("Shape")
def shape(op: Operation) -> Tensor:
    """The sizes of all axes."""
    tensor = op.inputs[0]
    if tensor.shape is None:
        return op.barrier()[0]
    sizes = []
    for size, axis in zip(tensor.shape, tensor.axes, strict=True):
        if size is None:
            sizes.append(Size(1, dynamic=1))
        else:
            sizes.append(Size(size) if axis is None else Size(1, (axis,)))
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


@operation("Fill")
def fill(op: Operation) -> Tensor:
    """One number everywhere."""
    return Tensor.opaque(op.shapes[0])


def picked(op: Operation, indices: np.ndarray) -> Tensor:
    """Those sizes that have the given indices among those of the first input."""
    sizes = as_sizes(op.inputs[0].value)
    if sizes is None or not all(-len(sizes) <= index < len(sizes) for index in indices.ravel()):
        raise BarrierError
    return op.output((None,) * len(op.shapes[0]), Sizes(tuple(sizes[int(index)] for index in indices.ravel())))
