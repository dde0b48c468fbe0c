"""ThinnedSeries: a bounded number of points of a series of unknown length."""

from typing import Generic, TypeVar

Point = TypeVar("Point")

CAPACITY = 512


class ThinnedSeries(Generic[Point]):
    """Every point of a short series; every second, fourth, eighth, ... point of a longer one; and its last.

    Points are costly to compute, so ask first: `if series.due(): series.append(...)`.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        """Begins empty.

        Args:
            capacity: The largest number of points, 2 or more. `end_with` may add one more.
        """
        self._capacity = capacity
        self._stride = 1
        self._seen = 0
        self._kept: list[Point] = []
        self._end: Point | None = None

    def due(self) -> bool:
        """Counts one point of the series; returns whether it is to be appended."""
        self._seen += 1
        return (self._seen - 1) % self._stride == 0

    def append(self, point: Point) -> None:
        """Appends the point that was due."""
        self._end = None
        self._kept.append(point)
        if len(self._kept) > self._capacity:
            self._kept = self._kept[::2]
            self._stride *= 2

    def end_with(self, point: Point) -> None:
        """Makes `point` the last, even if it is not due, until another is appended."""
        self._end = point

    @property
    def points(self) -> tuple[Point, ...]:
        """The points, in order."""
        return (*self._kept, *([] if self._end is None else [self._end]))
