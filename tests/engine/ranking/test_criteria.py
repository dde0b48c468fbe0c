import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning.engine.gradient_state import backprop_sample, moving_average, weight_delta_sample
from tfx_pruning.engine.ranking.criteria import criterion

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
    ],
)
def test_scores(prune_option, estimator, scores):
    computed = criterion(prune_option, estimator).scores(tf.constant(WEIGHT), tf.constant(GRADIENT))
    np.testing.assert_array_equal(computed, scores)


def test_backprop_sample_is_the_absolute_or_squared_gradient():
    gradient = tf.constant([-3.0, 0.5])
    np.testing.assert_array_equal(backprop_sample(gradient, second_order=False), [3.0, 0.5])
    np.testing.assert_array_equal(backprop_sample(gradient, second_order=True), [9.0, 0.25])


def test_backprop_sample_adds_up_repeated_rows_of_sparse_gradients():
    gradient = tf.IndexedSlices(tf.constant([[1.0], [-4.0]]), tf.constant([2, 2]), dense_shape=tf.constant([3, 1]))
    np.testing.assert_array_equal(backprop_sample(gradient, second_order=False), [[0.0], [0.0], [3.0]])


def test_weight_delta_sample_is_the_normalised_change():
    weight, old, older = tf.constant([4.0, 1.0]), tf.constant([1.0, 5.0]), tf.constant([0.0, 9.0])
    np.testing.assert_allclose(weight_delta_sample(weight, old, None), [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(weight_delta_sample(weight, old, older), [1.0, 0.0], rtol=1e-6)


def test_moving_average():
    np.testing.assert_allclose(moving_average(tf.constant([1.0]), tf.constant([5.0]), 0.75), [2.0])
