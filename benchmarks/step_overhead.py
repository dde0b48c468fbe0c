"""Time of a pruned training step over that of a dense one, by criterion, and the bytes that each criterion needs.

An MLP of 3 million weights (batch 128) and a CNN are trained by `fit` on random data. The dense model and the pruned
ones take turns of one epoch of 100 steps, in one process, so that whatever else the machine does falls on all alike; a
ratio is the median over the rounds of the pruned epoch over the dense one of the same round. The sparsity rises all the
while, and the masks are updated once in an epoch. tfmot's `prune_low_magnitude` does the same with the same models in
Keras 2, one training after the other.

Exit status 1 if a ratio is above its bar: 1.03 by magnitude, 1.08 by first order, 1.12 by second order.
"""

import argparse
import contextvars
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
_TFMOT_ROUNDS = 3


def main() -> int:
    """Times everything, prints the table, and judges it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="turns of each model and criterion (default: 9)")
    arguments = parser.parse_args()
    rows, verdicts, passed = [], [], True
    for name, (layers, shape, batch_size) in MODELS.items():
        seconds, needed = _times(layers, shape, batch_size, arguments.rounds)
        dense = float(np.median(seconds[_DENSE]))
        rows.append([f"{name}, dense", f"{1e3 * dense:.2f} ms", "1.000", "0"])
        for option, (_, bar) in _OPTIONS.items():
            ratio = float(np.median(np.divide(seconds[option], seconds[_DENSE])))
            rows.append([f"{name}, {option}", f"{1e3 * ratio * dense:.2f} ms", f"{ratio:.3f}", f"{needed[option]:.2f}"])
            verdict = "pass" if ratio <= bar else "FAIL"
            passed &= ratio <= bar
            verdicts.append(f"{verdict}: {name}, {option}: {ratio:.3f} of the dense step, at most {bar} was wanted.")
        twin = {which: float(np.median(found)) for which, found in tfmot_step_seconds(name, _TFMOT_ROUNDS).items()}
        rows.append([f"{name} in Keras 2, dense", f"{1e3 * twin['dense']:.2f} ms", "1.000", "0"])
        ratio = twin["pruned"] / twin["dense"]
        rows.append([f"{name} in Keras 2, tfmot", f"{1e3 * twin['pruned']:.2f} ms", f"{ratio:.3f}", ""])
    notes = [
        *verdicts,
        f"Medians over {arguments.rounds} rounds of one epoch of {STEPS} steps each, after one that is not counted; "
        "ratios are of epochs of one round, one mask update in each.",
        f"In Keras 2 medians of {_TFMOT_ROUNDS} trainings of {EPOCHS - 1} such epochs.",
        "Bytes a weight: what masks, thresholds and gradient states take, over the number of pruned weights.",
    ]
    publish("step_overhead", "Time of a training step", ["model", "step", "ratio", "bytes a weight"], rows, notes)
    return 0 if passed else 1


def _times(
    layers: Callable[[Any], list[Any]], shape: tuple[int, ...], batch_size: int, rounds: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds a step of each counted epoch, and bytes a weight, by criterion."""
    x, y = random_data(shape, batch_size)
    models, contexts, scopes = {}, {}, {}
    for name in (_DENSE, *_OPTIONS):
        models[name] = keras.Sequential([keras.Input(shape), *layers(keras.layers)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        models[name].compile(keras.optimizers.Adam(1e-4), loss, jit_compile=False)
        # A scope holds in the context that it was opened in, and for no other model.
        contexts[name] = contextvars.copy_context()
        if name != _DENSE:
            hparams = PruningHParams(
                prune_option=_OPTIONS[name][0],
                target_sparsity=0.9,
                pruning_frequency=STEPS,
                sparsity_function_end_step=10 * STEPS * (rounds + 1),
            )
            scope = pruning_scope(hparams)
            scopes[name] = (scope, contexts[name].run(scope.__enter__))
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for number in range(rounds + 1):
        for name, model in models.items():
            clock = _Clock()
            contexts[name].run(model.fit, x, y, batch_size, verbose=0, callbacks=[clock])
            if number:
                seconds[name] += [epoch / STEPS for epoch in clock.epochs]
    needed = {}
    for name, (manager, scope) in scopes.items():
        states, kinds = scope.prunings[0].states, scope.prunings[0].kinds(scope.hparams)
        variables = [getattr(state, kind) for state in states for kind in kinds]
        taken = sum(variable.shape.num_elements() * variable.dtype.size for variable in variables)
        needed[name] = taken / sum(state.size for state in states)
        contexts[name].run(manager.__exit__, None, None, None)
    keras.backend.clear_session()
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
