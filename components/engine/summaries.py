"""TensorBoard summaries of a pruning."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.plugins.histogram import metadata

from .shown import escaped
from .weight_state import WeightState

_BUCKETS = 30  # as many as tf.summary.histogram makes


def write_logs(logs: Mapping[str, Any], step: int) -> None:
    """Writes a training step's loss and scalar metrics to the default `tf.summary` writer."""
    for name, value in logs.items():
        if np.ndim(value) == 0:
            tf.summary.scalar(escaped(name), value, step=step)


def write_scalars(
    weights: Mapping[str, WeightState], has_average: bool, last_mask_update_step: tf.Variable, step: tf.Tensor
) -> None:
    """Writes sparsities, thresholds and, if the criterion has one, the gradient states' norms and sparsities.

    Args:
        weights: The weights' states by their names.
        has_average: Whether they have a gradient state.
        last_mask_update_step: int64 scalar.
        step: int64 scalar.
    """
    kept = [state.kept() for state in weights.values()]
    size = sum(state.size for state in weights.values())
    tf.summary.scalar("sparsity", 1.0 - tf.cast(tf.add_n(kept), tf.float64) / size, step=step)
    tf.summary.scalar("last_mask_update_step", last_mask_update_step, step=step)
    for name, state in weights.items():
        path = escaped(name)
        tf.summary.scalar(f"{path}/sparsity", state.sparsity(), step=step)
        tf.summary.scalar(f"{path}/threshold", state.threshold, step=step)
        if has_average:
            tf.summary.scalar(f"{path}/gradient", tf.norm(state.gradient), step=step)
            tf.summary.scalar(f"{path}/gradient_sparsity", tf.math.zero_fraction(state.gradient), step=step)


def write_histograms(
    weights: Mapping[str, WeightState], has_average: bool, scores: Callable[[int], tf.Tensor], step: tf.Tensor
) -> None:
    """Writes the histograms of the weights, their scores and, if the criterion has one, their gradient states.

    Args:
        weights: The weights' states by their names.
        has_average: Whether they have a gradient state.
        scores: Gives the scores of one of them by its index in `weights`; called if there is a writer.
        step: int64 scalar.
    """
    for index, (name, state) in enumerate(weights.items()):
        path = escaped(name)
        _write_histogram(f"{path}/weights", functools.partial(tf.convert_to_tensor, state.weight), step)
        _write_histogram(f"{path}/scores", functools.partial(scores, index), step)
        if has_average:
            _write_histogram(f"{path}/abs_gradient", functools.partial(tf.convert_to_tensor, state.gradient), step)


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
