"""Trainings that take turns, epoch by epoch, in one process."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from _models import MODELS, STEPS, random_data


class Turns:
    """Runs one training a thread, of which just one works at any time: the first epoch of each, the second of each ...

    Attributes:
        seconds: Seconds a step of each counted epoch, by training.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.seconds: dict[str, list[float]] = {name: [] for name in names}
        self._order = list(names)
        self._changed = threading.Condition()
        self._failures: list[BaseException] = []

    def run(self, train: Callable[[str], None]) -> None:
        """Calls `train` with each name; it must call `begin` before each of its epochs, and `end` after."""
        threads = [threading.Thread(target=self._guarded, args=(train, name)) for name in self._order]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def begin(self, name: str) -> None:
        """Waits for the training's turn."""
        with self._changed:
            self._changed.wait_for(lambda: self._order[0] == name or self._failures)
            if self._failures:
                raise RuntimeError("Another training failed.")

    def end(self, name: str, seconds: float | None) -> None:
        """Hands the turn on; `seconds` a step is kept if given."""
        if seconds is not None:
            self.seconds[name].append(seconds)
        with self._changed:
            self._order.append(self._order.pop(0))
            self._changed.notify_all()

    def _guarded(self, train: Callable[[str], None], name: str) -> None:
        try:
            train(name)
        except BaseException as error:
            with self._changed:
                self._failures.append(error)
                self._changed.notify_all()


def fit_by_turns(
    keras: Any,
    name: str,
    rounds: int,
    turns: Turns,
    which: str,
    wrap: Callable[[Any], Any] = lambda model: model,
    callbacks: Sequence[Any] = (),
) -> None:
    """Fits a model of `MODELS` on random data for as many epochs as there are rounds, and one that is not counted.

    Args:
        keras: Either Keras.
        name: Of the model.
        rounds: Counted epochs.
        turns: Whose turns the epochs are.
        which: The training's name there.
        wrap: What to do with the model before it is compiled.
        callbacks: The training's callbacks.
    """
    layers, shape, batch_size = MODELS[name]

    class TakesTurns(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            turns.begin(which)
            self._start = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seconds = (time.perf_counter() - self._start) / STEPS
            # The first epoch holds the tracing.
            turns.end(which, seconds if epoch else None)

    model = wrap(keras.Sequential([keras.Input(shape), *layers(keras.layers)]))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-4), loss, jit_compile=False)
    x, y = random_data(shape, batch_size)
    own = [TakesTurns(), *callbacks]
    model.fit(x, y, batch_size=batch_size, epochs=rounds + 1, verbose=0, callbacks=own)
