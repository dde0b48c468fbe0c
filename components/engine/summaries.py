"""TensorBoard summaries of a pruning."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from tensorboard.plugins.histogram import metadata

if TYPE_CHECKING:
    from .pruning import Pruning

_BUCKETS = 30  # as many as tf.summary.histogram makes


def write_scalars(pruning: "Pruning", step: int | tf.Tensor) -> None:
    """Writes the scalars of `pruning` to the default `tf.summary` writer, under the name of its hyperparameters."""
    step = tf.cast(tf.convert_to_tensor(step), tf.int64)
    kept = [state.kept() for state in pruning.states]
    size = sum(state.size for state in pruning.states)
    with tf.name_scope(pruning.hparams.name):
        tf.summary.scalar("sparsity", 1.0 - tf.cast(tf.add_n(kept), tf.float64) / size, step=step)
        tf.summary.scalar("last_mask_update_step", pruning.last_mask_update_step, step=step)
        for state in pruning.states:
            tf.summary.scalar(f"{state.path}/sparsity", state.sparsity(), step=step)
            tf.summary.scalar(f"{state.path}/threshold", state.threshold, step=step)
            if pruning.hparams.uses_gradient:
                tf.summary.scalar(f"{state.path}/gradient", tf.norm(state.gradient), step=step)
                tf.summary.scalar(f"{state.path}/gradient_sparsity", tf.math.zero_fraction(state.gradient), step=step)


def write_histograms(pruning: "Pruning", step: int | tf.Tensor) -> None:
    """Writes the histograms of the weights, their scores and their gradient states, as `write_scalars` does."""
    step = tf.cast(tf.convert_to_tensor(step), tf.int64)
    with tf.name_scope(pruning.hparams.name):
        for index, state in enumerate(pruning.states):
            _write_histogram(f"{state.path}/weights", state.weight, step)
            _write_histogram(f"{state.path}/scores", pruning.scores(index), step)
            if pruning.hparams.uses_gradient:
                _write_histogram(f"{state.path}/abs_gradient", state.gradient, step)


def write_logs(logs: Mapping[str, Any], step: int) -> None:
    """Writes a training step's loss and scalar metrics to the default `tf.summary` writer."""
    for name, value in logs.items():
        if np.ndim(value) == 0:
            tf.summary.scalar(name, value, step=step)


def _write_histogram(name: str, values: tf.Tensor | tf.Variable, step: tf.Tensor) -> None:
    """As `tf.summary.histogram`, which takes 240 bytes of memory a value."""
    with tf.summary.experimental.summary_scope(name, "histogram_summary", values=[step]) as (tag, _):
        tf.summary.write(tag, lambda: _buckets(tf.convert_to_tensor(values)), step=step, metadata=_histogram_metadata())


def _histogram_metadata() -> Any:
    return metadata.create_summary_metadata(display_name=None, description=None)


def _buckets(values: tf.Tensor) -> tf.Tensor:
    """Left edge, right edge and count of each bucket, float64, [_BUCKETS, 3]."""
    values = tf.cast(tf.reshape(values, [-1]), tf.float32)
    low, high = tf.reduce_min(values), tf.reduce_max(values)
    # Equal values, too, need a range to fall into.
    high = tf.maximum(high, low + tf.maximum(tf.abs(low) * 1e-6, np.finfo(np.float32).smallest_normal))
    counts = tf.histogram_fixed_width(values, [low, high], _BUCKETS, dtype=tf.int64)
    edges = tf.linspace(tf.cast(low, tf.float64), tf.cast(high, tf.float64), _BUCKETS + 1)
    return tf.stack([edges[:-1], edges[1:], tf.cast(counts, tf.float64)], axis=1)
