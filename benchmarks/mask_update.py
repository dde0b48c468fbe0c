"""Time of one mask update of one weight, beside NumPy, a full top_k, tfmot and the reference.

All get the same weights and keep the same share of them. The in-process rows take turns, so that whatever else the
machine does falls on all alike; tfmot and the reference, which need another TensorFlow, run in processes of their own.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from _table import publish
from reference import reference_seconds
from tfmot import tfmot_seconds

from tfx_pruning.engine.selection import top_k_mask

_PEER_REPEATS = 5
_NUMPY = "numpy.partition (threshold only)"


def main() -> int:
    """Prints the table; returns the exit status: 1 if ours took more than twice numpy.partition's time in graph."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=4_000_000, help="number of weights (default: 4,000,000)")
    parser.add_argument("--sparsity", type=float, default=0.9, help="share of the weights pruned (default: 0.9)")
    parser.add_argument("--repeats", type=int, default=50, help="runs of each in-process row (default: 50)")
    arguments = parser.parse_args()
    if arguments.size < 1 or not 0 <= arguments.sparsity < 1 or arguments.repeats < 1:
        parser.error("--size and --repeats must be at least 1, and --sparsity in [0, 1).")
    weight = np.random.default_rng(0).normal(size=arguments.size).astype(np.float32)
    kept = round(arguments.size * (1 - arguments.sparsity))
    seconds = _in_turns(_rows(np.abs(weight), kept), arguments.repeats)
    seconds["tfmot 0.8.1, its mask update"] = tfmot_seconds(weight, arguments.sparsity, _PEER_REPEATS)
    seconds["reference 0.0.5, its mask update"] = reference_seconds(weight, arguments.sparsity, _PEER_REPEATS)

    numpy = float(np.median(seconds[_NUMPY]))
    rows = [
        [name, f"{1e3 * np.median(times):.1f}", f"{1e3 * min(times):.1f}", f"{np.median(times) / numpy:.2f}"]
        for name, times in seconds.items()
    ]
    ratio = float(np.median(seconds["ours, in graph"])) / numpy
    publish(
        "mask_update",
        f"Mask update of {arguments.size:,} float32 weights, {arguments.sparsity:.1%} pruned",
        ["what", "median ms", "min ms", "median / numpy.partition"],
        rows,
        [
            f"{'pass' if ratio <= 2 else 'FAIL'}: ours in graph was to take at most twice numpy.partition's time.",
            f"{arguments.repeats} runs a row, taking turns; tfmot and the reference {_PEER_REPEATS} runs each.",
            "Ours and the peers make the mask; numpy.partition alone finds the threshold only.",
        ],
    )
    return 0 if ratio <= 2 else 1


def _rows(scores: np.ndarray, kept: int) -> dict[str, Callable[[], object]]:
    """The in-process rows; each callable has finished its work, and made its mask, when it returns."""
    place = scores.size - kept
    tensor, k, seed = tf.constant(scores), tf.constant(kept), tf.constant([0, 0], tf.int64)
    equal = tf.ones_like(tensor)

    @tf.function
    def ours(scores: tf.Tensor, k: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return top_k_mask(scores, k, seed)

    @tf.function(jit_compile=True)
    def ours_jit(scores: tf.Tensor, k: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return top_k_mask(scores, k, seed)

    @tf.function
    def full_top_k(scores: tf.Tensor, k: tf.Tensor) -> tf.Tensor:
        _, order = tf.math.top_k(scores, k=tf.size(scores))
        return tf.scatter_nd(order[:k, None], tf.ones([k]), tf.shape(scores))

    def numpy_mask() -> np.ndarray:
        return (scores >= np.partition(scores, place)[place]).astype(np.float32)

    expected = numpy_mask()
    for mask in (ours(tensor, k, seed)[0], ours_jit(tensor, k, seed)[0], full_top_k(tensor, k)):
        np.testing.assert_array_equal(mask, expected)
    for mask in (ours(equal, k, seed)[0], ours_jit(equal, k, seed)[0]):
        np.testing.assert_equal(int(tf.reduce_sum(mask)), kept)
    return {
        _NUMPY: lambda: np.partition(scores, place),
        "numpy.partition and mask": numpy_mask,
        "numpy.sort": lambda: np.sort(scores),
        "tf.math.top_k of all, and mask, in graph": lambda: memoryview(full_top_k(tensor, k)),
        "ours, in graph": lambda: [memoryview(made) for made in ours(tensor, k, seed)],
        "ours, jit_compile=True": lambda: [memoryview(made) for made in ours_jit(tensor, k, seed)],
        "ours, in graph, all scores equal": lambda: [memoryview(made) for made in ours(equal, k, seed)],
        "ours, jit_compile=True, all scores equal": lambda: [memoryview(made) for made in ours_jit(equal, k, seed)],
    }


def _in_turns(rows: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for run in range(repeats + 1):
        for name, work in rows.items():
            start = time.perf_counter()
            work()
            if run:  # the first is a warm-up
                seconds[name].append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
