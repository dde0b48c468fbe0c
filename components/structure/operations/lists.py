"""Lists of tensors, which loops take their inputs from."""

from ..operation import BarrierError, Operation, operation
from ..site import Mend
from ..tensors import Tensor
from ..values import Along, Value


@operation("TensorListFromTensor")
def from_tensor(op: Operation) -> Tensor:
    """A list of what a tensor holds for each index of its first axis."""
    tensor = op.inputs[0]
    if not tensor.axes:
        raise BarrierError
    element = Tensor(tensor.shape[1:], tensor.axes[1:], _value(tensor.value))
    _tell(op, 1, element)
    op.pin(tensor.axes[0])
    return Tensor(op.shapes[0], element=element)


@operation("TensorListGetItem", takes_lists=True)
def get_item(op: Operation) -> Tensor:
    """One tensor of a list."""
    element = op.inputs[0].element
    if element is None or len(op.shapes[0]) != element.rank:
        raise BarrierError
    _tell(op, 2, element)
    return op.output(element.axes, element.value)


def _value(value: Value | None) -> Along | None:
    if not isinstance(value, Along) or value.axis == 0:
        return None
    return Along(value.axis - 1, value.vector, value.mask)


def _tell(op: Operation, index: int, element: Tensor) -> None:
    """Has an input of a node tell the shape of an element after a cut."""
    if all(axis is None for axis in element.axes):
        return
    told = op.known(index)
    if told.shape == (element.rank,):
        sizes = (int(size) if axis is None else axis for size, axis in zip(told, element.axes, strict=True))
        op.mends.append(Mend(op.node.name, index, tuple(sizes)))
    elif told.shape:
        raise BarrierError
