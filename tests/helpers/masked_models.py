"""Weights with masks, and functions that use them, for the tests of masked forward passes."""

import numpy as np
import tensorflow as tf

from tfx_pruning import apply_mask
from tfx_pruning.engine.weight_state import WeightState

X = tf.TensorSpec([None, 4], tf.float32, name="x")


def masked_weight(name, shape=(4, 4), seed=1):
    """A weight with a mask that prunes half of it; what is pruned is not zero yet."""
    weight = tf.Variable(np.random.default_rng(seed).standard_normal(shape), dtype=tf.float32, name=name)
    prune(weight, seed)
    return weight


def prune(weight, seed=1):
    apply_mask(weight)
    mask = WeightState.of(weight).mask
    mask.assign(np.random.default_rng(seed + 100).random(mask.shape) < 0.5)


def served(python_function):
    return tf.function(python_function, input_signature=[X])
