import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from helpers.fits import (
    BATCH,
    STEPS,
    Y,
    assert_exact,
    assert_gradient_states,
    build,
    clipped,
    gradients_by_hand,
    gradients_by_hand_class,
    kernels,
    pruned_fit,
    unchanged,
)
from tfx_pruning.engine.weight_state import WeightState

# A training for each, and for some a step that XLA compiles.
pytestmark = pytest.mark.slow


class Accumulated:
    """The mean gradient of every three batches."""

    def __init__(self):
        self.batches = []

    def __call__(self, gradients):
        self.batches.append(gradients)
        if len(self.batches) < 3:
            return None
        mean = [np.mean(batches, axis=0) for batches in zip(*self.batches, strict=True)]
        self.batches = []
        return mean


@pytest.mark.parametrize(
    ("optimizer", "transform", "epochs"),
    [
        (lambda: keras.optimizers.SGD(0.01, momentum=0.9, clipnorm=0.2), clipped, 2),
        (lambda: keras.optimizers.AdamW(0.01, weight_decay=0.5), unchanged, 2),
        (lambda: keras.optimizers.SGD(0.01, gradient_accumulation_steps=3), Accumulated(), 6),
    ],
    ids=["clipnorm", "weight_decay", "gradient_accumulation"],
)
def test_the_gradient_state_averages_what_the_update_gets(optimizer, transform, epochs):
    model, by_hand = build(), gradients_by_hand(transform)
    scope = pruned_fit(model, optimizer(), callbacks=[by_hand], epochs=epochs)
    assert [steps for _, _, steps in scope.trainings] == [2 * STEPS]
    assert_gradient_states(scope, by_hand.averages)
    assert_exact(model)


@pytest.mark.numerical
def test_mixed_precision_sees_unscaled_gradients_and_counts_no_skipped_batch():
    class OfStepsTaken(gradients_by_hand_class(keras)):
        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.optimizer.inner_optimizer.iterations) > self.steps:
                super().on_train_batch_end(batch, logs)
            self.steps = int(self.model.optimizer.inner_optimizer.iterations)

        steps = 0

    model, by_hand = build(dtype="mixed_float16"), OfStepsTaken(unchanged)
    # The first batches overflow float16, until the scale has been halved often enough.
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01), initial_scale=2.0**19)
    scope = pruned_fit(model, optimizer, callbacks=[by_hand], epochs=4)
    (steps,) = [steps for _, _, steps in scope.trainings]
    assert steps == int(optimizer.inner_optimizer.iterations)
    assert 9 < steps < 4 * STEPS
    # float16 has 11 bits, and the scaled loss is rounded elsewhere than the one by hand.
    assert_gradient_states(scope, by_hand.averages, rtol=0.02, atol=1e-4)
    assert_exact(model)


def test_a_custom_train_step_is_pruned_by_the_gradients_it_applies():
    class Doubled(keras.Sequential):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((self(x, training=True) - y) ** 2)
            variables = self.trainable_variables
            gradients = [2.0 * gradient for gradient in tape.gradient(loss, variables)]
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
            return {"loss": loss}

    model, by_hand = Doubled(build().layers), gradients_by_hand(lambda gradients: [2 * g for g in gradients])
    scope = pruned_fit(model, keras.optimizers.SGD(0.01), callbacks=[by_hand])
    assert_gradient_states(scope, by_hand.averages)
    assert_exact(model)
    assert list(model.history.history) == ["loss", "sparsity"]


@pytest.mark.parametrize("frequency", [None, 4])
def test_moving_averages_of_the_weights_are_pruned_too(frequency):
    class AveragesAreZero(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            for kernel in kernels(self.model):
                average = optimizer._model_variables_moving_average[optimizer._get_variable_index(kernel)].numpy()
                assert not np.any(average[WeightState.existing(kernel).mask.numpy() == 0])
                assert np.any(average)

    model = build()
    optimizer = keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=frequency)
    pruned_fit(model, optimizer, callbacks=[AveragesAreZero()])
    assert_exact(model)
    # What `fit` leaves behind are the averages.
    for kernel in kernels(model):
        average = optimizer._model_variables_moving_average[optimizer._get_variable_index(kernel)]
        np.testing.assert_array_equal(kernel, average)


