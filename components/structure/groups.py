"""Groups: units that live and die together, and units that live only if two others do."""

import dataclasses

import numpy as np

PINNED = 0


@dataclasses.dataclass(frozen=True)
class Products:
    """Units that stay if two others stay, such as one of a head's units: if the head stays, and its place in a head.

    Attributes:
        unit: The units, int64 [number].
        outer: For each, one of the two that it is made of; int64 [number].
        inner: The other; int64 [number].
    """

    unit: np.ndarray
    outer: np.ndarray
    inner: np.ndarray

    @classmethod
    def none(cls) -> "Products":
        """No such unit."""
        return cls(*(np.zeros(0, np.int64) for _ in range(3)))

    def labelled(self, label: np.ndarray) -> "Products":
        """The same, of groups, by the group of each unit."""
        return Products(label[self.unit], label[self.outer], label[self.inner])


@dataclasses.dataclass(frozen=True)
class Groups:
    """Units that are tied.

    Attributes:
        label: The group of each unit, int64 [units]; a group is named after its least unit, so `PINNED` is that of all
            units that are never cut.
        products: Groups that are alive exactly if two others are.
    """

    label: np.ndarray
    products: Products

    @classmethod
    def of_ties(cls, count: int, one: np.ndarray, other: np.ndarray, products: Products) -> "Groups":
        """The groups of units that are tied pairwise.

        Args:
            count: How many units there are.
            one: Units, int64 [ties].
            other: What each is tied to, int64 [ties].
            products: Units that stay if two others do. Of two that are tied, those two are tied as well.
        """
        label = _joined(np.arange(count), one, other)
        while True:
            found = products.labelled(label)
            _, first, which = np.unique(found.unit, return_index=True, return_inverse=True)
            like = first[which.reshape(-1)]
            free_outer, free_inner = found.outer == PINNED, found.inner == PINNED
            pinned = found.unit == PINNED
            one = np.concatenate(
                [found.outer, found.inner, found.unit[free_outer], found.unit[free_inner], found.outer[pinned]]
            )
            other = np.concatenate(
                [
                    found.outer[like],
                    found.inner[like],
                    found.inner[free_outer],
                    found.outer[free_inner],
                    np.full(np.count_nonzero(pinned), PINNED),
                ]
            )
            if np.array_equal(one, other):
                proper = ~free_outer & ~free_inner
                return cls(label, Products(found.unit[proper], found.outer[proper], found.inner[proper]))
            label = _joined(label, one, other)

    def of(self, axis: np.ndarray) -> np.ndarray:
        """The group of each index of an axis, int64 [size]."""
        return self.label[axis]

    def close(self, alive: np.ndarray) -> None:
        """Marks all groups as alive that are so for the sake of others.

        Args:
            alive: By group; bool [units], changed in place.
        """
        unit, outer, inner = self.products.unit, self.products.outer, self.products.inner
        before = -1
        while len(unit) and before < (before := np.count_nonzero(alive)):
            alive[outer[alive[unit]]] = True
            alive[inner[alive[unit]]] = True
            alive[unit[alive[outer] & alive[inner]]] = True

    def without_products(self) -> "Groups":
        """Groups none of which depends on two others: of these the outer ones are never cut."""
        outer, unit = self.products.outer, self.products.unit
        one = np.concatenate([outer, unit])
        other = np.concatenate([np.full(outer.shape, PINNED), self.products.inner])
        return Groups(_joined(self.label, one, other), Products.none())


def _joined(label: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The groups of units, by those that they have and by pairs that are tied."""
    label = label.copy()
    while True:
        low, high = label[one], label[other]
        low, high = np.minimum(low, high), np.maximum(low, high)
        apart = low != high
        if not apart.any():
            return label
        one, other = one[apart], other[apart]
        np.minimum.at(label, high[apart], low[apart])
        while not np.array_equal(shorter := label[label], label):
            label = shorter
