"""Operations that sum up axes."""

import math

from ..operation import Operation, operation
from ..tensors import Tensor
from ..units import Axis
from ..values import Along


@operation("Mean", "Max", "Min", "Sum", "All", "Any")
def reduce(op: Operation) -> Tensor:
    """Some axes go, or become 1; each of their units is read."""
    tensor = op.inputs[0]
    rank = op.rank(0)
    reduced = {int(axis) % rank for axis in op.known(1).ravel()}
    for axis in reduced:
        op.pin(tensor.axes[axis])
    keep = bool(op.attribute("keep_dims"))
    order = [axis for axis in range(rank) if keep or axis not in reduced]
    axes: list[Axis] = [None if axis in reduced else tensor.axes[axis] for axis in order]
    return op.output(axes, _value(op, tensor, reduced, order))


@operation("Softmax", "LogSoftmax")
def softmax(op: Operation) -> Tensor:
    """Each element depends on all along the last axis."""
    axes = op.inputs[0].axes
    op.pin(axes[-1])
    return op.output((*axes[:-1], None))


@operation("ArgMax", "ArgMin")
def arg_max(op: Operation) -> Tensor:
    """The index of an element along an axis."""
    rank = op.rank(0)
    gone = int(op.known(1).reshape(())) % rank
    axes = op.inputs[0].axes
    op.pin(axes[gone])
    return op.output([units for axis, units in enumerate(axes) if axis != gone])


def _value(op: Operation, tensor: Tensor, reduced: set[int], order: list[int]) -> Along | None:
    value = tensor.value
    if not isinstance(value, Along) or value.axis in reduced:
        return None
    vector = value.vector
    if op.node.op == "Sum":
        sizes = [tensor.shape[axis] for axis in reduced]
        if None in sizes:
            return None
        vector = (vector * math.prod(sizes)).astype(vector.dtype)
    return Along.unless_empty(order.index(value.axis), vector, value.mask)
