"""Models of tf_keras (Keras 2), whose `fit` is pruned as that of Keras 3 models is."""

import os

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from helpers.fits import (
    BATCH,
    STEPS,
    X,
    Y,
    assert_exact,
    build,
    clipped,
    gradients_by_hand,
    kernels,
    pruned_fit,
    unbuilt,
    unchanged,
)
from tfx_pruning import PruningHParams, pruning_scope

layers = tf_keras.layers
legacy = tf_keras.optimizers.legacy


def compiled_by_xla():
    optimizer = tf_keras.optimizers.SGD(0.01, momentum=0.9)
    optimizer.jit_compile = True  # which tf_keras does by itself where there is a GPU
    return optimizer


@pytest.mark.slow
@pytest.mark.parametrize("build", [build, unbuilt])
@pytest.mark.parametrize(
    ("optimizer", "transform"),
    [
        (lambda: tf_keras.optimizers.Adam(0.01), unchanged),
        (lambda: tf_keras.optimizers.AdamW(0.01, weight_decay=0.1), unchanged),
        (lambda: tf_keras.optimizers.SGD(0.01, momentum=0.9, clipnorm=0.2), clipped),
        (compiled_by_xla, unchanged),
        (lambda: legacy.Adam(0.01), unchanged),
        (lambda: legacy.SGD(0.01, momentum=0.9, clipnorm=0.2), clipped),
    ],
    ids=["adam", "adamw", "clipnorm", "xla", "legacy adam", "legacy clipnorm"],
)
def test_fit_delivers_the_sparsity_and_averages_the_gradients_of_the_update(build, optimizer, transform):
    model, by_hand = build(tf_keras), gradients_by_hand(transform, tf_keras)
    model.build((None, 12)) if not model.built else None
    scope = pruned_fit(model, optimizer(), callbacks=[by_hand])
    assert_exact(model)
    assert [steps for _, _, steps in scope.trainings] == [2 * STEPS]
    for state, average in zip(scope.prunings[0].states, by_hand.averages, strict=True):
        np.testing.assert_allclose(state.gradient, average, rtol=1e-4, atol=1e-7)


def test_a_model_that_fit_builds_is_pruned():
    model = unbuilt(tf_keras)
    scope = pruned_fit(model, "adam", prune_option="second_order_gradient")
    assert_exact(model)
    assert all(np.any(state.gradient) for state in scope.prunings[0].states)


@pytest.mark.slow
@pytest.mark.parametrize("legacy_optimizer", [False, True], ids=["new", "legacy"])
def test_mixed_precision_sees_unscaled_gradients_and_counts_no_skipped_batch(legacy_optimizer):
    x = X.copy()
    x[4 * BATCH, 0] = np.nan
    sgd = legacy.SGD(0.01) if legacy_optimizer else tf_keras.optimizers.SGD(0.01)
    model = build(tf_keras, "mixed_float16")
    optimizer = tf_keras.mixed_precision.LossScaleOptimizer(sgd, initial_scale=2.0**8)
    scope = pruned_fit(model, optimizer, x=x)
    assert [steps for _, _, steps in scope.trainings] == [2 * (STEPS - 1)]
    assert_exact(model)

    gradients = gradients_by_hand(unchanged, tf_keras)
    model = build(tf_keras, "mixed_float16")
    scope = pruned_fit(
        model, tf_keras.mixed_precision.LossScaleOptimizer(type(sgd)(0.01), initial_scale=2.0**8), callbacks=[gradients]
    )
    for state, average in zip(scope.prunings[0].states, gradients.averages, strict=True):
        assert state.weight.dtype == tf.float32
        np.testing.assert_allclose(state.gradient, average, rtol=0.02, atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("frequency", [None, 4])
def test_moving_averages_of_the_weights_are_pruned_too(frequency):
    model = build(tf_keras)
    optimizer = tf_keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=frequency)
    pruned_fit(model, optimizer)
    assert_exact(model)


