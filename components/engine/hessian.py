"""The diagonal of a loss's Hessian, estimated by Hutchinson's method."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import tensorflow as tf

Loss: TypeAlias = Callable[[], tf.Tensor]


def probe(shape: tf.TensorShape, seed: int, step: tf.Tensor) -> tf.Tensor:
    """A Rademacher vector: 1 or -1, each with the same chance.

    Args:
        shape: Shape of the weight.
        seed: Seed, another for each weight.
        step: int64 scalar, the step.

    Returns:
        float32 of that shape, the same wherever it is computed.
    """
    # The negative step, since ties between scores are broken with the same seed and the step itself.
    seeds = tf.stack([tf.constant(seed, tf.int64), -tf.cast(step, tf.int64)])
    bits = tf.random.stateless_uniform(shape, seeds, None, None, tf.int32, alg="philox")
    return tf.where(bits >= 0, 1.0, -1.0)


def diagonal_samples(loss: Loss, weights: Sequence[tf.Variable], probes: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Samples z * Hz, whose expectation over Rademacher vectors z is the diagonal of the Hessian H.

    Bekas, Kokiopoulou and Saad, 2007, "An estimator for the diagonal of a matrix", after Hutchinson, 1990. One forward
    and two backward passes, whatever the number of weights: Hz is the gradient of the product of z and the gradient.

    Args:
        loss: Computes the loss, a floating scalar, from `weights`; called once.
        weights: The variables of H.
        probes: z, for each weight a float32 tensor of its shape.

    Returns:
        For each weight a float32 tensor of its shape, of either sign.

    Raises:
        ValueError: The loss is not a scalar, does not depend on a weight, or has no second derivative in TensorFlow.
    """
    with tf.GradientTape(watch_accessed_variables=False) as outer:
        outer.watch(weights)
        with tf.GradientTape(watch_accessed_variables=False) as inner:
            inner.watch(weights)
            value = tf.convert_to_tensor(loss())
        if value.shape.rank != 0:
            raise ValueError(f"The loss must be a scalar, got shape {value.shape}. Reduce it with tf.reduce_mean.")
        gradients = _gradients(inner, value, weights)
        missing = [weight.name for weight, gradient in zip(weights, gradients, strict=True) if gradient is None]
        if missing:
            raise ValueError(
                f"The loss does not depend on {', '.join(missing)}. Take them out with exclude, or let the loss depend "
                "on them."
            )
        product = tf.add_n(
            [
                tf.reduce_sum(tf.cast(tf.convert_to_tensor(gradient), tf.float32) * vector)
                for gradient, vector in zip(gradients, probes, strict=True)
            ]
        )
    curved = _gradients(outer, product, weights)
    return [
        # No second gradient: the loss is linear in the weight.
        tf.zeros_like(vector) if products is None else tf.cast(tf.convert_to_tensor(products), tf.float32) * vector
        for products, vector in zip(curved, probes, strict=True)
    ]


def _gradients(
    tape: tf.GradientTape, target: tf.Tensor, weights: Sequence[tf.Variable]
) -> list[tf.Tensor | tf.IndexedSlices | None]:
    try:
        return tape.gradient(target, weights)
    except LookupError as error:
        raise ValueError(
            "gradient_estimator='hutchinson' needs second derivatives; TensorFlow lacks that of an operation of the "
            f"model: {error}. Use gradient_estimator='backprop'; a recurrent layer on a GPU may have use_cudnn=False "
            "instead."
        ) from error
