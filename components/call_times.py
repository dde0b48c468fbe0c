"""CallTimes: how long the calls of a model take, and calls of several models by turns."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_LEAST_TURNS = 10


def in_milliseconds(value: float) -> str:
    """A time as text: '1.25 ms'."""
    return f"{value:.3g} ms"


@dataclasses.dataclass(frozen=True)
class CallTimes:
    """How long the calls of one model took, in milliseconds.

    Attributes:
        median: Half of the calls took no longer.
        lower: The lower quartile.
        upper: The upper quartile.
        calls: How many calls were timed.
    """

    median: float
    lower: float
    upper: float
    calls: int

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> "CallTimes":
        """Takes the milliseconds of each call, at least one."""
        # One value has no quartiles for `statistics` before Python 3.13.
        times = milliseconds if len(milliseconds) > 1 else [*milliseconds] * 2
        lower, median, upper = statistics.quantiles(times, n=4, method="inclusive")
        return cls(median, lower, upper, len(milliseconds))

    def in_words(self) -> str:
        """Median and quartiles as text: '1.25 ms (1.2 to 1.31)'."""
        return f"{in_milliseconds(self.median)} ({self.lower:.3g} to {self.upper:.3g})"


def milliseconds_by_turns(
    calls: Mapping[str, Callable[[], Any]], warm_up: int, most_turns: int, seconds: float
) -> dict[str, list[float]]:
    """Calls each function once a turn, so that other load on the machine affects all alike.

    Args:
        calls: Functions by name. Each returns when its answer is there.
        warm_up: How many turns go before, untimed.
        most_turns: How many turns are timed.
        seconds: No turn begins after so many seconds, once there were ten.

    Returns:
        By name, the milliseconds of each call.
    """
    for _ in range(warm_up):
        for call in calls.values():
            call()
    found: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    begun = time.perf_counter()
    for turn in range(most_turns):
        if turn >= _LEAST_TURNS and time.perf_counter() - begun > seconds:
            break
        # No function always follows the same one.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            calls[name]()
            found[name].append((time.perf_counter() - start) * 1e3)
    return found
