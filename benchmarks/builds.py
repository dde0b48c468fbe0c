"""Time of mask updates, over that of another build of this package: `python benchmarks/builds.py PATH`.

PATH is a working tree of another commit (`git worktree add --detach PATH COMMIT`). Two things are timed, in seconds of
the processor: all until the first mask update is done, from making `Pruning` on, in a new process for each turn; and
one more update, in one process in which both builds take turns. Before that, both must have the same masks and
thresholds, bit for bit, after their first update. A pass is one function compiled by XLA that reads the weight and
writes a mask of a byte a weight.

Exit status 1 if a ratio is above its bar.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import keras
import numpy as np
import tensorflow as tf
from _builds import load_build
from _table import publish

_HERE = pathlib.Path(__file__).resolve().parents[1]
_MATRICES = {"4M": (2000, 2000), "25M": (5000, 5000)}
_RUNS_DOWN, _RUNS_ACROSS = {"n_of_m": "2:4"}, {"intra_block_sparsity": True, "block_width": 4}


def _mobilenet() -> list[tuple[int, ...]]:
    model = keras.applications.MobileNetV2(weights=None)
    return [tuple(weight.shape) for weight in model.trainable_variables if len(weight.shape) > 1]


def _normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=shape)


def _sparse(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=shape) * (rng.random(shape) >= 0.9)


def _tied(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return np.round(rng.normal(size=shape))


# What makes the shapes of the weights, what makes their values, hyperparameters, and the bar; None where only this
# build is timed, to show how the time grows.
_Case = tuple[Callable[[], list[tuple[int, ...]]], Callable[..., np.ndarray], dict[str, Any], float | None]
_FIRST: dict[str, _Case] = {
    "50 weights of 40x50": (lambda: [(40, 50)] * 50, _normal, {}, 0.25),
    "101 weights of 64x64": (lambda: [(64, 64)] * 101, _normal, {}, 0.2),
    "500 weights of 64x64": (lambda: [(64, 64)] * 500, _normal, {}, None),
    "MobileNetV2, 53 weights": (_mobilenet, _normal, {}, 0.25),
}
_UPDATES: dict[str, _Case] = {
    "50 weights of 40x50": (lambda: [(40, 50)] * 50, _normal, {}, 0.25),
    "MobileNetV2, 53 weights": (_mobilenet, _normal, {}, 1.0),
    "501 weights of 64x64, global": (lambda: [(64, 64)] * 501, _normal, {"allocation": "global"}, 0.5),
    **{
        f"{size}, {what}": (lambda shape=shape: [shape], values, {"target_sparsity": 0.5, **fields}, bar)
        for size, shape in _MATRICES.items()
        for what, values, fields, bar in (
            ("2:4", _normal, _RUNS_DOWN, 0.45),
            ("2:4, ties", _tied, _RUNS_DOWN, 1.0),
            ("2:4 along the last axis", _normal, _RUNS_ACROSS, 0.45),
            ("2:4 along the last axis, ties", _tied, _RUNS_ACROSS, 1.0),
        )
    },
    **{
        f"{size}, {what}": (lambda shape=shape: [shape], values, {}, 0.7)
        for size, shape in _MATRICES.items()
        for what, values in (("magnitude", _normal), ("magnitude, 90% zero before", _sparse))
    },
}
_PASS = "pass"


def main() -> int:
    """Times everything, prints the table, and judges it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=pathlib.Path, metavar="PATH", help="working tree of the other build")
    parser.add_argument("--turns", type=int, default=3, help="new processes of each build (default: 3)")
    parser.add_argument("--repeats", type=int, default=15, help="updates of each build (default: 15)")
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="PART", help="parts of rows' names, as 'first update' (default: all)"
    )
    parser.add_argument("--first", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.first:
        print(_seconds_of_first(load_build(arguments.other, "build"), _FIRST[arguments.first]))
        return 0
    for option in ("turns", "repeats"):
        if getattr(arguments, option) < 1:
            parser.error(f"--{option} must be at least 1, got {getattr(arguments, option)}.")
    try:
        builds = {"other": load_build(arguments.other, "other_build"), "this": load_build(_HERE, "this_build")}
    except FileNotFoundError as error:
        parser.error(str(error))
    rows, verdicts, passed = [], [], True

    def add(name: str, seconds: Mapping[str, list[float]], bar: float | None, digits: int) -> None:
        nonlocal passed
        this = 1e3 * min(seconds["this"])
        if bar is None:
            rows.append([name, "", f"{this:,.{digits}f}", "", ""])
            return
        other = 1e3 * min(seconds["other"])
        # Two that came right after each other were under the same load.
        ratio = float(np.median(np.divide(seconds["this"], seconds["other"])))
        passes = f"{this / 1e3 / min(seconds[_PASS]):.1f}" if _PASS in seconds else ""
        rows.append([name, f"{other:,.{digits}f}", f"{this:,.{digits}f}", f"{ratio:.2f}", passes])
        print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
        passed &= ratio <= bar
        verdicts.append(f"{'pass' if ratio <= bar else 'FAIL'}: {name}: {ratio:.2f}, at most {bar:g} was wanted.")

    def chosen(kind: str, cases: Mapping[str, _Case]) -> dict[str, str]:
        names = {f"{kind}, {short}": short for short in cases}
        return {name: short for name, short in names.items() if any(part in name for part in arguments.only)}

    for name, short in chosen("first update", _FIRST).items():
        bar = _FIRST[short][3]
        roots = {"this": _HERE} if bar is None else {"other": arguments.other, "this": _HERE}
        seconds: dict[str, list[float]] = {build: [] for build in roots}
        for _ in range(arguments.turns):
            for build, root in roots.items():
                seconds[build].append(_first_in_new_process(root, short))
        add(name, seconds, bar, 0)
    for name, short in chosen("update", _UPDATES).items():
        case = _UPDATES[short]
        add(name, _seconds_of_updates(builds, case, arguments.repeats), case[3], 1)
    if not rows:
        parser.error(f"No row's name has one of --only {arguments.only}. They are {', '.join([*_FIRST, *_UPDATES])}.")
    publish(
        "builds",
        "Mask updates, over an older build",
        ["what", "older, ms", "this, ms", "ratio", "passes"],
        rows,
        [
            *verdicts,
            "Milliseconds of the processor, on all cores together, the least of all turns; the ratio is the median of "
            f"turns: {arguments.turns} new processes of each build for a first update, {arguments.repeats} for others.",
            f"The older build is {_commit(arguments.other)}. Masks and thresholds of both were equal.",
            "A pass is one compiled function that reads the weight and writes a mask of a byte a weight.",
        ],
    )
    return 0 if passed else 1


def _first_in_new_process(root: pathlib.Path, name: str) -> float:
    run = subprocess.run([sys.executable, __file__, str(root), "--first", name], capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"{name} failed with exit status {run.returncode}:\n{run.stderr[-4000:]}")
    return float(run.stdout.split()[-1])


def _seconds_of_first(build: ModuleType, case: _Case) -> float:
    weights = _weights(case)
    build.Pruning, build.PruningHParams  # noqa: B018 - imports them
    start = time.process_time()
    _updates(build, weights, case)[0]()
    return time.process_time() - start


def _seconds_of_updates(builds: Mapping[str, ModuleType], case: _Case, repeats: int) -> dict[str, list[float]]:
    made = {name: _updates(build, _weights(case), case) for name, build in builds.items()}
    calls = {name: once for name, (once, _) in made.items()}
    for once in calls.values():
        once()
    for other, this in zip(*(pruning.states for _, pruning in made.values()), strict=True):
        np.testing.assert_array_equal(this.mask.numpy(), other.mask.numpy())
        np.testing.assert_array_equal(this.threshold.numpy(), other.threshold.numpy())
    if len(this.mask.shape) == 2 and tuple(this.mask.shape) in _MATRICES.values():
        one_pass = tf.function(lambda weight: tf.abs(weight) >= 1.0, jit_compile=True, autograph=False)
        calls[_PASS] = lambda: one_pass(this.weight)
        calls[_PASS]()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, once in calls.items():
            start = time.process_time()
            once()
            seconds[name].append(time.process_time() - start)
    return seconds


def _weights(case: _Case) -> list[tf.Variable]:
    shapes, values, *_ = case
    rng = np.random.default_rng(0)
    return [tf.Variable(values(shape, rng).astype(np.float32), name=f"w_{i}") for i, shape in enumerate(shapes())]


def _updates(build: ModuleType, weights: list[tf.Variable], case: _Case) -> tuple[Callable[[], None], Any]:
    """A call that updates the masks once more, and the pruning of `weights` by a build."""
    fields = {"target_sparsity": 0.9, "sparsity_function_end_step": 1, "pruning_frequency": 1, **case[2]}
    pruning = build.Pruning(build.PruningHParams(**fields), weights)
    update = tf.function(pruning.update_masks_if_due, input_signature=[tf.TensorSpec([], tf.int64)])
    step = tf.Variable(0, dtype=tf.int64)

    def once() -> None:
        updated = update(step.assign_add(1))
        assert updated, "No mask was updated."

    return once, pruning


def _commit(root: pathlib.Path) -> str:
    run = subprocess.run(["git", "-C", str(root), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return run.stdout.strip() or "of no known commit"


if __name__ == "__main__":
    sys.exit(main())
