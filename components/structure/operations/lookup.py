"""Operations that take rows of a table."""

from ..operation import BarrierError, Operation, operation, pin_sizes
from ..tensors import Tensor
from ..values import Along, Known, Sizes, along
from .sizes import picked


@operation("ResourceGather")
def resource_gather(op: Operation) -> Tensor:
    """Rows of a variable, none of which is cut; its columns are units."""
    holder = op.inputs[0].resource
    if holder is None or op.attribute("batch_dims") or not holder.shape:
        raise BarrierError
    return _rows(op, Tensor(holder.shape, holder.axes, holder.value, holder))


@operation("GatherV2", takes_sizes=True)
def gather(op: Operation) -> Tensor:
    """Slices along one axis, of which no index is cut."""
    if isinstance(op.inputs[0].value, Sizes):
        return picked(op, op.known(1))
    for each in op.inputs:
        pin_sizes(op.units, each.value)
    axis = int(op.known(2).reshape(()))
    if axis not in (0, -op.rank(0)) or op.attribute("batch_dims"):
        raise BarrierError
    return _rows(op, op.inputs[0])


def _rows(op: Operation, table: Tensor) -> Tensor:
    op.pin(table.axes[0])
    indices = op.inputs[1]
    if indices.rank is None:
        raise BarrierError
    for axis in indices.axes:
        op.pin(axis)
    value = None
    if isinstance(table.value, (Known, Along)) and len(table.shape) > 1:
        last = along(table.value, len(table.shape) - 1)
        value = None if last is None else Along(indices.rank + len(table.shape) - 2, last.vector, last.mask)
    return op.output((*(None,) * indices.rank, *table.axes[1:]), value)
