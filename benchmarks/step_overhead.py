"""Time of a pruned training step over that of a dense one, by criterion, and the bytes that each criterion needs.

An MLP of 3 million weights (batch 128) and a CNN are trained by `fit` on random data, dense and pruned by turns in one
process; the sparsity rises all the while, and the masks are updated every 100 steps. tfmot's `prune_low_magnitude` does
the same with the same models in Keras 2. A cell is the median over epochs of 100 steps, each with one mask update.

Exit status 1 if a ratio is above its bar: 1.03 by magnitude, 1.08 by first order, 1.12 by second order.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from _models import EPOCHS, MODELS, STEPS, random_data
from _table import publish
from tfmot import tfmot_step_seconds

from tfx_pruning import PruningHParams, pruning_scope

_OPTIONS = {
    "magnitude |w|": ("weight", 1.03),
    "first order |w| |dL/dw|": ("first_order_gradient", 1.08),
    "second order w^2 (dL/dw)^2": ("second_order_gradient", 1.12),
}
_DENSE = "dense"


def main() -> int:
    """Times everything, prints the table, and judges it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each model and criterion (default: 5)")
    arguments = parser.parse_args()
    rows, verdicts, passed = [], [], True
    for name, (layers, shape, batch_size) in MODELS.items():
        seconds, needed = _times(layers, shape, batch_size, arguments.rounds)
        dense = float(np.median(seconds[_DENSE]))
        rows.append([f"{name}, dense", f"{1e3 * dense:.2f} ms", "1.000", "0"])
        for option, (_, bar) in _OPTIONS.items():
            ratio = float(np.median(seconds[option])) / dense
            rows.append([f"{name}, {option}", f"{1e3 * ratio * dense:.2f} ms", f"{ratio:.3f}", f"{needed[option]:.2f}"])
            verdict = "pass" if ratio <= bar else "FAIL"
            passed &= ratio <= bar
            verdicts.append(f"{verdict}: {name}, {option}: {ratio:.3f} of the dense step, at most {bar} was wanted.")
        twin = {which: float(np.median(found)) for which, found in tfmot_step_seconds(name, arguments.rounds).items()}
        rows.append([f"{name} in Keras 2, dense", f"{1e3 * twin['dense']:.2f} ms", "1.000", "0"])
        ratio = twin["pruned"] / twin["dense"]
        rows.append([f"{name} in Keras 2, tfmot", f"{1e3 * twin['pruned']:.2f} ms", f"{ratio:.3f}", ""])
    notes = [
        *verdicts,
        f"Median over {arguments.rounds} turns of {EPOCHS - 1} epochs of {STEPS} steps; one mask update in each epoch.",
        "Bytes a weight: what masks, thresholds and gradient states take, over the number of pruned weights.",
    ]
    publish("step_overhead", "Time of a training step", ["model", "step", "ratio", "bytes a weight"], rows, notes)
    return 0 if passed else 1


def _times(
    layers: Callable[[Any], list[Any]], shape: tuple[int, ...], batch_size: int, rounds: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds a step of each counted epoch, and bytes a weight, by criterion."""
    x, y = random_data(shape, batch_size)
    seconds: dict[str, list[float]] = {name: [] for name in (_DENSE, *_OPTIONS)}
    needed = {}
    for _ in range(rounds):
        for name in seconds:
            model = keras.Sequential([keras.Input(shape), *layers(keras.layers)])
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(keras.optimizers.Adam(1e-4), loss, jit_compile=False)
            training = {"x": x, "y": y, "batch_size": batch_size, "epochs": EPOCHS, "verbose": 0}
            clock = _Clock()
            if name == _DENSE:
                model.fit(**training, callbacks=[clock])
            else:
                hparams = PruningHParams(
                    prune_option=_OPTIONS[name][0],
                    target_sparsity=0.9,
                    pruning_frequency=STEPS,
                    sparsity_function_end_step=10 * STEPS * EPOCHS,
                )
                with pruning_scope(hparams) as scope:
                    model.fit(**training, callbacks=[clock])
                states = scope.prunings[0].states
                variables = [getattr(state, kind) for state in states for kind in scope.prunings[0].kinds(hparams)]
                taken = sum(variable.shape.num_elements() * variable.dtype.size for variable in variables)
                needed[name] = taken / sum(state.size for state in states)
            seconds[name] += [epoch / STEPS for epoch in clock.epochs[1:]]
            keras.backend.clear_session()
            print(f"{name}: {1e3 * np.median(seconds[name]):.2f} ms", file=sys.stderr, flush=True)
    return seconds, needed


class _Clock(keras.callbacks.Callback):
    """Seconds of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[float] = []
        self._start = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs.append(time.perf_counter() - self._start)


if __name__ == "__main__":
    sys.exit(main())
