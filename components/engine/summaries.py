"""TensorBoard summaries of a pruning."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from .pruning import Pruning


def write_pruning(pruning: "Pruning", step: int | tf.Tensor) -> None:
    """Writes the state of `pruning` to the default `tf.summary` writer, under the name of its hyperparameters."""
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
                tf.summary.histogram(f"{state.path}/abs_gradient", state.gradient, step=step)


def write_logs(logs: Mapping[str, Any], step: int) -> None:
    """Writes a training step's loss and scalar metrics to the default `tf.summary` writer."""
    for name, value in logs.items():
        if np.ndim(value) == 0:
            tf.summary.scalar(name, value, step=step)
