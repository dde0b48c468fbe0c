"""Time and memory of shrinking, beside stripping alone.

Each model has units that are dead by construction; it is made, stripped, and stripped and shrunk, in processes of their
own, and the two take turns. Seconds are those of `strip_saved_model`, without the import of TensorFlow. Memory is the
process's peak; TensorFlow's own is the peak of a process that strips a tiny model.

Exit status 1 if a bar is missed: MobileNetV2 and the chain of 500 layers take at most 2 times the time of stripping
alone; with 1 GiB of variables the peak memory above TensorFlow's own is at most 1.5 times the variables.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from _measured_process import report_measured, run_measured
from _table import publish

_TINY = "4 Dense layers of 16"
_MOST_TIME, _MOST_MEMORY = 2.0, 1.5
_LARGE = "16 Dense layers of 4096, 1 GiB"
_JUDGED_TIME = ("MobileNetV2, 96x96", "500 Dense layers of 64")


def main() -> int:
    """Times everything, prints the table, and judges it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(_MODELS), default=list(_MODELS), help="(default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of both (default: 5)")
    parser.add_argument("--folder", type=pathlib.Path, help="where the models are made, 4 GB (default: a new one)")
    parser.add_argument("--task", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        task, folder = arguments.task
        _TASKS[task](folder, *arguments.models)
        return 0
    if arguments.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {arguments.rounds}.")
    rows, verdicts, own_memory = [], [], 0
    for name in dict.fromkeys([_TINY, *arguments.models]):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            seconds, memory, size = _measured(name, folder, arguments.rounds)
        if name == _TINY:
            own_memory = memory["strip"]
        ratio = seconds["shrink"] / seconds["strip"]
        above = {task: (peak - own_memory) / size for task, peak in memory.items()}
        rows.append(
            [
                name,
                f"{size / 1e6:,.1f}",
                f"{seconds['strip']:.2f}",
                f"{seconds['shrink']:.2f}",
                f"{ratio:.2f}",
                f"{memory['strip'] / 1e6:,.0f}",
                f"{memory['shrink'] / 1e6:,.0f}",
                f"{above['shrink']:.2f}" if name == _LARGE else "",
            ]
        )
        if name in _JUDGED_TIME:
            verdicts.append(("time over that of stripping alone", name, ratio, _MOST_TIME))
        if name == _LARGE:
            verdicts.append(("memory above TensorFlow's own over the variables", name, above["shrink"], _MOST_MEMORY))
    publish(
        "shrink_time",
        "Shrinking: time and memory",
        [
            "model",
            "variables, MB",
            "strip, s",
            "strip and shrink, s",
            "ratio",
            "peak memory of strip, MB",
            "and of shrink, MB",
            "above TensorFlow's own / variables",
        ],
        rows,
        [
            *(
                f"{'pass' if found <= most else 'FAIL'}: {name}: {what}: {found:.2f}, at most {most} was wanted."
                for what, name, found, most in verdicts
            ),
            f"Half of each model's units are dead. Seconds are medians of {arguments.rounds} turns. The first row's "
            "memory counts as TensorFlow's own.",
        ],
    )
    return int(any(found > most for _, _, found, most in verdicts))


def _measured(name: str, folder: str, rounds: int) -> tuple[dict[str, float], dict[str, int], int]:
    """Seconds (medians) and bytes of memory (the most) of both tasks, and bytes of the model's variables."""
    run_measured(__file__, "make", folder, "--models", name)
    seconds: dict[str, list[float]] = {"strip": [], "shrink": []}
    memory = dict.fromkeys(seconds, 0)
    for _ in range(rounds):
        for task, times in seconds.items():
            subprocess.run(["rm", "-rf", f"{folder}/{task}"], check=True)
            taken, peak = run_measured(__file__, task, folder, "--models", name)
            times.append(taken)
            memory[task] = max(memory[task], peak)
    # Of the stripped model: what Keras exports has each variable twice.
    size = sum(file.stat().st_size for file in pathlib.Path(folder, "strip", "variables").iterdir())
    medians = {task: float(np.median(times)) for task, times in seconds.items()}
    print(f"{name}: {medians} {memory}", file=sys.stderr, flush=True)
    return medians, memory, size


def _chain(units: int, layers: int) -> Callable[[], object]:
    def build() -> object:
        import keras

        return keras.Sequential(
            [
                keras.Input((units,)),
                *(keras.layers.Dense(units, "relu") for _ in range(layers - 1)),
                keras.layers.Dense(8),
            ]
        )

    return build


def _mobilenet() -> object:
    import keras

    return keras.applications.MobileNetV2((96, 96, 3), weights=None, classes=10)


_MODELS = {
    _TINY: _chain(16, 4),
    "MobileNetV2, 96x96": _mobilenet,
    "500 Dense layers of 64": _chain(64, 500),
    _LARGE: _chain(4096, 16),
}


def _make(folder: str, name: str) -> None:
    """Saves a model of which half of the units make nothing: their weights and biases are zero."""
    model = _MODELS[name]()
    for layer in model.layers[:-1]:
        weights = layer.get_weights()
        # Those that widen, and chains: what adds to others' channels would have to be dead in all of them.
        if weights and (layer.name.endswith("_expand") or layer.name.startswith("dense")):
            layer.set_weights([np.concatenate([each[..., ::2], 0 * each[..., 1::2]], -1) for each in weights])
    model.export(f"{folder}/source", verbose=False)
    report_measured(0.0)


def _strip(folder: str, name: str, shrink: bool = False) -> None:
    import tensorflow as tf

    from tfx_pruning import strip_saved_model

    tf.constant(0)  # starts TensorFlow
    start = time.perf_counter()
    report = strip_saved_model(f"{folder}/source", f"{folder}/{'shrink' if shrink else 'strip'}", shrink=shrink)
    report_measured(time.perf_counter() - start)
    if shrink and not report.shrink.variables:
        raise RuntimeError(f"{name}: nothing was cut, so that this measures too little.")


def _shrink(folder: str, name: str) -> None:
    _strip(folder, name, shrink=True)


_TASKS = {"make": _make, "strip": _strip, "shrink": _shrink}


if __name__ == "__main__":
    sys.exit(main())
