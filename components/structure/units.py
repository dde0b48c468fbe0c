"""Units: the indices of axes, and which of them are tied."""

import numpy as np

from .groups import PINNED, Groups, Products

# An axis: the unit of each of its indices, int64 [size]; None for one that is never cut.
Axis = np.ndarray | None

# An axis of more indices than that is not made of two.
_MOST_PRODUCTS = 1 << 16


class Units:
    """Makes units, which are numbers, and ties them together.

    Units that are tied live and die together. Those that are tied to the unit `PINNED` are never cut.
    """

    def __init__(self) -> None:
        """Begins with the pinned unit alone."""
        self._count = 1
        self._ties: list[tuple[np.ndarray, np.ndarray]] = []
        # By two units that which stays if both do, and the other way round.
        self._products: dict[tuple[int, int], int] = {}
        self._factors: dict[int, tuple[int, int]] = {}

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

    def product(self, outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
        """An axis of the elements of two, those of `inner` for each index of `outer`; an index stays if both do.

        Args:
            outer: An axis, int64 [n].
            inner: Another, int64 [m]. If there are more than 65,536 elements `outer` is pinned.

        Returns:
            The axis, int64 [n * m].
        """
        if outer.size * inner.size > _MOST_PRODUCTS:
            self.pin(outer)
            return np.tile(inner, outer.size)
        return np.array([self._product(one, other) for one in outer.tolist() for other in inner.tolist()])

    def factors(self, units: np.ndarray) -> tuple[Axis, Axis]:
        """Two axes whose elements in their order one axis has.

        Args:
            units: Those of the one axis, int64 [n, m], neither of them 0. If there are more than 65,536, those of one
                place in m are tied.

        Returns:
            Axes of n and of m; None for one that does not matter, for the units run by the other alone.
        """
        if len(units) > 1 and (units == units[:, :1]).all():
            return units[:, 0], None
        if (units == units[:1]).all():
            return None, units[0]
        if units.size > _MOST_PRODUCTS:
            self.tie(np.broadcast_to(units[0], units.shape), units)
            return None, units[0]
        pairs = [self._factors.get(unit) for unit in units.ravel().tolist()]
        if None not in pairs:
            outer, inner = (np.array(each).reshape(units.shape) for each in zip(*pairs, strict=True))
            if (outer == outer[:, :1]).all() and (inner == inner[:1]).all():
                return outer[:, 0], inner[0]
        outer, inner = (self.axis(size) for size in units.shape)
        self.tie(self.product(outer, inner), units.ravel())
        return outer, inner

    def groups(self) -> Groups:
        """What is tied so far."""
        one, other = (
            np.concatenate([np.zeros(0, np.int64), *(pair[side].ravel() for pair in self._ties)]) for side in (0, 1)
        )
        units = np.array([(unit, *pair) for pair, unit in self._products.items()], np.int64).reshape(-1, 3)
        return Groups.of_ties(self._count, one, other, Products(*units.T))

    def _product(self, outer: int, inner: int) -> int:
        if outer in (PINNED, inner):
            return inner
        if inner == PINNED:
            return outer
        if (outer, inner) not in self._products:
            self._products[outer, inner] = self._count
            self._factors[self._count] = (outer, inner)
            self._count += 1
        return self._products[outer, inner]
