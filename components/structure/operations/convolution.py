"""Convolutions."""

import dataclasses
import math

import numpy as np

from ..operation import BarrierError, Operation, operation, pin_sizes
from ..products import Term, any_nonzero, check_known, sum_of_products
from ..site import Mend, count
from ..tensors import Tensor
from ..values import Along, Known, as_sizes
from .spatial import channel_axis

# A kernel with groups is no larger that is looked at as one without.
_MOST_ELEMENTS = 1 << 24


@operation("Conv2D", "Conv3D")
def convolution(op: Operation) -> Tensor:
    """Sums over the places of a kernel, and over all channels, or over those of one group.

    Of a convolution with groups whole groups may go, and the same places in all groups.
    """
    image, kernel = op.inputs
    rank = op.rank(0)
    check_known(kernel.rank == rank)
    channel = channel_axis(op, rank)
    channels = image.shape[channel]
    check_known(channels is not None)
    # As weights, an image would be summed up over all its places, not those below the kernel.
    check_known(isinstance(kernel.value, Known) or not isinstance(image.value, Known))
    places, taps = _pinned_places(op, image, channel), tuple(f"k{at}" for at in range(rank - 2))
    labels = _image_labels(rank, channel, places, "in")
    found = sum_of_products(
        op,
        Term(image, labels),
        Term(kernel if channels == kernel.shape[-2] else _without_groups(op, kernel, channels), (*taps, "in", "out")),
        _image_labels(rank, channel, tuple(f"o{at}" for at in range(rank - 2)), "out"),
        only_zero=_is_padded(op, kernel),
        uncounted=places,
        times=_output_places(op, channel),
    )
    if channels != kernel.shape[-2]:
        op.sites[-1] = dataclasses.replace(op.sites[-1], of_group=kernel.axes[-2])
        # Between the groups there is nothing to multiply.
        sizes = ((image.axes[0], image.shape[0]), *zip(kernel.axes, kernel.shape, strict=True))
        op.costs[-1] = (*_output_places(op, channel), *(count(units, size) for units, size in sizes))
    return found


@operation("DepthwiseConv2dNative")
def depthwise(op: Operation) -> Tensor:
    """Each channel is convolved by itself, to one or several."""
    image, kernel = op.inputs
    check_known(image.rank == kernel.rank == 4)
    channel = channel_axis(op, 4)
    _pinned_places(op, image, channel)
    channels, several = kernel.shape[2], kernel.shape[3]
    check_known(channels is not None and several is not None)
    tied = op.tie(image.axes[channel], kernel.axes[2])
    for axis in (0, 1, 3):
        op.pin(kernel.axes[axis])
    made = tied if several == 1 or tied is None else np.repeat(tied, several)
    axes = [made if axis == channel else units if axis == 0 else None for axis, units in enumerate(image.axes)]
    taps = tuple(size or 1 for size in kernel.shape[:2])
    counts = (*_output_places(op, channel), *taps, count(made, channels * several))
    op.costs.append(counts)
    return op.output(axes, _depthwise_value(op, image, kernel, channel))


@operation("Conv2DBackpropInput", takes_sizes=True)
def transposed(op: Operation) -> Tensor:
    """A transposed convolution, whose first input tells the sizes of what it makes."""
    _, kernel, image = op.inputs
    check_known(image.rank == kernel.rank == 4)
    channel = channel_axis(op, 4)
    check_known(image.shape[channel] == kernel.shape[3] and op.shapes[0][channel] in (None, kernel.shape[2]))
    places = _pinned_places(op, image, channel)
    labels = _image_labels(4, channel, places, "in")
    found = sum_of_products(
        op,
        Term(image, labels),
        Term(kernel, ("k0", "k1", "out", "in")),
        _image_labels(4, channel, ("o0", "o1"), "out"),
        # At places where strided taps do not reach, a constant is not summed up like elsewhere.
        only_zero=True,
    )
    shape = op.shapes[0]
    units = found.axes[channel]
    if units is not None:
        told = as_sizes(op.inputs[0].value)
        if sum(size is None for size in shape) > 0 and (told is None or len(told) != 4 or told[channel].dynamic):
            op.pin(units)
        wanted = tuple(units if axis == channel else size for axis, size in enumerate(shape))
        op.mends.append(Mend(op.node.name, 0, wanted, told))
    else:
        pin_sizes(op.units, op.inputs[0].value)
    return found


def _without_groups(op: Operation, kernel: Tensor, channels: int) -> Tensor:
    """The kernel that does without groups what one does with them; it has zeros for channels of other groups."""
    each, made = kernel.shape[-2:]
    groups = channels // each if each else 0
    check_known(isinstance(kernel.value, Known) and groups > 0 and channels == groups * each and made % groups == 0)
    shape = (*kernel.shape[:-2], channels, made)
    check_known(math.prod(shape) <= _MOST_ELEMENTS)
    of_group, of_output = kernel.axes[-2:]
    group = None if of_output is None else op.factors(of_output.reshape(groups, -1))[0]
    if group is None:
        units = None if of_group is None else np.tile(of_group, groups)
    else:
        units = np.repeat(group, each) if of_group is None else op.product(group, of_group)

    def compute() -> np.ndarray:
        array = kernel.value.array
        found = np.zeros(shape, array.dtype)
        for number in range(groups):
            columns = slice(number * (made // groups), (number + 1) * (made // groups))
            found[..., number * each : (number + 1) * each, columns] = array[..., columns]
        return found

    return Tensor(shape, (*kernel.axes[:-2], units, of_output), Known(shape, compute))


def _image_labels(rank: int, channel: int, places: tuple[str, ...], name: str) -> tuple[str, ...]:
    labels = ["batch", *places]
    labels.insert(channel, name)
    return tuple(labels[:rank])


def _pinned_places(op: Operation, image: Tensor, channel: int) -> tuple[str, ...]:
    """Pins the axes of places; returns their labels."""
    if image.rank is None:
        raise BarrierError
    for axis, units in enumerate(image.axes):
        if axis not in (0, channel):
            op.pin(units)
    return tuple(f"p{at}" for at in range(image.rank - 2))


def _is_padded(op: Operation, kernel: Tensor) -> bool:
    padding = op.attribute("padding")
    if padding == "EXPLICIT":
        return any(op.attribute("explicit_paddings"))
    return padding != "VALID" and any(size != 1 for size in kernel.shape[:-2])


def _output_places(op: Operation, channel: int) -> tuple[int, ...]:
    """The sizes of the outcome's axes of places, 1 where they are unknown: how often a kernel is applied."""
    return tuple(size or 1 for axis, size in enumerate(op.shapes[0]) if axis not in (0, channel))


def _depthwise_value(op: Operation, image: Tensor, kernel: Tensor, channel: int) -> Along | None:
    if not isinstance(kernel.value, Known):
        return None
    array = kernel.value.array
    channels, several = array.shape[2:]
    zero = ~any_nonzero(array, [2, 3]).ravel()
    vector, mask = np.zeros(channels * several, array.dtype), zero
    if isinstance(image.value, Along) and image.value.axis == channel:
        numbers, known = (np.repeat(each, several) for each in (image.value.vector, image.value.mask))
        if _is_padded(op, kernel):
            known = known & (numbers == 0)
        total = array.sum(axis=(0, 1), dtype=np.float64).ravel()
        vector = np.where(known & ~zero, numbers.astype(np.float64) * total, 0.0).astype(array.dtype)
        mask = zero | known
    return Along.unless_empty(channel, vector, mask)
