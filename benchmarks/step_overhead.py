"""Time of a pruned training step over that of a dense one, by criterion, and the bytes that each criterion needs.

An MLP of 3 million weights (batch 128) and a CNN are trained by `fit` on random data. The dense model and the pruned
ones are trained side by side and take turns, batch by batch, in one process, so that whatever else the machine does
falls on all alike; a ratio is the median, over each 100 steps, of the pruned ones' time over the dense ones'. Where a
model's variables lie in memory makes some hundredths of difference, even between dense ones, so there are several
trials, each with new models in another order. The sparsity rises all the while, and the masks are updated once in 100
steps. tfmot's `prune_low_magnitude` does the same with the same models in Keras 2.

Exit status 1 if a ratio is above its bar: 1.03 by magnitude, 1.08 by first order, 1.12 by second order.
"""

import argparse
import functools
import os
import sys
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from _models import MODELS, STEPS, TIMES, random_data
from _table import publish
from _turns import step_seconds
from tfmot import tfmot_step_seconds

from tfx_pruning import PruningHParams, pruning_scope
from tfx_pruning.engine.pruning import variables_of

_OPTIONS = {
    "magnitude |w|": ("weight", 1.03),
    "first order |w| |dL/dw|": ("first_order_gradient", 1.08),
    "second order w^2 (dL/dw)^2": ("second_order_gradient", 1.12),
}
_DENSE = "dense"


def main() -> int:
    """Times everything, prints the table, and judges it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=3, help="trainings of each model by each criterion (default: 3)")
    arguments = parser.parse_args()
    if arguments.trials < 1:
        parser.error(f"--trials must be at least 1, got {arguments.trials}.")
    rows, verdicts, passed = [], [], True
    for name, (layers, shape, batch_size) in MODELS.items():
        seconds: dict[str, list[float]] = {each: [] for each in (_DENSE, *_OPTIONS)}
        for trial in range(arguments.trials):
            found, needed = _times(layers, shape, batch_size, trial)
            for option, epochs in found.items():
                seconds[option] += epochs
        dense = float(np.median(seconds[_DENSE]))
        rows.append([f"{name}, dense", f"{1e3 * dense:.2f} ms", "1.000", "0"])
        for option, (_, bar) in _OPTIONS.items():
            ratio = _ratio(seconds[option], seconds[_DENSE])
            rows.append([f"{name}, {option}", f"{1e3 * ratio * dense:.2f} ms", f"{ratio:.3f}", f"{needed[option]:.2f}"])
            verdict = "pass" if ratio <= bar else "FAIL"
            passed &= ratio <= bar
            verdicts.append(f"{verdict}: {name}, {option}: {ratio:.3f} of the dense step, at most {bar} was wanted.")
        twin = tfmot_step_seconds(name, arguments.trials)
        dense, ratio = float(np.median(twin["dense"])), _ratio(twin["pruned"], twin["dense"])
        rows.append([f"{name} in Keras 2, dense", f"{1e3 * dense:.2f} ms", "1.000", "0"])
        rows.append([f"{name} in Keras 2, tfmot", f"{1e3 * ratio * dense:.2f} ms", f"{ratio:.3f}", ""])
    notes = [
        *verdicts,
        f"Medians over {arguments.trials} trials of {TIMES - 2} times {STEPS} steps each, after as many that are not "
        f"counted; ratios are of {STEPS} steps that took turns, one mask update among them.",
        "Bytes a weight: what masks, thresholds and gradient states take, over the number of pruned weights.",
    ]
    publish("step_overhead", "Time of a training step", ["model", "step", "ratio", "bytes a weight"], rows, notes)
    return 0 if passed else 1


def _ratio(pruned: list[float], dense: list[float]) -> float:
    return float(np.median(np.divide(pruned, dense)))


def _times(
    layers: Callable[[Any], list[Any]], shape: tuple[int, ...], batch_size: int, trial: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds a step, of each 100 that count, and bytes a weight, by criterion."""
    data = random_data(shape, batch_size)
    needed: dict[str, float] = {}

    def fit(name: str, clock: keras.callbacks.Callback) -> None:
        model = keras.Sequential([keras.Input(shape), *layers(keras.layers)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(1e-4), loss, jit_compile=False)
        if name == _DENSE:
            model.fit(data, verbose=0, callbacks=[clock])
            return
        hparams = PruningHParams(
            prune_option=_OPTIONS[name][0],
            target_sparsity=0.9,
            pruning_frequency=STEPS,
            sparsity_function_end_step=10 * STEPS * TIMES,
        )
        # A scope holds for the thread that it is opened in, and for no other model.
        with pruning_scope(hparams) as scope:
            model.fit(data, verbose=0, callbacks=[clock])
        states = scope.prunings[0].states
        variables = [getattr(state, kind) for state in states for kind in variables_of(hparams)]
        taken = sum(variable.shape.num_elements() * variable.dtype.size for variable in variables)
        needed[name] = taken / sum(state.size for state in states)

    names = [_DENSE, *_OPTIONS]
    first = trial % len(names)
    seconds = step_seconds(
        {name: functools.partial(fit, name) for name in names[first:] + names[:first]}, keras.callbacks.Callback
    )
    keras.backend.clear_session()
    return seconds, needed


if __name__ == "__main__":
    sys.exit(main())
