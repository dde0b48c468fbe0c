"""TensorBoard summaries of a pruning."""

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from tensorboard.plugins.histogram import metadata

if TYPE_CHECKING:
    from .pruning import Pruning

_BUCKETS = 30  # as many as tf.summary.histogram makes


def write_pruning(pruning: "Pruning", step: int | tf.Tensor, *, scalars: bool = True, histograms: bool = True) -> None:
    """Writes the state of `pruning` to the default `tf.summary` writer, under the name of its hyperparameters.

    Args:
        pruning: What is written.
        step: Integer scalar.
        scalars: Whether sparsities, thresholds and gradient norms are written.
        histograms: Whether those of the weights, their scores and their gradient states are.
    """
    step = tf.cast(tf.convert_to_tensor(step), tf.int64)
    # One scope for both: in a graph a second of the same name would be called another.
    with tf.name_scope(pruning.hparams.name):
        if scalars:
            _write_scalars(pruning, step)
        if histograms:
            _write_histograms(pruning, step)


def write_logs(logs: Mapping[str, Any], step: int) -> None:
    """Writes a training step's loss and scalar metrics to the default `tf.summary` writer."""
    for name, value in logs.items():
        if np.ndim(value) == 0:
            tf.summary.scalar(name, value, step=step)


def _write_scalars(pruning: "Pruning", step: tf.Tensor) -> None:
    kept = [state.kept() for state in pruning.states]
    size = sum(state.size for state in pruning.states)
    tf.summary.scalar("sparsity", 1.0 - tf.cast(tf.add_n(kept), tf.float64) / size, step=step)
    tf.summary.scalar("last_mask_update_step", pruning.last_mask_update_step, step=step)
    for state in pruning.states:
        tf.summary.scalar(f"{state.path}/sparsity", state.sparsity(), step=step)
        tf.summary.scalar(f"{state.path}/threshold", state.threshold, step=step)
        if pruning.hparams.uses_gradient:
            tf.summary.scalar(f"{state.path}/gradient", tf.norm(state.gradient), step=step)
            tf.summary.scalar(f"{state.path}/gradient_sparsity", tf.math.zero_fraction(state.gradient), step=step)


def _write_histograms(pruning: "Pruning", step: tf.Tensor) -> None:
    for index, state in enumerate(pruning.states):
        _write_histogram(f"{state.path}/weights", functools.partial(tf.convert_to_tensor, state.weight), step)
        _write_histogram(f"{state.path}/scores", functools.partial(pruning.scores, index), step)
        if pruning.hparams.uses_gradient:
            _write_histogram(
                f"{state.path}/abs_gradient", functools.partial(tf.convert_to_tensor, state.gradient), step
            )


def _write_histogram(name: str, values: Callable[[], tf.Tensor], step: tf.Tensor) -> None:
    """As `tf.summary.histogram`, which takes 240 bytes of memory a value; `values` is called if there is a writer."""
    plugin = metadata.create_summary_metadata(display_name=None, description=None)
    with tf.summary.experimental.summary_scope(name, "histogram_summary", values=[step]) as (tag, _):
        tf.summary.write(tag, lambda: _buckets(values()), step=step, metadata=plugin)


def _buckets(values: tf.Tensor) -> tf.Tensor:
    """Left edge, right edge and count of each bucket, float64, [_BUCKETS, 3]."""
    values = tf.cast(tf.reshape(values, [-1]), tf.float32)
    low, high = tf.reduce_min(values), tf.reduce_max(values)
    # Equal values, too, need a range to fall into.
    high = tf.maximum(high, low + tf.maximum(tf.abs(low) * 1e-6, np.finfo(np.float32).smallest_normal))
    counts = tf.histogram_fixed_width(values, [low, high], _BUCKETS, dtype=tf.int64)
    edges = tf.linspace(tf.cast(low, tf.float64), tf.cast(high, tf.float64), _BUCKETS + 1)
    return tf.stack([edges[:-1], edges[1:], tf.cast(counts, tf.float64)], axis=1)
