"""Operations over the places of images and sequences, channel by channel."""

import dataclasses

import numpy as np

from ..operation import Operation, operation
from ..tensors import Tensor
from ..values import Along, Known


@operation("MaxPool", "AvgPool", "MaxPool3D", "AvgPool3D")
def pool(op: Operation) -> Tensor:
    """Each channel by itself. Padding counts in none of these, so that a constant stays one."""
    rank = op.rank(0)
    channel = channel_axis(op, rank)
    if op.attribute("ksize")[channel] != 1 or op.attribute("strides")[channel] != 1:
        return op.barrier()[0]
    return _by_channel(op, channel)


@operation("ResizeBilinear", "ResizeNearestNeighbor")
def resize(op: Operation) -> Tensor:
    """Each channel by itself, of the last axis."""
    found = _by_channel(op, 3)
    if isinstance(found.value, Along) and op.node.op == "ResizeBilinear":
        # It makes float32 of anything.
        return dataclasses.replace(found, value=dataclasses.replace(found.value, vector=np.float32(found.value.vector)))
    return found


@operation("SpaceToBatchND", "BatchToSpaceND")
def space_and_batch(op: Operation) -> Tensor:
    """Places become examples and back, as around a dilated convolution; channels stay, and what is padded is 0."""
    tensor = op.inputs[0]
    rank = op.rank(0)
    moved = 1 + op.known(1).size
    for axis in range(moved):
        op.pin(tensor.axes[axis])
    axes = [None if axis < moved else tensor.axes[axis] for axis in range(rank)]
    value = tensor.value
    if not isinstance(value, Along) or value.axis < moved:
        return op.output(axes)
    if op.node.op == "SpaceToBatchND":
        value = Along.unless_empty(value.axis, value.vector, value.mask & (value.vector == 0))
    return op.output(axes, value)


@operation("Pad", "PadV2", "MirrorPad")
def pad(op: Operation) -> Tensor:
    """More places along some axes, which are not cut."""
    tensor = op.inputs[0]
    paddings = op.known(1)
    axes = list(tensor.axes)
    padded = [axis for axis in range(op.rank(0)) if paddings[axis].any()]
    for axis in padded:
        op.pin(axes[axis])
        axes[axis] = None
    value = tensor.value
    if not isinstance(value, Along) or value.axis in padded:
        return op.output(axes)
    if padded and op.node.op != "MirrorPad":
        filling = op.inputs[2].value if op.node.op == "PadV2" else Known.of(np.zeros((), value.vector.dtype))
        if not isinstance(filling, Known):
            return op.output(axes)
        value = Along.unless_empty(value.axis, value.vector, value.mask & (value.vector == filling.array))
    return op.output(axes, value)


def channel_axis(op: Operation, rank: int) -> int:
    """Which axis is that of the channels."""
    return 1 if op.attribute("data_format").startswith("NC") else rank - 1


def _by_channel(op: Operation, channel: int) -> Tensor:
    tensor = op.inputs[0]
    for axis, units in enumerate(tensor.axes):
        if axis not in (0, channel):
            op.pin(units)
    value = tensor.value if isinstance(tensor.value, Along) and tensor.value.axis == channel else None
    axes = [units if axis in (0, channel) else None for axis, units in enumerate(tensor.axes)]
    return op.output(axes, value)
