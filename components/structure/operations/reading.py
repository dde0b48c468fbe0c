"""Operations that hand a tensor on as it is, and those that read a variable."""

from ..operation import Operation, operation
from ..tensors import Tensor


@operation(
    "Identity", "StopGradient", "PreventGradient", "Snapshot", "CheckNumerics", takes_sizes=True, takes_lists=True
)
def identity(op: Operation) -> Tensor:
    """The input."""
    return op.inputs[0]


@operation("IdentityN", takes_sizes=True, takes_lists=True)
def identities(op: Operation) -> tuple[Tensor, ...]:
    """The inputs."""
    return op.inputs


@operation("ReadVariableOp")
def read(op: Operation) -> Tensor:
    """A variable's value."""
    holder = op.inputs[0].resource
    if holder is None:
        return op.barrier()[0]
    return Tensor(holder.shape, holder.axes, holder.value, holder)