def test_several_steps_in_one_execution_prune_like_single_ones():
    results = []
    for steps_per_execution in (1, 4):
        keras.utils.set_random_seed(0)
        model = build()
        scope = pruned_fit(
            model, keras.optimizers.Adam(0.01), compile_args={"steps_per_execution": steps_per_execution}
        )
        assert [steps for _, _, steps in scope.trainings] == [2 * STEPS]
        states = scope.prunings[0].states
        results.append([model.history.history["sparsity"], *[[s.weight, s.mask, s.gradient] for s in states]])
    assert_exact(model)
    for one, other in zip(tf.nest.flatten(results[0]), tf.nest.flatten(results[1]), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("prune_option", ["weight", "first_order_gradient", "second_order_gradient"])
def test_a_step_compiled_by_xla_prunes_like_an_uncompiled_one(prune_option):
    assert_compiled_step_prunes_alike(build, prune_option)


@pytest.mark.slow
@pytest.mark.parametrize("version", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_a_large_weight_in_a_step_compiled_by_xla(version):
    def large():
        layers = version.layers
        return version.Sequential([layers.Input((12,)), layers.Dense(600), layers.Dense(500), layers.Dense(1)])

    assert_compiled_step_prunes_alike(large, "first_order_gradient", version)


def assert_compiled_step_prunes_alike(build, prune_option, version=keras):
    results = []
    for jit_compile in (True, False):
        version.utils.set_random_seed(3)
        model = build()
        pruned_fit(
            model, version.optimizers.Adam(0.01), compile_args={"jit_compile": jit_compile}, prune_option=prune_option
        )
        assert_exact(model)
        results.append([kernel.numpy() for kernel in kernels(model)])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one != 0, other != 0)
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_mirrored_replicas_agree_with_one_device():
    devices = tf.config.list_logical_devices("CPU")
    assert len(devices) == 2, "conftest.py splits the CPU into two logical devices"
    results = []
    for strategy in (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy([d.name for d in devices])):
        keras.utils.set_random_seed(2)
        with strategy.scope():
            model = build()
            scope = pruned_fit(model, keras.optimizers.SGD(0.01, momentum=0.9))
        assert_exact(model)
        results.append(scope.prunings[0])
    for mirrored in (*results[1].masks, *results[1].weights, *(state.gradient for state in results[1].states)):
        replicas = [component.numpy() for component in mirrored.values]
        np.testing.assert_array_equal(replicas[0], replicas[1])
    for one, other in zip(results[0].states, results[1].states, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
        np.testing.assert_allclose(one.gradient, other.gradient, rtol=1e-4, atol=1e-7)


def labels_with_nan():
    """The labels, one of the fifth batch NaN; a NaN among the features may become 0 in a kernel of oneDNN."""
    y = Y.copy()
    y[4 * BATCH] = np.nan
    return y


@pytest.mark.numerical
@pytest.mark.parametrize(
    ("fields", "steps"),
    [({"prune_option": "weight"}, "[57]"), ({"pruning_frequency": 100}, "12")],
    ids=["at the next mask update", "at the end"],
)
def test_weights_that_become_nan_stop_the_training_by_name(fields, steps):
    model, y = build(), labels_with_nan()
    words = rf"sequential\S*/dense\S*/kernel is NaN or infinite after {steps} optimizer steps"
    with pytest.raises(FloatingPointError, match=words):
        pruned_fit(model, keras.optimizers.Adam(0.01), y=y, **fields)


@pytest.mark.numerical
def test_one_batch_that_the_loss_scale_skips_stops_nothing():
    model, y = build(dtype="mixed_float16"), labels_with_nan()
    scope = pruned_fit(model, keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01), 2.0**8), y=y)
    assert [steps for _, _, steps in scope.trainings] == [2 * (STEPS - 1)]
    assert_exact(model)


