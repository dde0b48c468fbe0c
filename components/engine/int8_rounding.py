"""Rounding to int8 as TFLite's kernels do it, in floating point, with a gradient that passes straight through."""

from collections.abc import Callable, Sequence

import tensorflow as tf

# Codes of weights are symmetric, -127 to 127; those of activations use all 256.
_LARGEST_CODE = 127.0
_STEPS = 255.0


def rounded_weight(weight: tf.Tensor, channel_axes: Sequence[int]) -> tf.Tensor:
    """The weight that codes of int8 stand for: round(w / s) * s, with s = max |w| / 127 for each channel.

    Zero stays zero, whatever the scale.

    Args:
        weight: Floating tensor.
        channel_axes: Axes that have a scale for each index. The scales hold for all other axes.

    Returns:
        Tensor of the weight's shape and dtype. A channel of zeros stays one.
    """
    kept = {axis % weight.shape.rank for axis in channel_axes}
    others = [axis for axis in range(weight.shape.rank) if axis not in kept]
    scale = tf.reduce_max(tf.abs(weight), others, keepdims=True) / _LARGEST_CODE
    return tf.round(tf.math.divide_no_nan(weight, scale)) * scale


def rounded_activation(values: tf.Tensor) -> tf.Tensor:
    """The activations that codes of int8 stand for: 256 values evenly spaced over the range, zero one of them.

    Args:
        values: Floating tensor of any shape. Its range is the tensor's own, widened to hold zero.

    Returns:
        Tensor of the same shape and dtype. Zeros stay zero.
    """
    low = tf.minimum(tf.reduce_min(values), 0.0)
    high = tf.maximum(tf.reduce_max(values), 0.0)
    scale = (high - low) / _STEPS
    zero = tf.round(tf.math.divide_no_nan(-low, scale))
    codes = tf.round(tf.math.divide_no_nan(values, scale))
    return tf.clip_by_value(codes, -zero, _STEPS - zero) * scale


def straight_through(value: tf.Tensor, rounding: Callable[[tf.Tensor], tf.Tensor], is_on: tf.Tensor) -> tf.Tensor:
    """`rounding(value)` where `is_on`, else `value`; with the gradient of `value` (Bengio et al., 2013).

    Args:
        value: Floating tensor.
        rounding: Keeps shape and dtype.
        is_on: Bool scalar.
    """
    # Not tf.custom_gradient: TensorFlow keeps the graph of every function that it is traced in. The difference is zero.
    rounded = tf.cond(is_on, lambda: rounding(value), lambda: tf.identity(value))
    return tf.stop_gradient(rounded) + (value - tf.stop_gradient(value))
