"""Time of a pruned training step over that of a dense one, by criterion, and the bytes that each criterion needs.

An MLP of 3 million weights (batch 128) and a CNN are trained by `fit` on random data, dense and pruned, in one process;
the sparsity rises all the while, and the masks are updated every 100 steps. The trainings take turns epoch by epoch,
100 steps and one mask update each, and a ratio is the median over the rounds of pruned over dense of one round: what
else the machine does falls on all alike. tfmot's `prune_low_magnitude` does the same with the same models in Keras 2.

Exit status 1 if a ratio is above its bar: 1.03 by magnitude, 1.08 by first order, 1.12 by second order.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from _models import MODELS, STEPS
from _table import publish
from _turns import Turns, fit_by_turns
from tfmot import tfmot_step_seconds

from tfx_pruning import Pruning, PruningHParams, pruning_scope

_OPTIONS = {
    "magnitude |w|": ("weight", 1.03),
    "first order |w| |dL/dw|": ("first_order_gradient", 1.08),
    "second order w^2 (dL/dw)^2": ("second_order_gradient", 1.12),
}
_DENSE = "dense"


def main() -> int:
    """Times everything, prints the table, and judges it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25, help="counted epochs of each training (default: 25)")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {arguments.rounds}.")
    rows, verdicts, passed = [], [], True
    for name in MODELS:
        seconds, needed = _times(name, arguments.rounds)
        rows.append([f"{name}, dense", f"{1e3 * np.median(seconds[_DENSE]):.2f} ms", "1.000", "", "0"])
        for option, (_, bar) in _OPTIONS.items():
            ratio, low, high = _ratio(seconds[option], seconds[_DENSE])
            milliseconds = f"{1e3 * np.median(seconds[option]):.2f} ms"
            quartiles = f"{low:.3f} to {high:.3f}"
            rows.append([f"{name}, {option}", milliseconds, f"{ratio:.3f}", quartiles, f"{needed[option]:.2f}"])
            verdict = "pass" if ratio <= bar else "FAIL"
            passed &= ratio <= bar
            verdicts.append(f"{verdict}: {name}, {option}: {ratio:.3f} of the dense step, at most {bar} was wanted.")
        twin = tfmot_step_seconds(name, arguments.rounds)
        rows.append([f"{name} in Keras 2, dense", f"{1e3 * np.median(twin['dense']):.2f} ms", "1.000", "", "0"])
        ratio, low, high = _ratio(twin["pruned"], twin["dense"])
        milliseconds = f"{1e3 * np.median(twin['pruned']):.2f} ms"
        rows.append([f"{name} in Keras 2, tfmot", milliseconds, f"{ratio:.3f}", f"{low:.3f} to {high:.3f}", ""])
    notes = [
        *verdicts,
        f"{arguments.rounds} rounds; in each, every training of a model runs {STEPS} steps and one mask update. Steps "
        "are medians, ratios medians of the rounds' own ratios, with their quartiles.",
        "Bytes a weight: what masks, thresholds and gradient states take, over the number of pruned weights.",
    ]
    header = ["model", "step", "ratio", "quartiles", "bytes a weight"]
    publish("step_overhead", "Time of a training step", header, rows, notes)
    return 0 if passed else 1


def _ratio(pruned: Sequence[float], dense: Sequence[float]) -> tuple[float, float, float]:
    """Median of the rounds' ratios, and their quartiles."""
    low, median, high = np.percentile(np.divide(pruned, dense), [25, 50, 75])
    return median, low, high


def _times(name: str, rounds: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds a step of each counted epoch, and bytes a weight, by criterion."""
    turns = Turns([_DENSE, *_OPTIONS])
    needed = {}

    def train(which: str) -> None:
        # Opened here: a scope holds for the thread that opened it.
        with contextlib.nullcontext() if which == _DENSE else pruning_scope(_hparams(which, rounds)) as scope:
            fit_by_turns(keras, name, rounds, turns, which)
        if scope is not None:
            needed[which] = _bytes_a_weight(scope.prunings[0], scope.hparams)

    turns.run(train)
    return turns.seconds, needed


def _hparams(option: str, rounds: int) -> PruningHParams:
    return PruningHParams(
        prune_option=_OPTIONS[option][0],
        target_sparsity=0.9,
        pruning_frequency=STEPS,
        sparsity_function_end_step=10 * STEPS * rounds,
    )


def _bytes_a_weight(pruning: Pruning, hparams: PruningHParams) -> float:
    variables = [getattr(state, kind) for state in pruning.states for kind in pruning.kinds(hparams)]
    taken = sum(variable.shape.num_elements() * variable.dtype.size for variable in variables)
    return taken / sum(state.size for state in pruning.states)


if __name__ == "__main__":
    sys.exit(main())
