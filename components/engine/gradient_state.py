"""The gradient state of a weight: the moving average of a criterion's samples."""

import tensorflow as tf

from .compilation import compiled_assignment
from .ranking.criteria import GradientCriterion


def moving_average(average: tf.Tensor, sample: tf.Tensor, decay: float) -> tf.Tensor:
    """The next average: decay * average + (1 - decay) * sample."""
    return decay * average + (1.0 - decay) * sample


@compiled_assignment
def observe(criterion: GradientCriterion, decay: float, gradient: tf.Tensor, average: tf.Tensor) -> tf.Tensor:
    """Takes one more gradient into the `moving_average` that a variable holds, in one pass over it.

    Args:
        criterion: Makes a sample of it.
        decay: As `moving_average` takes it.
        gradient: dL/dw, dense, of the weight's shape and dtype.
        average: A float32 variable of that shape.
    """
    return moving_average(average, criterion.sample(tf.cast(gradient, tf.float32)), decay)
