"""Test accuracy of a CNN pruned to 98 % on MNIST-1D, with its dense model as a teacher and without.

The CNN has three 1-D convolutions, and dropout before the last layer. For each seed it is trained dense, and pruned
from there by `PruningHParams.for_steps`: without a teacher, and with the dense model as the teacher at
several weights and temperatures. All of a seed have the same images in the same order. The data is made by the package
mnist1d: 4,000 signals to train on and 1,000 to test.

Steps with and without the teacher are timed by turns, batch by batch, in one process.

Exit status 1 if a bar is missed: the row of `PruningHParams`' default temperature and a weight of one half is better
than the row without a teacher by at least .01 and by two standard errors, and its step takes at most 1.5 times as long.

Trainings share no state, so a run that was cut short goes on where it stood if it is given the same `--cache` again.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from _mnist1d import (
    BATCH,
    DROPOUT,
    EPOCHS,
    FILTERS,
    KERNEL,
    RATE,
    STEPS_PER_EXECUTION,
    compiled,
    mnist1d,
    parsed_arguments,
)
from _models import STEPS, TIMES
from _results_file import ResultsFile
from _table import publish
from _turns import step_seconds

from tfx_pruning import PruningHParams, pruning_scope

_SPARSITY = 0.98
_ALONE = "no teacher"
_JUDGED = "teacher, w = 0.5, T = 3"
# By row: fields of PruningHParams.
_ROWS: Mapping[str, Mapping[str, float]] = {
    _ALONE: {},
    _JUDGED: {"distill_weight": 0.5},
    "teacher, w = 0.5, T = 5": {"distill_weight": 0.5, "temperature": 5.0},
}
_LEAST_GAIN, _MOST_TIME = 0.01, 1.5
_DENSE = "dense"
_TIMES_KEY = ["seconds of a step", FILTERS, KERNEL, BATCH, _JUDGED]
# Test accuracy, and accuracy on the data that was trained on.
Result = tuple[float, float]


def main() -> int:
    """Trains and times everything, prints the table, and judges it; returns the exit status."""
    arguments = parsed_arguments(__doc__)
    data, cache = mnist1d(arguments.mnist1d_python), ResultsFile(arguments.cache)
    if _TIMES_KEY not in cache:
        cache[_TIMES_KEY] = _step_seconds(data)
    seconds = cache[_TIMES_KEY]
    ratio = float(np.median(np.divide(seconds[_JUDGED], seconds[_ALONE])))
    results = _results(data, cache, arguments)
    alone, taught = (results[row] for row in (_ALONE, _JUDGED))
    gain = float(np.mean(taught) - np.mean(alone))
    error = _standard_error(taught, alone)
    passed = {
        f"{_JUDGED}: {gain:+.4f} against {_ALONE}, a standard error of {error:.4f}; at least {_LEAST_GAIN} and two "
        "standard errors were wanted": gain >= max(_LEAST_GAIN, 2 * error),
        f"a step with the teacher takes {ratio:.2f} of one without; at most {_MOST_TIME} was wanted": ratio
        <= _MOST_TIME,
    }
    publish(
        "teacher",
        "A teacher",
        ["model", "test accuracy", "on the training data", "against no teacher"],
        [_row(name, results[name], results[f"{name}, train"], alone) for name in (_DENSE, *_ROWS)],
        [
            *(f"{'pass' if met else 'FAIL'}: {what}." for what, met in passed.items()),
            f"MNIST-1D, three convolutions of {FILTERS} filters and a kernel of {KERNEL}, dropout of {DROPOUT:g} "
            f"before the last layer; {EPOCHS} epochs of Adam at {RATE:g}, batch {BATCH}, dense and pruned to "
            f"{_SPARSITY:.0%}, starting from the dense model.",
            f"Means over {len(alone)} seeds and the standard deviation; a difference with its standard error, over the "
            "seeds' differences.",
            "mnist1d 0.0.2.post1, `make_dataset()`, in an environment of its own.",
        ],
    )
    return 0 if all(passed.values()) else 1


def _row(name: str, accuracies: Sequence[float], of_training: Sequence[float], alone: Sequence[float]) -> list[str]:
    against = "" if name in (_DENSE, _ALONE) else f"{np.mean(accuracies) - np.mean(alone):+.4f}"
    against += f" +- {_standard_error(accuracies, alone):.4f}" if against else ""
    return [
        f"{name}, {_SPARSITY:.0%}" if name != _DENSE else name,
        f"{np.mean(accuracies):.4f} +- {np.std(accuracies, ddof=1):.4f}",
        f"{np.mean(of_training):.4f}",
        against,
    ]


def _standard_error(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Of the mean of the differences, seed by seed."""
    return float(np.std(np.subtract(ours, theirs), ddof=1) / np.sqrt(len(ours)))


