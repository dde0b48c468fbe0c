import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning.engine.choices import CRITERIA
from tfx_pruning.engine.gradient_state import moving_average
from tfx_pruning.engine.ranking.criteria import (
    FirstOrder,
    HessianDiagonal,
    SecondOrder,
    SecondWeightChange,
    WeightChange,
)

WEIGHT = [[-2.0, 0.0], [0.5, 3.0]]
GRADIENT = [[1.0, 5.0], [4.0, 0.0]]


@pytest.mark.parametrize(
    ("prune_option", "estimator", "scores"),
    [
        ("weight", "backprop", [[2.0, 0.0], [0.5, 3.0]]),
        ("weight", "weight_delta", [[2.0, 0.0], [0.5, 3.0]]),
        ("first_order_gradient", "backprop", [[2.0, 0.0], [2.0, 0.0]]),
        ("first_order_gradient", "weight_delta", [[2.0, 0.0], [2.0, 0.0]]),
        ("second_order_gradient", "backprop", [[4.0, 0.0], [1.0, 0.0]]),
        ("second_order_gradient", "weight_delta", [[2.0, 0.0], [2.0, 0.0]]),
        ("second_order_gradient", "hutchinson", [[4.0, 0.0], [1.0, 0.0]]),
        ("second_order_gradient", "block_fisher", [[4.0, 0.0], [1.0, 0.0]]),
        ("wanda", "backprop", [[2.0, 0.0], [2.0, 0.0]]),
        ("obc", "backprop", [[4.0, 0.0], [1.0, 0.0]]),
    ],
)
def test_scores(prune_option, estimator, scores):
    criterion = CRITERIA.get(prune_option)[estimator]()
    computed = criterion.scores(tf.constant(WEIGHT), tf.constant(GRADIENT))
    np.testing.assert_array_equal(computed, scores)


def test_all_built_in_criteria_are_scored_above_and_take_the_samples_they_are_named_for():
    rows = {(option, estimator) for option, entry in CRITERIA.built_in.items() for estimator in entry}
    assert {(option, estimator) for option, estimator, _ in test_scores.pytestmark[0].args[1]} == rows
    for option, estimator in rows:
        without = option in ("weight", "wanda", "obc")
        assert CRITERIA.get(option)[estimator]().estimator == (None if without else estimator)


def test_the_size_of_a_second_derivative_counts():
    scores = HessianDiagonal().scores(tf.constant([2.0, 2.0]), tf.constant([-1.0, 0.5]))
    np.testing.assert_array_equal(scores, [4.0, 2.0])


def test_samples_of_gradients_are_absolute_or_squared():
    gradient = tf.constant([-3.0, 0.5])
    np.testing.assert_array_equal(FirstOrder().sample(gradient), [3.0, 0.5])
    np.testing.assert_array_equal(SecondOrder().sample(gradient), [9.0, 0.25])


def test_samples_of_weight_changes_are_normalised():
    weight, old, older = tf.constant([4.0, 1.0]), tf.constant([1.0, 5.0]), tf.constant([0.0, 9.0])
    np.testing.assert_allclose(WeightChange().sample(weight, old), [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(SecondWeightChange().sample(weight, old, older), [1.0, 0.0], rtol=1e-6)


def test_moving_average():
    np.testing.assert_allclose(moving_average(tf.constant([1.0]), tf.constant([5.0]), 0.75), [2.0])
