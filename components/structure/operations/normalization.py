"""Batch normalisation as one operation."""

import numpy as np
import tensorflow as tf

from ..operation import BarrierError, Operation, operation
from ..tensors import Tensor
from ..values import Along, Known
from .spatial import channel_axis


@operation("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
def batch_normalization(op: Operation) -> list[Tensor]:
    """Each channel by itself, by a mean and a variance that are not of the batch."""
    if op.attribute("is_training"):
        raise BarrierError
    tensor, scale, offset, mean, variance = op.inputs
    channel = channel_axis(op, op.rank(0))
    tied = tensor.axes[channel]
    for each in (scale, offset, mean, variance):
        if each.rank != 1:
            raise BarrierError
        tied = op.tie(tied, each.axes[0])
    axes = [tied if axis == channel else units for axis, units in enumerate(tensor.axes)]
    first = op.output(axes, _value(op, channel))
    # The others are the mean and the variance once more, and what only training reads.
    rest = op.shapes[1:]
    return [first, *(Tensor(each, (tied,)) if each == scale.shape else Tensor.opaque(each) for each in rest)]


def _value(op: Operation, channel: int) -> Along | None:
    vectors = [each.value for each in op.inputs[1:]]
    if not all(isinstance(each, Known) for each in vectors):
        return None
    scale, offset, mean, variance = (each.array for each in vectors)
    tensor = op.inputs[0]
    vector, mask = np.zeros(scale.shape, scale.dtype), np.zeros(scale.shape, bool)
    if isinstance(tensor.value, Along) and tensor.value.axis == channel:
        vector, mask = tensor.value.vector, tensor.value.mask
    with np.errstate(all="ignore"):
        deviation = np.sqrt(variance + np.float32(op.attribute("epsilon")))
        normalized = (vector - mean) / deviation * scale + offset
    dtype = tf.as_dtype(op.attribute("T")).as_numpy_dtype
    value = np.where(scale == 0, offset, normalized).astype(dtype)
    return Along.unless_empty(channel, value, mask | (scale == 0))
