"""Time, memory and size of stripping, by the size of the model, beside `cp`.

Models are chains of Dense layers with Adam's moments and first-order pruning state (mask, threshold, gradient) beside
the weights, 90 % pruned. Each is made, stripped, and its kept variables copied by `cp`, in processes of their own; `cp`
and the stripping take turns. Seconds of the stripping are those of `strip_saved_model`, without the import of
TensorFlow. Memory is the process's peak; TensorFlow's own is the peak of a process that strips a tiny model.

Exit status 1 if a bar is missed: at 1 GiB at most 3 times the time of `cp`; peak memory above TensorFlow's own at most
1.5 times the kept variables from 1 GiB on; size on disk at most 5 % above the kept variables from 10 MB on.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from _measured_process import report_measured, run_measured
from _table import publish

# Units of a layer, and how many layers.
_MODELS = {"1 MB": (256, 4), "10 MB": (512, 10), "100 MB": (2048, 6), "1 GiB": (4096, 16), "3 GiB": (8192, 12)}
_BASELINE = "1 MB"
_JUDGED_TIME = "1 GiB"
_JUDGED_MEMORY = ("1 GiB", "3 GiB")
_MOST_TIME, _MOST_MEMORY, _MOST_SIZE = 3.0, 1.5, 1.05
_SPARSITY = 0.9


def main() -> int:
    """Times everything, prints the table, and judges it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=list(_MODELS), default=list(_MODELS), help="(default: all)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of `cp` and of the stripping (default: 3)")
    parser.add_argument("--folder", type=pathlib.Path, help="where the models are made, 20 GB (default: a new one)")
    parser.add_argument("--task", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        task, folder = arguments.task
        _TASKS[task](folder, *arguments.sizes)
        return 0
    if arguments.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {arguments.rounds}.")
    rows, verdicts, own_memory = [], [], 0
    for size in dict.fromkeys([_BASELINE, *arguments.sizes]):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            measured = _measured(size, folder, arguments.rounds)
        kept = _kept_bytes(size)
        if size == _BASELINE:
            own_memory = measured["memory"]
        memory = (measured["memory"] - own_memory) / kept
        cells = (measured["source"], measured["stripped"], measured["memory"])
        ratio = measured["strip"] / measured["cp"]
        rows.append(
            [
                size,
                *(f"{each / 1e6:,.1f}" for each in cells),
                f"{memory:.2f}",
                f"{measured['strip']:.2f}",
                f"{measured['cp']:.2f}",
                f"{ratio:.1f}",
            ]
        )
        if size == _JUDGED_TIME:
            verdicts.append(("time over that of cp", size, ratio, _MOST_TIME))
        if size in _JUDGED_MEMORY:
            verdicts.append(("memory above TensorFlow's own over the kept variables", size, memory, _MOST_MEMORY))
        if size != _BASELINE:
            verdicts.append(("size over the kept variables", size, measured["stripped"] / kept, _MOST_SIZE))
    publish(
        "strip",
        "Stripping",
        [
            "kept variables",
            "source, MB",
            "stripped, MB",
            "peak memory, MB",
            "above TensorFlow's own / kept",
            "strip, s",
            "cp of the kept, s",
            "strip / cp",
        ],
        rows,
        [
            *(
                f"{'pass' if found <= most else 'FAIL'}: {size}: {what}: {found:.2f}, at most {most} was wanted."
                for what, size, found, most in verdicts
            ),
            f"Seconds are medians of {arguments.rounds} turns, files in the page cache; MB are 10^6 bytes. The first "
            "row's memory counts as TensorFlow's own.",
        ],
    )
    return int(any(found > most for _, _, found, most in verdicts))


def _kept_bytes(size: str) -> int:
    units, layers = _MODELS[size]
    return 4 * units * units * layers


def _measured(size: str, folder: str, rounds: int) -> dict[str, float]:
    """Seconds (medians) of 'strip' and 'cp', bytes of 'memory' (the most), 'source' and 'stripped'."""
    run_measured(__file__, "make", folder, "--sizes", size)
    seconds: dict[str, list[float]] = {"strip": [], "cp": []}
    memory = 0
    for _ in range(rounds):
        subprocess.run(["rm", "-rf", f"{folder}/stripped", f"{folder}/copy"], check=True)
        taken, peak = run_measured(__file__, "strip", folder, "--sizes", size)
        seconds["strip"].append(taken)
        memory = max(memory, peak)
        start = time.perf_counter()
        subprocess.run(["cp", "-r", f"{folder}/stripped/variables", f"{folder}/copy"], check=True)
        seconds["cp"].append(time.perf_counter() - start)
    sizes = {name: _bytes_of(pathlib.Path(folder, name)) for name in ("source", "stripped")}
    found = {"memory": memory, **sizes, **{name: float(np.median(times)) for name, times in seconds.items()}}
    print(f"{size}: {found}", file=sys.stderr, flush=True)
    return found


def _bytes_of(folder: pathlib.Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _make(folder: str, size: str) -> None:
    import keras
    import tensorflow as tf

    from tfx_pruning import Pruning, PruningHParams

    units, layers = _MODELS[size]
    model = keras.Sequential(
        [keras.Input((units,)), *(keras.layers.Dense(units, "relu", False) for _ in range(layers))]
    )
    model.compile(keras.optimizers.Adam())
    model.optimizer.build(model.trainable_variables)
    hparams = PruningHParams(
        prune_option="first_order_gradient",
        target_sparsity=_SPARSITY,
        sparsity_function_end_step=1,
        pruning_frequency=1,
    )
    pruning = Pruning(hparams, model)
    pruning.conditional_mask_update(1, [tf.convert_to_tensor(weight) for weight in model.trainable_variables])
    serve = tf.function(
        lambda features: {"outputs": model(features)}, input_signature=[tf.TensorSpec([None, units], name="features")]
    )
    tf.saved_model.save(model, f"{folder}/source", signatures={"serving_default": serve})
    report_measured(0.0)


def _strip(folder: str, size: str) -> None:
    import tensorflow as tf

    from tfx_pruning import strip_saved_model

    del size
    tf.constant(0)  # starts TensorFlow
    start = time.perf_counter()
    strip_saved_model(f"{folder}/source", f"{folder}/stripped")
    report_measured(time.perf_counter() - start)


_TASKS = {"make": _make, "strip": _strip}


if __name__ == "__main__":
    sys.exit(main())
