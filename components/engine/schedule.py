"""The sparsity schedule: step -> sparsity."""

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class PolynomialSchedule:
    """Sparsity that rises along a polynomial (Zhu and Gupta, 2017, https://arxiv.org/abs/1710.01878).

    With p = clip((step - begin_step) / (end_step - begin_step), 0, 1):

        sparsity(step) = target_sparsity + (initial_sparsity - target_sparsity) * (1 - p) ** exponent

    Attributes:
        initial_sparsity: Sparsity up to `begin_step`, a fraction.
        target_sparsity: Sparsity from `end_step` on, a fraction.
        begin_step: First step of the ramp.
        end_step: Last step of the ramp.
        exponent: 1 rises along a line, 3 fast at first and slowly towards the end.

    Example:
        >>> schedule = PolynomialSchedule(0.0, 0.8, begin_step=100, end_step=300, exponent=3.0)
        >>> [round(float(schedule(step)), 3) for step in (0, 100, 200, 300, 1000)]
        [0.0, 0.0, 0.7, 0.8, 0.8]
    """

    initial_sparsity: float
    target_sparsity: float
    begin_step: int
    end_step: int
    exponent: float

    def __call__(self, step: int | tf.Tensor) -> tf.Tensor:
        """Sparsity at `step`.

        Args:
            step: Integer scalar, a Python number or a tensor.

        Returns:
            float64 scalar, a fraction; exactly `target_sparsity` from `end_step` on.
        """
        elapsed = tf.cast(tf.convert_to_tensor(step, dtype_hint=tf.int64), tf.float64) - self.begin_step
        progress = tf.clip_by_value(elapsed / (self.end_step - self.begin_step), 0.0, 1.0)
        return self.target_sparsity + (self.initial_sparsity - self.target_sparsity) * (1.0 - progress) ** self.exponent


def kept_count(size: int, sparsity: float | tf.Tensor) -> tf.Tensor:
    """How many of `size` weights stay at `sparsity`: round(size * (1 - sparsity)), halves to even.

    Args:
        size: Number of weights.
        sparsity: float64 scalar, a fraction.

    Returns:
        int64 scalar. In float64, so that it is what Python's `round` gives for the same expression.
    """
    return tf.cast(tf.round(size * (1.0 - tf.convert_to_tensor(sparsity, tf.float64))), tf.int64)
