"""Saliency criteria: (weight, gradient state) -> scores. The weights with the lowest scores are pruned."""

import dataclasses
from typing import Protocol

import tensorflow as tf


class Criterion(Protocol):
    """How much a weight matters. Equal ones share what is compiled for them."""

    def scores(self, weight: tf.Tensor, gradient: tf.Tensor | None) -> tf.Tensor:
        """Scores of the weights.

        Args:
            weight: Weights, any shape, floating.
            gradient: Gradient state of the same shape, non-negative; None for criteria without one.

        Returns:
            Non-negative scores, shape and dtype of `weight`.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Magnitude:
    """|w| (Zhu and Gupta, 2017, https://arxiv.org/abs/1710.01878)."""

    def scores(self, weight: tf.Tensor, gradient: tf.Tensor | None) -> tf.Tensor:
        """See `Criterion.scores`."""
        del gradient
        return tf.abs(weight)


@dataclasses.dataclass(frozen=True)
class FirstOrder:
    """|w| * G: with G the mean |dL/dw|, a bound of the first-order change of the loss when w goes to zero.

    Molchanov et al., 2017, https://arxiv.org/abs/1611.06440, average the product; here, as in the reference, the
    gradient is averaged and multiplied by the weight as it is now.
    """

    def scores(self, weight: tf.Tensor, gradient: tf.Tensor | None) -> tf.Tensor:
        """See `Criterion.scores`."""
        return tf.abs(weight) * gradient


@dataclasses.dataclass(frozen=True)
class SecondOrder:
    """w^2 * G: with G the mean (dL/dw)^2, Optimal Brain Damage's saliency with the empirical Fisher diagonal.

    With G the size of the Hessian's diagonal, Optimal Brain Damage's own.

    LeCun, Denker and Solla, 1990, "Optimal brain damage". The factor 1/2 changes no ranking and is left out.
    """

    def scores(self, weight: tf.Tensor, gradient: tf.Tensor | None) -> tf.Tensor:
        """See `Criterion.scores`."""
        return tf.square(weight) * gradient


# The reference multiplies |w| for both orders; its second-order state is a weight change, no curvature.
_CRITERIA: dict[tuple[str, str], type[Criterion]] = {
    ("weight", "backprop"): Magnitude,
    ("weight", "weight_delta"): Magnitude,
    ("first_order_gradient", "backprop"): FirstOrder,
    ("first_order_gradient", "weight_delta"): FirstOrder,
    ("second_order_gradient", "backprop"): SecondOrder,
    ("second_order_gradient", "weight_delta"): FirstOrder,
    ("second_order_gradient", "hutchinson"): SecondOrder,
}


def criterion(prune_option: str, gradient_estimator: str) -> Criterion:
    """The criterion of a `prune_option` whose gradient state comes from `gradient_estimator`."""
    return _CRITERIA[prune_option, gradient_estimator]()
