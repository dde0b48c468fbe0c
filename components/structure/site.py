"""Sites: where units are read by sums of products, and what a traced function needs mended when they are cut."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from .units import Axis
from .values import Along, Known, Size


@dataclasses.dataclass(frozen=True)
class Factor:
    """One of the two factors of a sum of products.

    Attributes:
        axes: Its axes.
        summed: Those of `axes`, by number, that are summed over.
        value: Its value; None if it is not known.
        constants: By number of a summed axis: what of it does not depend on the input, and may go into a bias.
    """

    axes: tuple[Axis, ...]
    summed: tuple[int, ...]
    value: Known | None
    constants: dict[int, Along] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class Site:
    """A sum of products, such as a matrix product or a convolution.

    Attributes:
        node: The node that computes it.
        operation: Its operation.
        factors: What is multiplied. At most the second's value is known.
        pairs: The summed axes of the first factor and of the second that go together.
        output: The axes of the sum.
        output_of: By axis of the second factor that is not summed: which axis of the sum it is.
        of_group: Of a convolution with groups, whose second factor is the kernel as it would be without: the axis of
            the kernel that it is made of for the channels of one group, which are summed over.
    """

    node: str
    operation: str
    factors: tuple[Factor, Factor]
    pairs: tuple[tuple[int, int], ...]
    output: tuple[Axis, ...]
    output_of: dict[int, int]
    of_group: Axis = None


@dataclasses.dataclass(frozen=True)
class Mend:
    """An input of a node that tells sizes, and has to tell others when units are cut.

    Attributes:
        node: The node.
        index: Of its input.
        sizes: What that must be: numbers; by axes, how many of their units are left; None for one that is not known
            before the model runs.
        told: What the graph computes by itself, by size; None if that is not known.
        operation: The operation that takes the node's place, if that is another; 'Squeeze' if not an input but an
            attribute has to tell the axes that go, which are `sizes` then.
    """

    node: str
    index: int
    sizes: tuple[int | np.ndarray | None, ...]
    told: tuple[Size, ...] | None = None
    operation: str | None = None


@dataclasses.dataclass(frozen=True)
class Gather:
    """An input of a node of which only some indices are taken, for it cannot be cut itself.

    Attributes:
        node: The node.
        index: Of its input.
        axis: Along which indices are taken.
        units: The units of the indices.
    """

    node: str
    index: int
    axis: int
    units: np.ndarray


def count(axis: Axis, size: int | None) -> int | np.ndarray:
    """A size as a factor of the number of multiply-adds: an axis that may be cut, or a number, 1 if unknown."""
    return axis if axis is not None else (size or 1)


def product(counts: Sequence[int | np.ndarray], alive: np.ndarray | None = None) -> int:
    """The product of counts.

    Args:
        counts: Numbers, and axes.
        alive: Whether each unit is left, bool [units]; None for all.
    """
    total = 1
    for each in counts:
        if isinstance(each, np.ndarray):
            total *= each.size if alive is None else int(alive[each].sum())
        else:
            total *= each
    return total
