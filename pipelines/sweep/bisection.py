"""Bisection: finds where the values of a sequence cease to pass."""

from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Bisection(Generic[T]):
    """Looks for the last value of a sequence that passes, if those after the first that does not fail too.

    Take `next`, try it, tell with `record` whether it passed, until `next` is None. Of n values, at most
    ceil(log2(n + 1)) are tried, and the ends are no exception: `found` is the last value if that passed, and None if
    the first one failed.

    Where values pass and fail in turns, `found` is still one that passed, the last of those tried; and the value after
    it, if there is one, failed.
    """

    def __init__(self, values: Sequence[T]) -> None:
        """Begins.

        Args:
            values: In order; those that surely pass, if any do, first.
        """
        self._values = tuple(values)
        self._passed = -1
        self._failed = len(self._values)

    @property
    def next(self) -> T | None:
        """The value to try; None if the search is over."""
        return None if self._failed - self._passed < 2 else self._values[self._middle]

    @property
    def found(self) -> T | None:
        """The last value that passed; None if none has."""
        return None if self._passed < 0 else self._values[self._passed]

    def record(self, passed: bool) -> None:
        """Tells whether `next` passed.

        Raises:
            ValueError: The search is over.
        """
        if self.next is None:
            raise ValueError("The search is over; there is no value that could have passed or failed.")
        if passed:
            self._passed = self._middle
        else:
            self._failed = self._middle

    @property
    def _middle(self) -> int:
        return (self._passed + self._failed) // 2
