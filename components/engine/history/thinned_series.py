"""ThinnedSeries: a bounded number of points of a series whose length nobody knows yet."""

from typing import Generic, TypeVar

Point = TypeVar("Point")

CAPACITY = 512


class ThinnedSeries(Generic[Point]):
    """Every point of a short series; of a longer one every second, fourth, eighth, ..., and the last that was forced.

    Points are costly to compute, so the series is asked first: `if series.due(): series.append(...)`.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        """Begins empty.

        Args:
            capacity: How many points are kept at most, 2 or more; `points` has one more if the last was forced.
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
        """Makes `point` the last, due or not, until another is appended."""
        self._end = point

    @property
    def points(self) -> tuple[Point, ...]:
        """The points, in order."""
        return (*self._kept, *([] if self._end is None else [self._end]))
