"""The gradient state G of a weight: what is averaged, and how."""

import tensorflow as tf

from .compiled import fused_assignment


def backprop_sample(gradient: tf.Tensor | tf.IndexedSlices, second_order: bool) -> tf.Tensor:
    """|dL/dw|, or (dL/dw)^2 for the second order.

    Args:
        gradient: dL/dw, dense or IndexedSlices.
        second_order: Whether to square.

    Returns:
        float32, the shape of the weight.
    """
    dense = tf.cast(tf.convert_to_tensor(gradient), tf.float32)
    return tf.square(dense) if second_order else tf.abs(dense)


def weight_delta_sample(weight: tf.Tensor, old_weight: tf.Tensor, old_old_weight: tf.Tensor | None) -> tf.Tensor:
    """The reference's estimator: the normalised change of a weight since the last mask update.

    Args:
        weight: Weights now.
        old_weight: Weights at the last mask update.
        old_old_weight: Weights at the one before, for the second order; None for the first.

    Returns:
        |w - w_old|, for the second order |w + w_old_old - 2 * w_old|, divided by its L2 norm over the whole weight.
    """
    change = weight - old_weight
    if old_old_weight is not None:
        change = weight + old_old_weight - 2.0 * old_weight
    return tf.nn.l2_normalize(tf.abs(change))


def moving_average(state: tf.Tensor, sample: tf.Tensor, decay: float) -> tf.Tensor:
    """The next state: decay * state + (1 - decay) * sample."""
    return decay * state + (1.0 - decay) * sample


@fused_assignment
def observe(second_order: bool, decay: float, gradient: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
    """Takes the `backprop_sample` of one more dL/dw into the `moving_average` that a variable holds, in one pass.

    Args:
        second_order: As `backprop_sample` takes it.
        decay: As `moving_average` takes it.
        gradient: dL/dw, dense, of the weight's shape and dtype.
        state: A float32 variable of that shape.
    """
    return moving_average(state, backprop_sample(gradient, second_order), decay)
