"""Time of a mask update, by size and granularity, beside NumPy, tfmot and the reference.

What is timed is the engine's own update inside a `tf.function`: scores, allocation, granularity, and the new masks
assigned. numpy.partition only finds the threshold. The in-process rows of one size take turns, so that whatever else
the machine does falls on all alike; tfmot and the reference, which need another TensorFlow, run in processes of their
own.

Exit status 1 if a bar is missed: of single weights at most twice numpy.partition's time from 4 million weights on, at
most a hundredth of the reference's at 4 million, and linear in the size from there to the largest; of 50 variables that
are ranked together at most 1.3 times the time of one variable of their total size.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from _table import publish
from reference import reference_seconds
from tfmot import tfmot_seconds

from tfx_pruning import Pruning, PruningHParams
from tfx_pruning.engine.naming import GRADIENT
from tfx_pruning.engine.pruning import variables_of

_SHAPES = {"0.1M": (250, 400), "4M": (2000, 2000), "25M": (5000, 5000)}
_JUDGED = ("4M", "25M")
_SPARSITY = 0.9
_VARIABLES = 50
_NUMPY = "numpy.partition (threshold only)"
_ELEMENT = "element"
_GLOBAL_ONE = "element, global, 1 variable"
_GLOBAL_MANY = f"element, global, {_VARIABLES} variables"
_TFMOT = "tfmot 0.8.1"
_REFERENCE = "reference 0.0.5"
# Number of variables, and hyperparameters.
_OURS: dict[str, tuple[int, dict[str, Any]]] = {
    _ELEMENT: (1, {}),
    "element, first order": (1, {"prune_option": "first_order_gradient"}),
    "blocks of 4x4": (1, {"block_height": 4, "block_width": 4}),
    "blocks of 1x64": (1, {"block_width": 64}),
    "channels": (1, {"granularity": "channel"}),
    "2:4": (1, {"n_of_m": "2:4", "target_sparsity": 0.5}),
    _GLOBAL_ONE: (1, {"allocation": "global"}),
    _GLOBAL_MANY: (_VARIABLES, {"allocation": "global"}),
    f"element, uniform, {_VARIABLES} variables": (_VARIABLES, {}),
}
# Largest rise of the time for each weight, from one size to another, that still counts as linear.
_LINEAR = 1.5


def main() -> int:
    """Times everything, prints the table, and judges it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15, help="runs of each in-process row (default: 15)")
    parser.add_argument("--peer-repeats", type=int, default=3, help="runs of each peer at 0.1M and 4M (default: 3)")
    arguments = parser.parse_args()
    for option in ("repeats", "peer_repeats"):
        if getattr(arguments, option) < 1:
            parser.error(f"--{option.replace('_', '-')} must be at least 1, got {getattr(arguments, option)}.")
    medians: dict[str, dict[str, float]] = {}
    for size, shape in _SHAPES.items():
        weight = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        seconds = _in_turns(_rows(weight), arguments.repeats)
        repeats = 1 if size == "25M" else arguments.peer_repeats
        seconds[_TFMOT] = tfmot_seconds(weight.ravel(), _SPARSITY, repeats)
        seconds[_REFERENCE] = reference_seconds(weight.ravel(), _SPARSITY, repeats)
        for name, times in seconds.items():
            medians.setdefault(name, {})[size] = float(np.median(times))
            print(f"{size}, {name}: {1e3 * medians[name][size]:.1f} ms", file=sys.stderr, flush=True)
    verdicts, passed = _verdicts(medians)
    publish(
        "mask_update",
        "Mask update",
        ["what", *(f"{size}, ms" for size in _SHAPES), *(f"{size} / numpy.partition" for size in _SHAPES)],
        [
            [
                name,
                *(f"{1e3 * times[size]:.1f}" for size in _SHAPES),
                *(f"{times[size] / medians[_NUMPY][size]:.2f}" for size in _SHAPES),
            ]
            for name, times in medians.items()
        ],
        [
            *verdicts,
            f"float32 weights, {_SPARSITY:.0%} pruned (2:4: half), as matrices of "
            f"{', '.join('x'.join(map(str, shape)) for shape in _SHAPES.values())}; by magnitude where no criterion is "
            f"named; {_VARIABLES} variables are equal shares of their rows.",
            f"Medians of {arguments.repeats} runs, taking turns; tfmot and the reference {arguments.peer_repeats} runs "
            "at 0.1M and 4M, 1 at 25M, each after one that is not counted.",
        ],
    )
    return 0 if passed else 1


