import shutil

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning import PruningHParams, pruning_scope

# Two trainings or more for each.
pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 12)).astype("f")
Y = (X[:, :1] * 2 - X[:, 3:4]).astype("f")
BATCH = 16
STEPS = len(X) // BATCH
EPOCHS = 3
FIELDS = {
    "prune_option": "first_order_gradient",
    "target_sparsity": 0.7,
    "begin_pruning_step": 3,
    "sparsity_function_begin_step": 3,
    "sparsity_function_end_step": 15,
    # Neither the end of the first epoch nor that of the second is a mask update.
    "pruning_frequency": 5,
    "gradient_decay_rate": 0.5,
}


def build(seed):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [keras.layers.Input((12,)), keras.layers.Dense(10, activation="relu"), keras.layers.Dense(1, name="head")]
    )
    model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False)
    return model


def fit(model, callbacks=(), initial_epoch=0, epochs=EPOCHS, **fields):
    with pruning_scope(PruningHParams(**{**FIELDS, **fields})) as scope:
        go_on(model, callbacks, initial_epoch, epochs)
    return scope


def go_on(model, callbacks=(), initial_epoch=0, epochs=EPOCHS):
    model.fit(
        X,
        Y,
        batch_size=BATCH,
        epochs=epochs,
        initial_epoch=initial_epoch,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
    )


class SaveInTheMiddle(keras.callbacks.Callback):
    """Writes a training in every way, after its first epoch."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            self.model.save(self.folder / "model.keras")
            self.model.save_weights(self.folder / "model.weights.h5")
            tf.train.Checkpoint(model=self.model).write(str(self.folder / "checkpoint"))
            shutil.copytree(self.folder / "backup", self.folder / "backup_in_the_middle")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The folder of what was written in the middle, the model and the scope of a training that was not broken off."""
    folder = tmp_path_factory.mktemp("unbroken")
    model = build(seed=1)
    backup = keras.callbacks.BackupAndRestore(str(folder / "backup"))
    # Before it, a training whose steps do not count.
    go_on(model, epochs=1)
    scope = fit(model, [backup, SaveInTheMiddle(folder)])
    return folder, model, scope


def assert_same_training(model, scope, unbroken):
    _, whole, whole_scope = unbroken
    for one, other in zip(model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    pruning, expected = scope.prunings[0], whole_scope.prunings[0]
    assert [steps for _, _, steps in scope.trainings] == [steps for _, _, steps in whole_scope.trainings]
    assert int(pruning.last_mask_update_step) == int(expected.last_mask_update_step)
    for one, other in zip(pruning.states, expected.states, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
        np.testing.assert_array_equal(one.gradient, other.gradient)
        np.testing.assert_array_equal(one.threshold, other.threshold)


def test_the_unbroken_training_is_the_one_asked_for(unbroken):
    _, model, scope = unbroken
    assert [steps for _, _, steps in scope.trainings] == [EPOCHS * STEPS]
    assert [np.count_nonzero(layer.kernel) for layer in model.layers] == [36, 3]


def test_backup_and_restore_goes_on_as_if_unbroken(unbroken, tmp_path):
    shutil.copytree(unbroken[0] / "backup_in_the_middle", tmp_path / "backup")
    model = build(seed=2)
    scope = fit(model, [keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))])
    assert_same_training(model, scope, unbroken)


def test_a_keras_file_loaded_in_the_scope_goes_on_as_if_unbroken(unbroken):
    with pruning_scope(PruningHParams(**FIELDS)) as scope:
        model = keras.models.load_model(unbroken[0] / "model.keras")
        go_on(model, initial_epoch=1)
    assert_same_training(model, scope, unbroken)


def test_weights_loaded_in_the_scope_go_on_as_if_unbroken(unbroken):
    model = build(seed=2)
    model.optimizer.build(model.trainable_variables)
    with pruning_scope(PruningHParams(**FIELDS)) as scope:
        model.load_weights(unbroken[0] / "model.weights.h5")
        go_on(model, initial_epoch=1)
    assert_same_training(model, scope, unbroken)


def test_a_restored_checkpoint_goes_on_as_if_unbroken(unbroken):
    model = build(seed=2)
    model.optimizer.build(model.trainable_variables)
    tf.train.Checkpoint(model=model).read(str(unbroken[0] / "checkpoint"))
    assert_same_training(model, fit(model, initial_epoch=1), unbroken)


def test_weights_loaded_between_two_fits_take_the_training_back(unbroken):
    model = build(seed=2)
    with pruning_scope(PruningHParams(**FIELDS)) as scope:
        go_on(model)
        model.load_weights(unbroken[0] / "model.weights.h5")
        go_on(model, initial_epoch=1)
    assert_same_training(model, scope, unbroken)


def test_a_gradient_state_of_another_option_is_not_taken_up(unbroken):
    states = []

    class AfterTheFirstBatch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            states.append([state.gradient.numpy() for state in scope.prunings[0].states])

    model = build(seed=2)
    with pruning_scope(PruningHParams(**{**FIELDS, "prune_option": "second_order_gradient"})) as scope:
        model.load_weights(unbroken[0] / "model.weights.h5")
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(X[:BATCH]) - Y[:BATCH]) ** 2)
        gradients = tape.gradient(loss, [layer.kernel for layer in model.layers])
        go_on(model, [AfterTheFirstBatch()], initial_epoch=1, epochs=2)
    for state, gradient in zip(states[0], gradients, strict=True):
        np.testing.assert_allclose(state, 0.5 * gradient.numpy() ** 2, rtol=1e-4, atol=1e-8)


def test_masks_of_other_weights_are_refused(unbroken):
    model = build(seed=2)

    def resume():
        model.load_weights(unbroken[0] / "model.weights.h5")
        go_on(model)

    words = r"masks of weights of shapes \[\(12, 10\), \(10, 1\)\].*shapes \[\(12, 10\)\].*exclude"
    with pytest.raises(ValueError, match=words), pruning_scope(PruningHParams(**FIELDS, exclude=["head"])):
        resume()


def test_what_is_saved_after_the_scope_holds_the_model_alone(unbroken, tmp_path):
    folder, model, _ = unbroken
    model.save_weights(tmp_path / "model.weights.h5")
    with h5py.File(folder / "model.weights.h5") as inside, h5py.File(tmp_path / "model.weights.h5") as after:
        assert set(inside) - set(after) == {"tfx_pruning_training"}
