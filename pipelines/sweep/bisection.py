"""Bisection: finds the last value of a sequence that passes."""

from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Bisection(Generic[T]):
    """Looks for the last value of a sequence that passes, if all values after the first failure fail too.

    Take `next`, try it, and tell `record` whether it passed, until `next` is None. Of n values, at most
    ceil(log2(n + 1)) are tried, the ends included: `found` is the last value if that one passed, and None if the first
    one failed.

    If values pass and fail in turns, `found` is still a value that passed, and the value after it, if there is one,
    failed.
    """

    def __init__(self, values: Sequence[T]) -> None:
        """Begins the search.

        Args:
            values: The sequence; those most likely to pass come first.
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
            raise ValueError(
                "record must be called while `next` is a value, got None: the search is over, read `found`."
            )
        if passed:
            self._passed = self._middle
        else:
            self._failed = self._middle

    @property
    def _middle(self) -> int:
        return (self._passed + self._failed) // 2
