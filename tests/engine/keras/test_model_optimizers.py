"""Models with several optimizers: keras.optimizers.MultiOptimizer, and those of a `train_step` of one's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from helpers.fits import (
    BATCH,
    STEPS,
    X,
    assert_exact,
    assert_gradient_states,
    build,
    gradients_by_hand,
    hparams,
    kernels,
    pruned_fit,
    unchanged,
)
from tfx_pruning import pruning_scope
from tfx_pruning.engine.weight_state import WeightState, path_of

ADAM, SGD = keras.optimizers.Adam, keras.optimizers.SGD


def by_function():
    hidden, head = ADAM(0.01), SGD(0.01)
    return keras.optimizers.MultiOptimizer(lambda weight: hidden if weight.shape[-1] == 10 else head)


def by_map():
    return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(ADAM(0.01), {".*bias": SGD(0.01)}))


def one_for_each_weight():
    return keras.optimizers.MultiOptimizer(lambda weight: ADAM(0.01))


def scaled():
    return keras.optimizers.LossScaleOptimizer(by_function(), initial_scale=8.0)


@pytest.mark.parametrize("make", [by_function, by_map, one_for_each_weight, scaled])
def test_multi_optimizer_prunes_exactly_by_the_gradients_of_each(make):
    model, by_hand, optimizer = build(), gradients_by_hand(unchanged), make()
    scope = pruned_fit(model, optimizer, callbacks=[by_hand])
    assert_exact(model)
    assert_gradient_states(scope, by_hand.averages)
    assert [steps for _, _, steps in scope.trainings] == [2 * STEPS]
    multi = getattr(optimizer, "inner_optimizer", optimizer)
    assert type(multi) is keras.optimizers.MultiOptimizer
    assert {type(inner) for inner in multi.optimizers} <= {ADAM, SGD}


@pytest.mark.parametrize("units", [10, 300])  # the kernels of 300 are masked in the assignment
def test_multi_optimizer_of_one_optimizer_prunes_as_that_one(units):
    results = []
    for wrap in (lambda optimizer: optimizer, lambda optimizer: keras.optimizers.MultiOptimizer(lambda _: optimizer)):
        keras.utils.set_random_seed(1)
        layers = [keras.layers.Input((12,)), keras.layers.Dense(units), keras.layers.Dense(300), keras.layers.Dense(1)]
        model = keras.Sequential(layers)
        pruned_fit(model, wrap(ADAM(0.001)))
        results.append(model.get_weights())
    for weight, other in zip(*results, strict=True):
        np.testing.assert_array_equal(weight, other)


def test_moving_averages_that_an_inner_optimizer_keeps_are_pruned():
    model = build()
    averaged, plain = ADAM(0.01, use_ema=True, ema_momentum=0.9), SGD(0.01)
    optimizer = keras.optimizers.MultiOptimizer(lambda weight: averaged if weight.shape[-1] == 10 else plain)
    pruned_fit(model, optimizer)
    assert_exact(model)
    kernel = kernels(model)[0]
    average = averaged._model_variables_moving_average[averaged._get_variable_index(kernel)].numpy()
    assert not np.any(average[~WeightState.existing(kernel).mask.numpy()])
    np.testing.assert_array_equal(kernel, average)


def test_multi_optimizer_regrows_exactly():
    model = build()
    fields = {"sparsity_function": "constant", "sparsity_function_begin_step": 1, "begin_pruning_step": 1}
    pruned_fit(model, by_function(), regrow="gradient", end_pruning_step=11, **fields)
    assert_exact(model)


def test_a_file_of_a_model_with_multi_optimizer_loads_without_this_package(tmp_path):
    path = str(tmp_path / "model.keras")
    model = build()
    pruned_fit(model, by_map(), callbacks=[keras.callbacks.ModelCheckpoint(path)])
    loaded = keras.models.load_model(path)
    assert type(loaded.optimizer) is keras.optimizers.MultiOptimizer
    assert sorted(type(inner).__name__ for inner in loaded.optimizer.optimizers) == ["Adam", "SGD"]
    for weight, other in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)


def gan(version, held_in="attributes", critic_steps=1):
    """A GAN of `version` whose `train_step` asserts that pruned weights are zero after each optimizer's step."""
    layers, optimizers = version.layers, version.optimizers

    class Gan(version.Model):
        def __init__(self):
            super().__init__()
            hidden = {"activation": "relu"}
            self.critic = version.Sequential([layers.Input((12,)), layers.Dense(10, **hidden), layers.Dense(1)])
            self.generator = version.Sequential([layers.Input((4,)), layers.Dense(20, **hidden), layers.Dense(12)])
            pair = [optimizers.Adam(0.01), optimizers.Adam(0.01)]
            if held_in == "attributes":
                self.critic_optimizer, self.generator_optimizer = pair
            elif held_in == "list":
                self.pair = pair
            else:
                self.pair = {"critic": pair[0], "generator": pair[1]}
            self.made = pair

        def call(self, x):
            return self.critic(x)

        def train_step(self, data):
            real = data[0] if isinstance(data, (list, tuple)) else data
            if held_in == "attributes":
                critic_optimizer, generator_optimizer = self.critic_optimizer, self.generator_optimizer
            elif held_in == "list":
                critic_optimizer, generator_optimizer = self.pair
            else:
                critic_optimizer, generator_optimizer = self.pair["critic"], self.pair["generator"]
            noise = tf.random.normal([BATCH, 4], seed=1)
            for _ in range(critic_steps):
                with tf.GradientTape() as tape:
                    fake = self.critic(self.generator(noise))
                    loss = tf.reduce_mean(tf.nn.softplus(fake) + tf.nn.softplus(-self.critic(real)))
                self.step(critic_optimizer, tape, loss, self.critic.trainable_variables)
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.nn.softplus(-self.critic(self.generator(noise))))
            self.step(generator_optimizer, tape, loss, self.generator.trainable_variables)
            return {"loss": loss}

        def step(self, optimizer, tape, loss, variables):
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            for weight in self.trainable_variables:
                state = WeightState.existing(weight)
                if state is not None and path_of(weight).endswith("kernel"):
                    left = tf.where(state.mask, tf.zeros_like(state.weight), state.weight)
                    tf.debugging.assert_equal(tf.math.count_nonzero(left), tf.constant(0, tf.int64))

    return Gan()