@pytest.mark.numerical
def test_a_hundred_batches_that_the_loss_scale_skips_stop_the_training():
    model = build(dtype="mixed_float16")
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01))
    with pytest.raises(FloatingPointError, match="skipped 100 batches in a row"):
        pruned_fit(model, optimizer, y=np.full_like(Y, np.nan), batch_size=1, epochs=3)
    assert int(optimizer.inner_optimizer.iterations) == 0
    assert all(np.all(np.isfinite(kernel)) for kernel in kernels(model))


class Guarding(keras.optimizers.SGD):
    """Leaves the weights alone where a gradient is NaN."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(tf.where(tf.math.is_nan(gradient), 0.0, gradient), variable, learning_rate)


@pytest.mark.numerical
def test_gradients_that_are_nan_stop_the_training_even_if_the_optimizer_guards_the_weights():
    model, y = build(), labels_with_nan()
    with pytest.raises(FloatingPointError, match=r"The gradient state of \S*/kernel is NaN or infinite after [57]"):
        pruned_fit(model, Guarding(0.01), y=y)
    assert all(np.all(np.isfinite(kernel)) for kernel in kernels(model))


class WritesItself(keras.optimizers.SGD):
    """Assigns past the optimizer's own methods after it has called one."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient, variable, learning_rate)
        variable.assign_sub(learning_rate * gradient)


@pytest.mark.parametrize(
    "optimizer",
    [
        *(
            getattr(keras.optimizers, name)
            for name in (
                "Adadelta",
                "Adafactor",
                "Adagrad",
                "Adamax",
                "Ftrl",
                "Lamb",
                "Lion",
                "Muon",
                "Nadam",
                "RMSprop",
                "ScheduleFreeAdamW",
            )
        ),
        WritesItself,
    ],
)
def test_pruned_weights_are_zero_after_each_step_of_any_optimizer(optimizer):
    model = build()
    # By magnitude: by gradients, a weight that has none ties with the pruned ones, and Lion leaves it where it is.
    pruned_fit(model, optimizer(0.01), epochs=2, prune_option="weight")
    assert_exact(model)


@keras.saving.register_keras_serializable("house")
class HouseAdam(keras.optimizers.Adam):
    """An optimizer of a user's, registered."""


@tf_keras.saving.register_keras_serializable("house")
class HouseAdam2(tf_keras.optimizers.Adam):
    """The same of tf_keras."""


@tf_keras.saving.register_keras_serializable("house")
class HouseLegacy(tf_keras.optimizers.legacy.Adam):
    """And of its older kind."""


@pytest.mark.parametrize(
    ("version", "optimizer", "endings"),
    [
        (keras, HouseAdam, (".keras",)),
        (tf_keras, HouseAdam2, (".keras", ".h5", "")),
        (tf_keras, HouseLegacy, (".keras", ".h5", "")),
    ],
)
def test_what_is_written_in_a_fit_names_the_users_own_optimizer(version, optimizer, endings, tmp_path):
    written = []

    class Writes(version.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            written.append(version.saving.serialize_keras_object(self.model.optimizer))
            for ending in endings:
                self.model.save(f"{tmp_path}/model{ending}", overwrite=True)

    model = build(version)
    pruned_fit(model, optimizer(0.01), callbacks=[Writes()])
    assert written[-1]["registered_name"] == f"house>{optimizer.__name__}"
    assert written[-1] == version.saving.serialize_keras_object(model.optimizer)
    for ending in endings:
        loaded = version.models.load_model(f"{tmp_path}/model{ending}")
        assert type(loaded.optimizer) is optimizer
        np.testing.assert_array_equal(loaded.layers[0].kernel, model.layers[0].kernel)


def test_a_wrapped_optimizer_is_written_by_the_users_own_name_too():
    written = []

    class Writes(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            written.append(keras.saving.serialize_keras_object(self.model.optimizer))

    pruned_fit(build(), keras.optimizers.LossScaleOptimizer(HouseAdam(0.01)), callbacks=[Writes()])
    assert written[-1]["config"]["inner_optimizer"]["registered_name"] == "house>HouseAdam"
