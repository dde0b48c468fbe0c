"""Channels: indices of a model's axes that live and die together, and what is left of the model without some."""

import dataclasses
import math
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence

import numpy as np

from .groups import PINNED
from .trace import Trace

# In place of a channel, for an index that is never cut.
NONE = -1


@dataclasses.dataclass(frozen=True, eq=False)
class AxisSize:
    """How many indices of an axis are left.

    Attributes:
        fixed: How many of them are never cut.
        families: The families whose channels are indices of the axis, int64 [number].
        counts: How many indices each channel of these families is; int64 [number].
    """

    fixed: int
    families: np.ndarray
    counts: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Product:
    """A number that is a product of sizes: of a tensor's elements, or of an operation's multiply-adds.

    Attributes:
        factor: What of it does not change.
        axes: The axes whose sizes it is multiplied by, as indices of `Channels.sizes`.
    """

    factor: int
    axes: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Channels:
    """The channels of a model.

    Attributes:
        family: The family of each channel, int64 [channels]. Channels of one family are alike: cutting one of them
            leaves axes of the same sizes as cutting another.
        axes: By holder, for each of its axes the channel of each index, int64 [size], `NONE` for an index that is never
            cut; None for an axis without channels. Holders without channels are not in it.
        sizes: Sizes of axes; see `Product.axes`.
        parameters: The number of elements of each holder in `axes`, in its order.
        multiply_adds: The multiply-adds of each sum of products for one example.
    """

    family: np.ndarray
    axes: Mapping[Hashable, tuple[np.ndarray | None, ...]]
    sizes: tuple[AxisSize, ...]
    parameters: tuple[Product, ...]
    multiply_adds: tuple[Product, ...]

    @property
    def count(self) -> int:
        """The number of channels."""
        return len(self.family)

    @property
    def family_sizes(self) -> np.ndarray:
        """The number of channels of each family, int64 [families]."""
        return np.bincount(self.family)

    def total(self, products: Sequence[Product], kept: np.ndarray | None = None) -> int:
        """The sum of products.

        Args:
            products: `parameters` or `multiply_adds`.
            kept: How many channels of each family are left, integers [families]; None for all.
        """
        kept = self.family_sizes if kept is None else kept
        sizes = [each.fixed + int((kept[each.families] * each.counts).sum()) for each in self.sizes]
        return sum(each.factor * math.prod(sizes[axis] for axis in each.axes) for each in products)


def channels_of(
    trace: Trace,
    holders: Collection[Hashable],
    *,
    frozen: Collection[Hashable] = (),
    made_by: Collection[Hashable],
) -> Channels:
    """Finds the channels of a model: indices of axes that are tied, and none of which is never cut.

    Args:
        trace: Of the model.
        holders: The names of the variables that count. A channel is an index of at least one of them.
        frozen: The names of variables that keep their shapes.
        made_by: The names of variables, at least one of which must make a channel: it is an index of one of its axes
            that no sum of products sums over.

    Returns:
        The channels, numbered in the order in which the holders, their axes and the indices first show them.
    """
    label = trace.groups.without_products().label
    fixed = np.zeros(len(label), bool)
    fixed[PINNED] = True
    for name in frozen:
        for axis in trace.holders[name].axes:
            if axis is not None:
                fixed[label[axis]] = True
    made = np.zeros(len(label), bool)
    for axis in _made_axes(trace, made_by):
        made[label[axis]] = True
    fixed |= ~made
    order = [name for name in trace.holders if name in holders]
    groups = [label[axis] for name in order for axis in trace.holders[name].axes if axis is not None]
    shown = np.concatenate([np.zeros(0, np.int64), *groups])
    shown = shown[~fixed[shown]]
    firsts, at = np.unique(shown, return_index=True)
    number = np.full(len(label), NONE)
    number[firsts[np.argsort(at)]] = np.arange(len(firsts))

    def channel_of(axis: np.ndarray | None) -> np.ndarray | None:
        if axis is None:
            return None
        found = number[label[axis]]
        return found if (found != NONE).any() else None

    axes = {name: tuple(map(channel_of, trace.holders[name].axes)) for name in order}
    axes = {name: each for name, each in axes.items() if any(axis is not None for axis in each)}
    made_of = _Products(len(firsts))
    parameters = [made_of.product(_counts(trace.holders[name].shape, axes[name])) for name in axes]
    costs = [
        made_of.product([_count_of(each, channel_of) for each in cost]) for call in trace.calls() for cost in call.costs
    ]
    family = made_of.families()
    return Channels(family, axes, made_of.sizes(family), tuple(parameters), tuple(costs))


def _counts(shape: Sequence[int], axes: Sequence[np.ndarray | None]) -> list[int | np.ndarray]:
    return [size if axis is None else axis for size, axis in zip(shape, axes, strict=True)]


def _count_of(count: int | np.ndarray, channel_of: Callable[[np.ndarray], np.ndarray | None]) -> int | np.ndarray:
    if not isinstance(count, np.ndarray):
        return count
    axis = channel_of(count)
    return count.size if axis is None else axis


def _made_axes(trace: Trace, names: Collection[Hashable]) -> Iterator[np.ndarray]:
    """The axes of variables that no sum of products sums over."""
    summed = {
        id(factor.axes[number])
        for call in trace.calls()
        for site in call.sites
        for factor in site.factors
        if factor.value is not None  # what it is multiplied by may go on with the axis that another weight made
        for number in factor.summed
    }
    summed.update(id(site.of_group) for call in trace.calls() for site in call.sites)
    for name in names:
        yield from (axis for axis in trace.holders[name].axes if axis is not None and id(axis) not in summed)


class _Products:
    """Collects axes, each once, and the products that they are factors of."""

    def __init__(self, channels: int) -> None:
        self._channels = channels
        self._numbers: dict[bytes, int] = {}
        self._axes: list[np.ndarray] = []

    def product(self, counts: Sequence[int | np.ndarray]) -> Product:
        """The product of numbers, and of axes, each given by the channels of its indices."""
        axes = [self._number(each) for each in counts if isinstance(each, np.ndarray)]
        return Product(math.prod(each for each in counts if not isinstance(each, np.ndarray)), tuple(axes))

    def families(self) -> np.ndarray:
        """The family of each channel; see `Channels`."""
        family, coming = np.zeros(self._channels, np.int64), 1
        for axis in self._axes:
            channels, counts = np.unique(axis[axis != NONE], return_counts=True)
            pairs, parted = np.unique(np.stack([family[channels], counts]), axis=1, return_inverse=True)
            family[channels] = coming + parted.reshape(-1)
            coming += pairs.shape[1]
        # Numbered in the order in which the channels show them.
        _, firsts, family = np.unique(family, return_index=True, return_inverse=True)
        number = np.empty(len(firsts), np.int64)
        number[np.argsort(firsts)] = np.arange(len(firsts))
        return number[family.reshape(-1)]

    def sizes(self, family: np.ndarray) -> tuple[AxisSize, ...]:
        """How the sizes of the axes follow from how many channels of each family are left."""
        found = []
        for axis in self._axes:
            channels, counts = np.unique(axis[axis != NONE], return_counts=True)
            families, at = np.unique(family[channels], return_index=True)
            found.append(AxisSize(int((axis == NONE).sum()), families, counts[at]))
        return tuple(found)

    def _number(self, axis: np.ndarray) -> int:
        key = axis.tobytes()
        if key not in self._numbers:
            self._numbers[key] = len(self._axes)
            self._axes.append(axis)
        return self._numbers[key]