def fitted_gan(version, epochs=2, held_in="attributes", critic_steps=1, **fields):
    version.utils.set_random_seed(1)
    model = gan(version, held_in, critic_steps)
    model.compile()
    with pruning_scope(hparams(prune_option="first_order_gradient", **fields)) as scope:
        model.fit(X, batch_size=BATCH, epochs=epochs, verbose=0)
    return model, scope


@pytest.mark.parametrize("version", [keras, tf_keras])
def test_a_gan_with_two_optimizers_is_pruned_exactly(version):
    model, scope = fitted_gan(version)
    assert len(scope.prunings[0].states) == 4
    assert_exact(model)
    assert [steps for _, _, steps in scope.trainings] == [2 * STEPS]
    for state in scope.prunings[0].states:
        assert np.any(state.gradient), state.path
    for optimizer in model.made:
        assert type(optimizer) is version.optimizers.Adam


@pytest.mark.parametrize("held_in", ["list", "dict"])
def test_optimizers_in_lists_and_dicts_are_found(held_in):
    model, _ = fitted_gan(keras, held_in=held_in)
    assert_exact(model)


def test_the_optimizer_that_has_taken_the_most_steps_counts_them():
    model, scope = fitted_gan(keras, epochs=1, critic_steps=2)
    assert [steps for _, _, steps in scope.trainings] == [2 * STEPS]
    assert_exact(model)
    assert int(scope.prunings[0].last_mask_update_step) == 2 * STEPS - 1


def test_a_second_fit_goes_on_counting():
    model = gan(keras)
    model.compile()
    with pruning_scope(hparams()) as scope:
        for _ in range(2):
            model.fit(X, batch_size=BATCH, verbose=0)
    assert [steps for _, _, steps in scope.trainings] == [2 * STEPS]
    assert_exact(model)


def test_regrowth_with_two_optimizers_is_refused():
    with pytest.raises(ValueError, match=r"2 optimizers of .*MultiOptimizer"):
        fitted_gan(keras, regrow="gradient")
