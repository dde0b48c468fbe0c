"""What is known of a tensor without running the model."""

import dataclasses
from collections.abc import Callable

import numpy as np

# A tensor of up to so many bytes is kept once it was computed.
_KEPT_BYTES = 1 << 22
_PART = 1 << 22


class Known:
    """A tensor that does not depend on the model's input.

    Attributes:
        shape: Its shape.
    """

    def __init__(self, shape: tuple[int, ...], compute: Callable[[], np.ndarray]) -> None:
        """Takes what computes the tensor, of that shape."""
        self.shape = shape
        self._compute = compute
        self._array: np.ndarray | None = None

    @classmethod
    def of(cls, array: np.ndarray) -> "Known":
        """An array as a value."""
        return cls(array.shape, lambda: array)

    @property
    def array(self) -> np.ndarray:
        """The tensor; a large one is computed each time."""
        if self._array is not None:
            return self._array
        array = np.asarray(self._compute())
        if array.nbytes <= _KEPT_BYTES:
            self._array = array
        return array

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclasses.dataclass(frozen=True)
class Along:
    """A tensor of which some indices of an axis do not depend on the model's input.

    Attributes:
        axis: The axis.
        vector: By index, the value that every element with that index has; [size] of the tensor's dtype.
        mask: Whether the index has such a value, which is finite; bool [size].
    """

    axis: int
    vector: np.ndarray
    mask: np.ndarray

    @classmethod
    def unless_empty(cls, axis: int, vector: np.ndarray, mask: np.ndarray) -> "Along | None":
        """The value; None if no index has one."""
        with np.errstate(invalid="ignore"):
            mask = mask & np.isfinite(vector) if vector.dtype != object else np.zeros_like(mask)
        return cls(axis, vector, mask) if mask.any() else None


@dataclasses.dataclass(frozen=True)
class Size:
    """The size of an axis, or a product of such, times a number.

    Attributes:
        factor: The number.
        axes: Axes that may be cut, and by whose sizes it is multiplied.
        dynamic: How many sizes, not known before the model runs, it is multiplied by.
    """

    factor: int
    axes: tuple[np.ndarray, ...] = ()
    dynamic: int = 0

    def __mul__(self, other: "Size") -> "Size":
        return Size(self.factor * other.factor, self.axes + other.axes, self.dynamic + other.dynamic)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """A tensor of sizes, of rank 0 or 1.

    Attributes:
        sizes: Its elements.
    """

    sizes: tuple[Size, ...]


Value = Known | Along | Sizes


def is_finite(array: np.ndarray) -> bool:
    """Whether no element is an infinity or NaN; looked at part by part, so that little memory is needed."""
    if array.dtype.kind not in "fcV" or array.dtype.names is not None:
        return True
    flat = array.reshape(-1)
    return all(bool(np.isfinite(flat[at : at + _PART]).all()) for at in range(0, flat.size, _PART))


def as_sizes(value: Value | None) -> tuple[Size, ...] | None:
    """The elements of a value that is a scalar or a vector of sizes; None of any other."""
    if isinstance(value, Sizes):
        return value.sizes
    if isinstance(value, Known) and len(value.shape) <= 1 and value.size <= 64 and value.array.dtype.kind in "iu":
        return tuple(Size(int(each)) for each in value.array.ravel())
    return None


def along(value: Value | None, axis: int) -> Along | None:
    """What is known of the indices of an axis of a tensor.

    Args:
        value: Of the tensor.
        axis: Counted from 0.

    Returns:
        The values of those indices whose elements are all one number; None if there are none.
    """
    if isinstance(value, Along):
        return value if value.axis == axis else None
    if not isinstance(value, Known) or not value.size or value.array.dtype.kind in "OSU":
        return None
    rows = np.moveaxis(value.array, axis, 0)
    vector = rows[(slice(None), *(0,) * (rows.ndim - 1))]
    same = np.array([bool((row == first).all()) for row, first in zip(rows, vector, strict=True)])
    return Along.unless_empty(axis, vector, same)
