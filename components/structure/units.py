"""Units: the indices of axes, and which of them are tied."""

import dataclasses

import numpy as np

# An axis: the unit of each of its indices, int64 [size]; None for one that is never cut.
Axis = np.ndarray | None

PINNED = 0


class Units:
    """Makes units, which are numbers, and ties them together.

    Units that are tied live and die together. Those that are tied to the unit `PINNED` are never cut.
    """

    def __init__(self) -> None:
        """Begins with the pinned unit alone."""
        self._count = 1
        self._ties: list[tuple[np.ndarray, np.ndarray]] = []

    def axis(self, size: int | None) -> Axis:
        """A new axis of `size` units of its own; None if the size is unknown, or below 2, which is never cut."""
        if size is None or size < 2:
            return None
        begin = self._count
        self._count += size
        return np.arange(begin, self._count)

    def tie(self, one: Axis, other: Axis) -> Axis:
        """Ties two axes index by index, and returns one of them; if only one can be cut it is pinned.

        Args:
            one: An axis.
            other: Another of the same size.

        Returns:
            The axis that stands for both.
        """
        if one is None or other is None:
            self.pin(one)
            self.pin(other)
            return None
        if one is not other:
            self._ties.append((one, other))
        return one

    def pin(self, axis: Axis) -> None:
        """Says that an axis is never cut."""
        if axis is not None:
            self._ties.append((axis, np.full(axis.shape, PINNED)))

    def groups(self) -> "Groups":
        """What is tied so far."""
        if not self._ties:
            return Groups(np.arange(self._count))
        one, other = (np.concatenate([pair[side].ravel() for pair in self._ties]) for side in (0, 1))
        labels = np.arange(self._count)
        while True:
            low, high = labels[one], labels[other]
            low, high = np.minimum(low, high), np.maximum(low, high)
            apart = low != high
            if not apart.any():
                return Groups(labels)
            one, other = one[apart], other[apart]
            np.minimum.at(labels, high[apart], low[apart])
            while not np.array_equal(shorter := labels[labels], labels):
                labels = shorter


@dataclasses.dataclass(frozen=True)
class Groups:
    """Units that are tied.

    Attributes:
        label: The group of each unit, int64 [units]; a group is named after its least unit, so `PINNED` is that of all
            units that are never cut.
    """

    label: np.ndarray

    def of(self, axis: np.ndarray) -> np.ndarray:
        """The group of each index of an axis, int64 [size]."""
        return self.label[axis]