def _rows(weight: np.ndarray) -> dict[str, Callable[[], object]]:
    """The in-process rows; each callable has finished its work when it returns."""
    scores = np.abs(weight).ravel()
    place = scores.size - round(scores.size * (1 - _SPARSITY))
    rows: dict[str, Callable[[], object]] = {_NUMPY: lambda: np.partition(scores, place)}
    for name, (variables, fields) in _OURS.items():
        rows[name] = _update(np.split(weight, variables), fields)
    return rows


def _update(weights: list[np.ndarray], fields: Mapping[str, Any]) -> Callable[[], object]:
    """A call that updates the masks of `weights` once more."""
    hparams = PruningHParams(
        **{
            "target_sparsity": _SPARSITY,
            "sparsity_function_end_step": 1,
            "pruning_frequency": 1,
            **fields,
        }
    )
    kernels = [tf.Variable(weight, name=f"kernel_{i}") for i, weight in enumerate(weights)]
    # Channels are columns of the kernel, and rows of the one that reads them.
    head = tf.Variable(tf.ones([weights[-1].shape[-1], 1]), name="head")
    chain = [*kernels, head] if hparams.granularity == "channel" else kernels
    pruning = Pruning(hparams, chain, forward=lambda: tf.ones([1, weights[0].shape[0]]) @ kernels[0] @ head)
    if GRADIENT in variables_of(hparams):
        for state in pruning.states:
            state.gradient.assign(tf.random.stateless_uniform(state.gradient.shape, [0, 0]))
    update = tf.function(pruning.update_masks_if_due, input_signature=[tf.TensorSpec([], tf.int64)])
    step = tf.Variable(0, dtype=tf.int64)

    def once() -> None:
        updated = update(step.assign_add(1))
        assert updated, "No mask was updated."

    once()
    shares = pruning.shares_at_target()
    assert all(share.is_delivered for share in shares), f"{shares} are kept."
    return once


def _in_turns(rows: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for run in range(repeats + 1):
        for name, work in rows.items():
            start = time.perf_counter()
            work()
            if run:  # the first is a warm-up
                seconds[name].append(time.perf_counter() - start)
    return seconds


def _verdicts(medians: Mapping[str, Mapping[str, float]]) -> tuple[list[str], bool]:
    ours = medians[_ELEMENT]
    small, large = _JUDGED
    weights = {size: np.prod(shape) for size, shape in _SHAPES.items()}
    bars = [
        *(
            (f"{_ELEMENT}, {size}: times numpy.partition", ours[size] / medians[_NUMPY][size], "at most", 2.0)
            for size in _JUDGED
        ),
        (
            f"{_ELEMENT}, {small}: times faster than the reference",
            medians[_REFERENCE][small] / ours[small],
            "at least",
            100.0,
        ),
        (
            f"{_ELEMENT}: time a weight at {large} over that at {small}",
            ours[large] / weights[large] / (ours[small] / weights[small]),
            "at most",
            _LINEAR,
        ),
        *(
            (
                f"{_GLOBAL_MANY}, {size}: times one variable",
                medians[_GLOBAL_MANY][size] / medians[_GLOBAL_ONE][size],
                "at most",
                1.3,
            )
            for size in _JUDGED
        ),
    ]
    sentences, passed = [], True
    for what, value, relation, bar in bars:
        held = value <= bar if relation == "at most" else value >= bar
        passed &= held
        sentences.append(f"{'pass' if held else 'FAIL'}: {what}: {value:.2f}, {relation} {bar:g} was wanted.")
    return sentences, passed


if __name__ == "__main__":
    sys.exit(main())
