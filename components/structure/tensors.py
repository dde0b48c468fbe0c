"""Tensor: a place in a traced function."""

import dataclasses
from collections.abc import Callable, Hashable

import numpy as np

from .units import Axis
from .values import Known, Value

# Sizes of a tensor's axes, None where the model's input decides; None for a tensor of unknown rank.
Shape = tuple[int | None, ...] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Holder:
    """What holds a tensor of its own: a variable, or a constant.

    Attributes:
        name: Names it, unique among all.
        shape: Its shape.
        axes: One for each dimension.
        value: What it holds; None if that is not known, or changes.
    """

    name: Hashable
    shape: tuple[int, ...]
    axes: tuple[Axis, ...]
    value: Known | None


@dataclasses.dataclass(frozen=True)
class HeldValue:
    """What a holder is made of.

    Attributes:
        shape: Its shape.
        read: Gives the value; None if that cannot be known.
        is_tensor: Whether functions are given the tensor itself, not a variable that holds it.
    """

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray] | None
    is_tensor: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor that an operation makes, or an argument of a function.

    Attributes:
        shape: Its shape.
        axes: One for each dimension; none if the rank is unknown.
        value: What is known of it; None for nothing.
        holder: What it is read from, unchanged; None if it is computed.
        resource: The variable that it is, if it is no tensor proper.
        element: What each of its elements is, if it is a list of tensors.
    """

    shape: Shape
    axes: tuple[Axis, ...] = ()
    value: Value | None = None
    holder: Holder | None = None
    resource: Holder | None = None
    element: "Tensor | None" = None

    @classmethod
    def opaque(cls, shape: Shape) -> "Tensor":
        """A tensor of which nothing is known, and no axis of which is cut."""
        return cls(shape, (None,) * len(shape or ()))

    @property
    def rank(self) -> int | None:
        """The number of dimensions; None if unknown."""
        return None if self.shape is None else len(self.shape)