@pytest.mark.slow
@pytest.mark.parametrize("compile_args", [{"steps_per_execution": 4}, {"jit_compile": True}, {"run_eagerly": True}])
def test_ways_of_running_the_steps_give_the_same_masks(compile_args):
    masks = []
    for args in ({}, compile_args):
        tf_keras.utils.set_random_seed(1)
        model = build(tf_keras)
        masks.append([mask.numpy() for mask in pruned_fit(model, "adam", compile_args=args).prunings[0].masks])
        assert_exact(model)
    for one, other in zip(*masks, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", legacy.Adam(0.01)], ids=["new", "legacy"])
def test_recurrent_layers_and_sparse_gradients_of_embeddings(optimizer):
    model = tf_keras.Sequential([layers.Input((5,)), layers.Embedding(8, 6), layers.LSTM(7), layers.Dense(1)])
    words = np.random.default_rng(0).integers(0, 8, size=(96, 5))
    scope = pruned_fit(model, optimizer, x=words, include=["kernel", "embeddings"])
    assert len(scope.prunings[0].states) == 4
    for state in scope.prunings[0].states:
        assert np.count_nonzero(state.weight) == round(state.size * 0.3), state.path
        assert np.all(np.isfinite(state.gradient)), state.path
        assert np.any(state.gradient), state.path


def assert_replicas_equal(pruning):
    for mirrored in (*pruning.masks, *pruning.weights, *(state.gradient for state in pruning.states)):
        replicas = [component.numpy() for component in mirrored.values]
        assert len(replicas) == 2
        assert np.any(replicas[0])
        np.testing.assert_array_equal(replicas[0], replicas[1])


@pytest.mark.slow
@pytest.mark.parametrize("sgd", [tf_keras.optimizers.SGD, legacy.SGD], ids=["new", "legacy"])
def test_mirrored_replicas_agree_under_mixed_precision(sgd):
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    with tf.distribute.MirroredStrategy(devices).scope():
        model = build(tf_keras, "mixed_float16")
        scope = pruned_fit(model, tf_keras.mixed_precision.LossScaleOptimizer(sgd(0.01), initial_scale=2.0**8))
    assert_exact(model)
    assert_replicas_equal(scope.prunings[0])


@pytest.mark.slow
@pytest.mark.parametrize("build", [build, unbuilt])
@pytest.mark.parametrize(
    "optimizer",
    [lambda: tf_keras.optimizers.SGD(0.01, momentum=0.9), lambda: legacy.SGD(0.01, momentum=0.9)],
    ids=["new", "legacy"],
)
def test_mirrored_replicas_agree_with_one_device(build, optimizer):
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    results = []
    for strategy in (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(devices)):
        tf_keras.utils.set_random_seed(2)
        with strategy.scope():
            model = build(tf_keras)
            scope = pruned_fit(model, optimizer())
        assert_exact(model)
        results.append(scope.prunings[0])
    assert_replicas_equal(results[1])
    for one, other in zip(results[0].states, results[1].states, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
        np.testing.assert_allclose(one.gradient, other.gradient, rtol=1e-4, atol=1e-7)


def test_a_custom_train_step_is_pruned_and_a_constraint_holds():
    class Custom(tf_keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden = layers.Dense(10, activation="relu", kernel_constraint=tf_keras.constraints.MaxNorm(0.5))
            self.head = layers.Dense(1)

        def call(self, x):
            return self.head(self.hidden(x))

        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((self(x, training=True) - y) ** 2)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            return {"loss": loss}

    model = Custom()
    pruned_fit(model, "adam")
    assert_exact(model)
    assert np.all(np.linalg.norm(model.hidden.kernel, axis=0) <= 0.5 + 1e-6)


@pytest.mark.slow
def test_logs_show_the_sparsity_and_a_second_fit_goes_on():
    model = build(tf_keras)
    model.compile("adam", "mse", metrics=["mae"])
    hparams = PruningHParams(
        target_sparsity=0.7, sparsity_function_end_step=2 * STEPS, pruning_frequency=1, begin_pruning_step=1
    )
    histories = []
    with pruning_scope(hparams) as scope:
        for _ in range(2):
            histories.append(model.fit(X, Y, batch_size=BATCH, verbose=0).history)
            assert histories[-1]["sparsity"] == [scope.prunings[0].sparsity()]
    assert 0.3 < histories[0]["sparsity"][0] < 0.7
    assert_exact(model)
    assert set(histories[0]) == {"loss", "mae", "sparsity"}
    # Those of the epoch, as tf_keras has them without a scope, and not those of its last batch.
    assert histories[1]["mae"] != [model.evaluate(X[-BATCH:], Y[-BATCH:], verbose=0)[1]]


@pytest.mark.slow
def test_outside_the_scope_training_is_the_users_again():
    model = build(tf_keras)
    optimizer = tf_keras.optimizers.Adam(0.01)
    pruned_fit(model, optimizer)
    assert type(optimizer) is tf_keras.optimizers.Adam
    assert tf_keras.Model.fit.__module__.startswith("tf_keras")
    model.fit(X, Y, verbose=0)
    assert all(np.count_nonzero(kernel) == kernel.numpy().size for kernel in kernels(model))


@pytest.mark.slow
def test_a_training_that_broke_off_goes_on_bit_for_bit(tmp_path):
    class BreaksOff(tf_keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    results = []
    for name, broken in (("whole", False), ("broken", True)):
        for callbacks in ([BreaksOff()], []) if broken else ([],):
            tf_keras.utils.set_random_seed(3)
            model = build(tf_keras)
            backup = tf_keras.callbacks.BackupAndRestore(os.path.join(tmp_path, name))
            try:
                scope = pruned_fit(model, tf_keras.optimizers.Adam(0.01), callbacks=[backup, *callbacks])
            except KeyboardInterrupt:
                continue
        assert_exact(model)
        results.append(scope.prunings[0])
    for one, other in zip(results[0].states, results[1].states, strict=True):
        np.testing.assert_array_equal(one.weight, other.weight)
        np.testing.assert_array_equal(one.mask, other.mask)
        np.testing.assert_array_equal(one.gradient, other.gradient)


@pytest.mark.slow
def test_weights_that_become_nan_stop_the_training_by_name():
    x = X.copy()
    x[4 * BATCH, 0] = np.nan
    with pytest.raises(FloatingPointError, match=r"dense\S*/kernel is NaN or infinite after [57] optimizer steps"):
        pruned_fit(build(tf_keras), "adam", x=x)