def _results(
    data: Mapping[str, np.ndarray], cache: ResultsFile, arguments: argparse.Namespace
) -> dict[str, list[float]]:
    """Accuracies by row, and by 'ROW, train'; trains, in `--jobs` processes, what the cache does not have."""
    seeds = [seed for seed in range(arguments.seeds) if _key(seed) not in cache]
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(arguments.jobs, context) as processes:
        jobs = {processes.submit(_of_seed, dict(data), seed): seed for seed in seeds}
        for done in concurrent.futures.as_completed(jobs):
            cache[_key(jobs[done])] = done.result()
            print(f"seed {jobs[done]}: {done.result()}", file=sys.stderr, flush=True)
    found: dict[str, list[float]] = {}
    for seed in range(arguments.seeds):
        for row, (tested, trained) in cache[_key(seed)].items():
            found.setdefault(row, []).append(tested)
            found.setdefault(f"{row}, train", []).append(trained)
    return found


def _key(seed: int) -> list[Any]:
    """What the results of a seed depend on."""
    rows = {row: _hparams(row).to_string() for row in _ROWS}
    return [FILTERS, KERNEL, DROPOUT, BATCH, EPOCHS, RATE, rows, seed]


def _hparams(row: str, steps: int = EPOCHS * 4000 // BATCH) -> PruningHParams:
    return PruningHParams.for_steps(steps, target_sparsity=_SPARSITY, **_ROWS[row])


def _of_seed(data: Mapping[str, np.ndarray], seed: int) -> dict[str, Result]:
    """Accuracies of the dense model of a seed and of all that are pruned from it."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(seed)
    dense = compiled(STEPS_PER_EXECUTION)
    _fit(dense, data)
    found = {_DENSE: _accuracies(dense, data)}
    for row in _ROWS:
        keras.utils.set_random_seed(seed)
        network = compiled(STEPS_PER_EXECUTION)
        network.set_weights(dense.get_weights())
        with pruning_scope(_hparams(row), teacher=dense if _ROWS[row] else None):
            _fit(network, data)
        found[row] = _accuracies(network, data)
    return found


def _fit(network: keras.Model, data: Mapping[str, np.ndarray]) -> None:
    network.fit(data["x"], data["y"], batch_size=BATCH, epochs=EPOCHS, verbose=0)


def _accuracies(network: keras.Model, data: Mapping[str, np.ndarray]) -> Result:
    def accuracy(x: np.ndarray, y: np.ndarray) -> float:
        return float((network(x).numpy().argmax(axis=1) == y).mean())

    return accuracy(data["x_test"], data["y_test"]), accuracy(data["x"], data["y"])


def _step_seconds(data: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """Seconds of a pruned step without and with the teacher, by turns."""
    rows = np.random.default_rng(0).integers(0, len(data["x"]), TIMES * STEPS * BATCH)
    x, y = data["x"][rows], data["y"][rows]

    def fit(row: str) -> Callable[[Any], object]:
        def of_callback(callback: Any) -> None:
            network = compiled()
            with pruning_scope(_hparams(row, TIMES * STEPS), teacher=compiled() if _ROWS[row] else None):
                network.fit(x, y, batch_size=BATCH, callbacks=[callback], verbose=0)

        return of_callback

    return step_seconds({row: fit(row) for row in (_ALONE, _JUDGED)}, keras.callbacks.Callback)


if __name__ == "__main__":
    sys.exit(main())
