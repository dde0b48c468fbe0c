"""parameter_count: how many parameters a model has."""

from typing import Any

import tensorflow as tf


def parameter_count(model: Any) -> int:
    """How many numbers the model's own variables hold, without those of pruning and of the optimizer.

    Args:
        model: A built model or layer of Keras 3 or tf_keras, or a `tf.Module`.
    """
    if not isinstance(model, tf.Module) or hasattr(model, "count_params"):
        return model.count_params()
    return sum(variable.shape.num_elements() for variable in model.variables)
