"""Tile, which repeats a tensor along its axes."""

import numpy as np

from ..operation import BarrierError, Operation, operation
from ..tensors import Tensor
from ..units import Axis
from ..values import Along, Size, Sizes, as_sizes


@operation("Tile", takes_sizes=True)
def tile(op: Operation) -> Tensor:
    """Each unit stands once in each repetition of its axis, and goes from all of them."""
    tensor = op.inputs[0]
    told = as_sizes(op.inputs[1].value)
    if isinstance(tensor.value, Sizes) or told is None or len(told) != op.rank(0):
        raise BarrierError
    axes: list[Axis] = []
    for units, times in zip(tensor.axes, told, strict=True):
        for each in times.axes:
            # It would be repeated fewer times.
            op.pin(each)
        if _is_number(times):
            axes.append(None if units is None else np.tile(units, times.factor))
        else:
            op.pin(units)
            axes.append(None)
    return op.output(axes, _value(tensor, told))


def _is_number(times: Size) -> bool:
    return not times.dynamic and not times.axes and times.factor > 0


def _value(tensor: Tensor, told: tuple[Size, ...]) -> Along | None:
    value = tensor.value
    if not isinstance(value, Along) or not _is_number(told[value.axis]):
        return None
    times = told[value.axis].factor
    return Along(value.axis, np.tile(value.vector, times), np.tile(value.mask, times))
