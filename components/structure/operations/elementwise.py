"""Operations that work element by element."""

from collections.abc import Callable, Sequence

import numpy as np

from ..evaluation import evaluate
from ..operation import BarrierError, Operation, operation
from ..tensors import Tensor
from ..units import Axis
from ..values import Along, Known, along

_UNARY = (
    "Abs",
    "Ceil",
    "Cos",
    "Elu",
    "Erf",
    "Erfc",
    "Exp",
    "Expm1",
    "Floor",
    "Inv",
    "IsFinite",
    "IsInf",
    "IsNan",
    "LeakyRelu",
    "Log",
    "Log1p",
    "LogicalNot",
    "Neg",
    "OnesLike",
    "Reciprocal",
    "Relu",
    "Relu6",
    "Rint",
    "Round",
    "Rsqrt",
    "Selu",
    "Sigmoid",
    "Sign",
    "Sin",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Square",
    "Tanh",
    "ZerosLike",
)
_BROADCASTING = (
    "Add",
    "AddV2",
    "ClipByValue",
    "Div",
    "DivNoNan",
    "Equal",
    "Greater",
    "GreaterEqual",
    "Less",
    "LessEqual",
    "LogicalAnd",
    "LogicalOr",
    "Maximum",
    "Minimum",
    "Mul",
    "NotEqual",
    "Pow",
    "RealDiv",
    "SelectV2",
    "SquaredDifference",
    "Sub",
)
_PRODUCTS = ("Mul",)
# A weight is no larger that is added, or multiplied by, element by element, and looked at for constants.
_MOST_ELEMENTS = 1 << 20
_DIVISIONS = ("Div", "RealDiv", "Pow")


@operation(*_UNARY, "Cast", "AddN", *_BROADCASTING)
def elementwise(op: Operation) -> Tensor:
    """Each element is made of those at its place, with inputs of size 1 spread."""
    return op.output(broadcast_axes(op, op.inputs), broadcast_value(op, op.inputs))


@operation("Select")
def select(op: Operation) -> Tensor:
    """As SelectV2, if the condition has the shape of what it chooses from."""
    condition, one, _ = op.inputs
    if condition.rank != one.rank:
        raise BarrierError
    return elementwise(op)


@operation("BiasAdd")
def bias_add(op: Operation) -> Tensor:
    """A vector is added along the channels."""
    value, bias = op.inputs
    rank = op.rank(0)
    after = rank - 2 if op.attribute("data_format") == "NCHW" else 0
    spread = Tensor(
        (*(bias.shape or (None,)), *(1,) * after),
        (*(bias.axes or (None,)), *(None,) * after),
        _with_more_axes(bias.value, after),
    )

    def add(arrays: Sequence[np.ndarray]) -> np.ndarray:
        return arrays[0] + arrays[1]

    inputs = (value, spread)
    return op.output(broadcast_axes(op, inputs), broadcast_value(op, inputs, add))


def broadcast_axes(op: Operation, inputs: Sequence[Tensor]) -> list[Axis]:
    """Ties the axes of inputs that are combined element by element; returns those of the outcome."""
    shape = op.shapes[0]
    if any(each.shape is None for each in inputs):
        raise BarrierError
    found: list[Axis] = []
    for axis in range(len(shape)):
        at = axis - len(shape)
        aligned = [(each.shape[at], each.axes[at]) for each in inputs if each.rank >= -at]
        # One of size 1 is spread over any number of units.
        aligned = [(size, units) for size, units in aligned if size != 1]
        tied = aligned[0][1] if aligned else None
        for _, units in aligned[1:]:
            tied = op.tie(tied, units)
        found.append(tied)
    return found


def broadcast_value(
    op: Operation, inputs: Sequence[Tensor], compute: Callable[[Sequence[np.ndarray]], np.ndarray] | None = None
) -> Along | None:
    """What is known of the outcome, where the inputs are partly known."""
    if all(isinstance(each.value, Known) for each in inputs):
        return None
    rank = len(op.shapes[0])
    for axis in sorted({found for each in inputs for found in _candidates(op, each, rank)}, reverse=True):
        size = op.shapes[0][axis]
        if size is not None and (value := _value_along(op, inputs, axis, size, compute)) is not None:
            return value
    return None


def _candidates(op: Operation, tensor: Tensor, rank: int) -> list[int]:
    """The axes, of the outcome, along which something of it may be known for an input's sake."""
    if isinstance(tensor.value, Along):
        return [tensor.value.axis + rank - tensor.rank]
    if op.node.op in _PRODUCTS and isinstance(tensor.value, Known):
        wide = [axis for axis, size in enumerate(tensor.shape) if size > 1]
        return [wide[0] + rank - tensor.rank] if len(wide) == 1 else []
    return []


def _value_along(
    op: Operation,
    inputs: Sequence[Tensor],
    axis: int,
    size: int,
    compute: Callable[[Sequence[np.ndarray]], np.ndarray] | None,
) -> Along | None:
    vectors, masks = [], []
    if op.node.op in _DIVISIONS and any(_is_integer(each) for each in inputs):
        return None  # what stands where nothing is known may be 0
    for each in inputs:
        found = _vector(each, axis - len(op.shapes[0]), size)
        if found is None and op.node.op not in _PRODUCTS:
            return None
        vector, mask = found or (np.zeros(size), np.zeros(size, bool))
        vectors.append(vector)
        masks.append(mask)
    if op.node.op in _PRODUCTS:
        zero = (masks[0] & (vectors[0] == 0)) | (masks[1] & (vectors[1] == 0))
        dtypes = {vector.dtype for vector, each in zip(vectors, masks, strict=True) if each.any()}
        dtype = dtypes.pop()
        vectors = [np.where(mask, vector, 0).astype(dtype) for vector, mask in zip(vectors, masks, strict=True)]
        vector = np.where(zero, np.zeros(size, dtype), vectors[0] * vectors[1])
        return Along.unless_empty(axis, vector, zero | (masks[0] & masks[1]))
    vector = compute(vectors) if compute else evaluate(op.node, vectors)[0]
    return Along.unless_empty(axis, np.broadcast_to(vector, (size,)), np.logical_and.reduce(masks))


def _is_integer(tensor: Tensor) -> bool:
    value = tensor.value
    if isinstance(value, Along):
        return value.vector.dtype.kind in "iu"
    return isinstance(value, Known) and value.array.dtype.kind in "iu"


def _vector(tensor: Tensor, at: int, size: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The values of an input along an axis, counted from the last, and where they are known; None if nowhere."""
    value = tensor.value
    if isinstance(value, Along):
        if value.axis - tensor.rank != at:
            return None
        return np.broadcast_to(value.vector, (size,)), np.broadcast_to(value.mask, (size,))
    if not isinstance(value, Known):
        return None
    axis = at + len(value.shape)
    if axis < 0 or value.shape[axis] == 1:
        # The same number for all of the axis.
        return (np.broadcast_to(value.array.reshape(-1), (size,)), np.ones(size, bool)) if value.size == 1 else None
    found = along(value, axis) if value.size <= _MOST_ELEMENTS else None
    return None if found is None else (found.vector, found.mask)


def _with_more_axes(value: object, count: int) -> Along | Known | None:
    """A vector's value with `count` axes of size 1 behind it."""
    if isinstance(value, Known):
        return Known((*value.shape, *(1,) * count), lambda: value.array.reshape(*value.shape, *(1,) * count))
    return value if isinstance(value, Along) else None
