"""Whether pruning stays flat: a training of 20,000 steps, and 30 trainings in one process, pruned and dense.

Each training is a process of its own, which tells its processor time and its memory (resident set) as it goes. Exit
status 1 if the pruned steps become slower or take more and more memory than the dense ones do.
"""

import argparse
import gc
import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

import numpy as np
from _table import publish

_PAGE = "reliability.md"
_HOW = ("dense", "pruned")
_BATCH, _PARTS = 32, 10
# The first tenth has imports and tracing in it. Timings vary by some percent from run to run.
_MOST_SLOWER, _MOST_GROWN, _MOST_GROWN_A_FIT = 1.2, 8.0, 0.5


def main() -> int:
    """Runs everything, prints the tables, and judges them; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000, help="of the long training (default: 20000)")
    parser.add_argument("--fits", type=int, default=30, help="in one process (default: 30)")
    parser.add_argument("--task", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task is not None:
        task, how, number = arguments.task
        print(json.dumps((_steps if task == "steps" else _fits)(how, int(number))))
        return 0
    return int(_judge_steps(arguments.steps) | _judge_fits(arguments.fits))


def _judge_steps(steps: int) -> bool:
    found = {how: np.array(_in_own_process("steps", how, steps)) for how in _HOW}
    rows, slower, grown = [], {}, {}
    for how, measured in found.items():
        seconds, memory = np.diff(measured[:, 0]), measured[:, 1] / 2**20
        slower[how], grown[how] = seconds[-1] / np.median(seconds[:-1]), memory[-1] - memory[1]
        of_step = [f"{1e6 * each / (steps / _PARTS):.0f}" for each in (seconds[0], np.median(seconds), seconds[-1])]
        rows.append([how, f"{steps:,}", *of_step, *(f"{memory[at]:.0f}" for at in (1, _PARTS // 2, -1))])
    verdict = slower["pruned"] <= _MOST_SLOWER and grown["pruned"] <= grown["dense"] + _MOST_GROWN
    publish(
        "steps",
        "A long training",
        [
            "training",
            "steps",
            "us, second tenth",
            "us, median",
            "us, last tenth",
            "MB, second tenth",
            "MB, half",
            "MB, end",
        ],
        rows,
        [
            f"{'pass' if verdict else 'FAIL'}: the last tenth of the pruned steps takes {slower['pruned']:.2f} times "
            f"what the median tenth takes ({_MOST_SLOWER} allowed), and memory grows by {grown['pruned']:.1f} MB from "
            f"the second tenth on, dense {grown['dense']:.1f} MB ({_MOST_GROWN:.0f} MB more allowed).",
            "Processor time of a step of `fit`, and the process's resident memory. An MLP of 20, 64, 64 and 1 units, "
            "batches of 32, first order, a mask update each 10 steps, recorded as PruningTrainer does.",
        ],
        page=_PAGE,
    )
    return not verdict


def _judge_fits(fits: int) -> bool:
    found = {how: np.array(_in_own_process("fits", how, fits)) / 2**20 for how in _HOW}
    third = fits // 3
    grown = {how: (memory[-1] - memory[third]) / (fits - 1 - third) for how, memory in found.items()}
    verdict = grown["pruned"] <= grown["dense"] + _MOST_GROWN_A_FIT
    publish(
        "fits",
        "Many trainings in one process",
        ["trainings", "fits", f"MB after {third + 1}", "MB after all", "MB more a fit"],
        [
            [how, str(fits), f"{memory[third]:.0f}", f"{memory[-1]:.0f}", f"{grown[how]:.2f}"]
            for how, memory in found.items()
        ],
        [
            f"{'pass' if verdict else 'FAIL'}: a pruned fit leaves {grown['pruned'] - grown['dense']:.2f} MB more "
            f"behind than a dense one ({_MOST_GROWN_A_FIT} MB allowed).",
            "Each fit is of a new model, in a `pruning_scope` of its own if it is pruned.",
        ],
        page=_PAGE,
    )
    return not verdict


def _in_own_process(task: str, how: str, number: int) -> Any:
    run = subprocess.run(
        [sys.executable, __file__, "--task", task, how, str(number)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    if run.returncode:
        raise RuntimeError(f"{task} {how} failed with exit status {run.returncode}:\n{run.stderr[-4000:]}")
    return json.loads(run.stdout.splitlines()[-1])


def _memory() -> int:
    """Resident bytes of this process, without what could be freed."""
    gc.collect()
    status = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def _fit(how: str, steps: int, callbacks: list[Any]) -> None:
    import keras

    from tfx_pruning import PruningHParams, pruning_scope

    x = np.random.default_rng(1).normal(size=(50 * _BATCH, 20)).astype("float32")
    layers = [keras.layers.Dense(64, "relu"), keras.layers.Dense(64, "relu"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((20,)), *layers])
    model.compile(keras.optimizers.Adam(), "mse", jit_compile=False)
    options = {"batch_size": _BATCH, "epochs": steps // 50, "verbose": 0, "callbacks": callbacks}
    if how == "dense":
        model.fit(x, x[:, :1] * x[:, 1:2], **options)
        return
    hparams = PruningHParams.for_steps(
        steps, prune_option="first_order_gradient", target_sparsity=0.9, pruning_frequency=10
    )
    with pruning_scope(hparams, record=True):
        model.fit(x, x[:, :1] * x[:, 1:2], **options)


def _steps(how: str, steps: int) -> list[tuple[float, int]]:
    """Processor seconds and memory after each tenth of a training."""
    import keras

    found = []

    class Measure(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: object = None) -> None:
            if (epoch + 1) % (steps // 50 // _PARTS) == 0:
                found.append((time.process_time(), _memory()))

    _fit(how, steps, [Measure()])
    return found


def _fits(how: str, fits: int) -> list[int]:
    """Memory after each of many trainings."""
    found = []
    for _ in range(fits):
        _fit(how, 100, [])
        found.append(_memory())
    return found


if __name__ == "__main__":
    sys.exit(main())
