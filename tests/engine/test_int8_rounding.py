"""Rounding to int8: values by hand, zeros, and gradients."""

import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning.engine.int8_rounding import rounded_activation, rounded_weight, straight_through


def test_each_channel_of_a_weight_has_a_scale_of_its_own():
    weight = tf.constant([[127.0, 0.5], [-3.4, -1.0], [0.6, 0.0]])
    step = 1.0 / 127.0
    expected = [[127.0, 64 * step], [-3.0, -1.0], [1.0, 0.0]]
    np.testing.assert_allclose(rounded_weight(weight, (-1,)), expected, rtol=1e-6)


def test_channels_may_be_the_last_axes_together_or_one_before_the_last():
    weight = np.random.default_rng(0).normal(size=(3, 3, 4, 2)).astype("f")
    depthwise = rounded_weight(tf.constant(weight), (-2, -1)).numpy()
    transposed = rounded_weight(tf.constant(weight), (-2,)).numpy()
    for channel in range(4):
        scale = np.abs(weight[:, :, channel]).max() / 127
        np.testing.assert_allclose(transposed[:, :, channel] / scale, np.rint(weight[:, :, channel] / scale), atol=1e-4)
        for output in range(2):
            part = weight[:, :, channel, output]
            scale = np.abs(part).max() / 127
            np.testing.assert_allclose(depthwise[:, :, channel, output] / scale, np.rint(part / scale), atol=1e-4)


def test_zeros_of_a_weight_stay_and_a_channel_of_zeros_is_no_division_by_zero():
    weight = np.random.default_rng(1).normal(size=(50, 7)).astype("f")
    weight[np.random.default_rng(2).random((50, 7)) < 0.9] = 0.0
    weight[:, 3] = 0.0
    rounded = rounded_weight(tf.constant(weight), (-1,)).numpy()
    assert np.all(rounded[weight == 0] == 0)
    assert np.all(np.isfinite(rounded))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 255.0, 100.4], [0.0, 255.0, 100.0]),
        ([-55.3, 199.7, 3.0], [-55.0, 200.0, 3.0]),  # the range is moved, so that zero is a code
        ([-255.0, -0.4], [-255.0, 0.0]),
        ([25.41, 51.0], [25.4, 51.0]),  # widened to hold zero: a step of 0.2
        ([0.0, 0.0], [0.0, 0.0]),
    ],
)
def test_activations_have_256_values_with_zero_among_them(values, expected):
    found = rounded_activation(tf.constant(values)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_rounded_range_of_any_activations_has_at_most_256_values_and_half_a_step_of_error():
    values = np.random.default_rng(3).normal(0.7, 2.0, 5000).astype("f")
    found = rounded_activation(tf.constant(values)).numpy()
    step = (values.max() - values.min()) / 255
    assert 100 < len(np.unique(found)) <= 256
    assert np.abs(found - values).max() < 1.001 * step  # the ends of the range move by up to half a step more


@pytest.mark.parametrize("compiled", [False, True])
def test_the_gradient_passes_straight_through_and_off_changes_no_bit(compiled):
    value = tf.constant(np.random.default_rng(4).normal(size=100).astype("f"))

    @tf.function(jit_compile=compiled)
    def run(is_on):
        with tf.GradientTape() as tape:
            tape.watch(value)
            rounded = straight_through(value, tf.round, is_on)
            loss = tf.reduce_sum(rounded * rounded)
        return rounded, tape.gradient(loss, value)

    rounded, gradient = run(tf.constant(True))
    np.testing.assert_array_equal(rounded, np.rint(value))
    np.testing.assert_array_equal(gradient, 2 * np.rint(value))
    rounded, gradient = run(tf.constant(False))
    np.testing.assert_array_equal(rounded, value)
    np.testing.assert_array_equal(gradient, 2 * value)
