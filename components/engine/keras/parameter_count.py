"""parameter_count: how many parameters a model has."""

import tensorflow as tf

from .version import VERSIONS, Model


def parameter_count(model: Model | tf.Module) -> int:
    """How many numbers the model's own variables hold, without those of pruning and of the optimizer."""
    if isinstance(model, tuple(version.model for version in VERSIONS)):
        return model.count_params()
    return sum(variable.shape.num_elements() for variable in model.variables)
