"""Trainings that take turns, batch by batch, so that other load on the machine affects all alike."""

import collections
import concurrent.futures
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from _models import STEPS


def step_seconds(fits: Mapping[str, Callable[[Any], object]], callback: type[Any]) -> dict[str, list[float]]:
    """Runs trainings side by side, only one of them at a time within a step.

    A step is all that lies between the beginnings of two batches: what the callbacks do before and after a batch is in
    it.

    Args:
        fits: By name, what calls `fit` with a callback that it is given, for an epoch of `TIMES * STEPS` batches.
        callback: Keras's class of callbacks.

    Returns:
        By name the seconds that a step took, on average over each `STEPS` that count.
    """
    turns = _Turns(fits)

    class Clock(callback):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.seconds: list[float] = []
            self._name = name
            self._start: float | None = None

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if self._start is not None:
                self.seconds.append(time.perf_counter() - self._start)
                turns.pass_on(self._name)
            turns.wait(self._name)
            self._start = time.perf_counter()

    def run(name: str) -> list[float]:
        clock = Clock(name)
        try:
            fits[name](clock)
        finally:
            turns.leave(name)
        counted = clock.seconds[STEPS:]
        return [float(np.mean(counted[i : i + STEPS])) for i in range(0, len(counted) - STEPS + 1, STEPS)]

    with concurrent.futures.ThreadPoolExecutor(len(fits)) as threads:
        return dict(zip(fits, threads.map(run, fits), strict=True))


class _Turns:
    def __init__(self, names: Iterable[str]) -> None:
        self._order = collections.deque(names)
        self._changed = threading.Condition()

    def wait(self, name: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._order[0] == name)

    def pass_on(self, name: str) -> None:
        with self._changed:
            self._order.remove(name)
            self._order.append(name)
            self._changed.notify_all()

    def leave(self, name: str) -> None:
        with self._changed:
            self._order.remove(name)
            self._changed.notify_all()
