"""Operations that put axes in another order, or make and remove axes of size 1."""

from ..operation import BarrierError, Operation, operation
from ..site import Mend
from ..tensors import Tensor
from ..values import Along, Sizes, Value


@operation("Transpose")
def transpose(op: Operation) -> Tensor:
    """Axes in another order."""
    order = [int(axis) % op.rank(0) for axis in op.known(1)]
    tensor = op.inputs[0]
    return op.output([tensor.axes[axis] for axis in order], _moved(tensor.value, order))


@operation("ReverseV2")
def reverse(op: Operation) -> Tensor:
    """Some axes backwards, which are not cut."""
    tensor = op.inputs[0]
    reversed_axes = {int(axis) % op.rank(0) for axis in op.known(1).ravel()}
    for axis in reversed_axes:
        op.pin(tensor.axes[axis])
    axes = [None if axis in reversed_axes else units for axis, units in enumerate(tensor.axes)]
    value = tensor.value
    return op.output(axes, value if isinstance(value, Along) and value.axis not in reversed_axes else None)


@operation("ExpandDims", takes_sizes=True)
def expand_dims(op: Operation) -> Tensor:
    """One more axis, of size 1."""
    tensor = op.inputs[0]
    if isinstance(tensor.value, Sizes):
        return op.output((None,), tensor.value) if op.rank(0) == 0 else op.barrier()[0]
    rank = op.rank(0) + 1
    new = int(op.known(1).reshape(())) % rank
    order: list[int | None] = list(range(rank - 1))
    order.insert(new, None)
    return op.output([None if axis is None else tensor.axes[axis] for axis in order], _moved(tensor.value, order))


@operation("Squeeze", takes_sizes=True)
def squeeze(op: Operation) -> Tensor:
    """Fewer axes of size 1; those that go are named after a cut, which may make others of size 1."""
    tensor = op.inputs[0]
    if isinstance(tensor.value, Sizes):
        return op.output(() if op.shapes[0] == () else (None,), tensor.value)
    gone = [axis % op.rank(0) for axis in op.attribute("squeeze_dims")]
    if not gone:
        if None in tensor.shape:
            raise BarrierError
        gone = [axis for axis, size in enumerate(tensor.shape) if size == 1]
        if not gone:
            # No attribute says that none goes, should a cut leave an axis of size 1.
            raise BarrierError
        op.mends.append(Mend(op.node.name, 0, tuple(gone), operation="Squeeze"))
    order = [axis for axis in range(op.rank(0)) if axis not in gone]
    return op.output([tensor.axes[axis] for axis in order], _moved(tensor.value, order))


def _moved(value: Value | None, order: list[int | None]) -> Along | None:
    """A value along an axis, when the axes are those of `order`."""
    if isinstance(value, Along) and value.axis in order:
        return Along(order.index(value.axis), value.vector, value.mask)
    return None
