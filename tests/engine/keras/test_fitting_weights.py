"""Weights that were loaded, set or trained without their masks are said, once; in ordinary trainings nothing is."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from helpers.fits import BATCH, STEPS, X, Y, assert_exact, build, hparams, kernels
from helpers.user_warnings import warned
from tfx_pruning import PruningHParams, apply_mask, pruning_scope

VERSIONS = pytest.mark.parametrize("version", [keras, tf_keras])
# Of `build`'s kernels with 70 % zeros: (84 + 7) of 130.
SHARE = "70.00%"
LOST = rf"dense\S*/kernel, \S*dense\S*/kernel came with {SHARE} zeros and without masks"
COVERED = r"dense\S*/kernel came with nonzero values where the masks prune"
CHANGED = r"^After the last fit, .*dense\S*/kernel got nonzero values where the masks of step 12 prune"


def compiled(version=keras, seed=1, make=build):
    version.utils.set_random_seed(seed)
    model = make(version)
    model.compile("adam", "mse")
    return model


def go_on(model, epochs=2, callbacks=(), initial_epoch=0, x=X):
    model.fit(
        x, Y, BATCH, epochs=epochs, initial_epoch=initial_epoch, shuffle=False, verbose=0, callbacks=list(callbacks)
    )


def pruned(version=keras, **fields):
    model = compiled(version)
    with pruning_scope(hparams(**fields)):
        go_on(model)
    return model


def by_set_weights(model, other, path):
    other.set_weights(model.get_weights())


def by_file(model, other, path):
    model.save_weights(path)
    other.load_weights(path)


def with_optimizer(model):
    """The model with the variables of its optimizer, which files hold too."""
    model.optimizer.build(model.trainable_variables)
    return model


def by_batches(model):
    for start in range(0, len(X), BATCH):
        model.train_on_batch(X[start : start + BATCH], Y[start : start + BATCH])


@VERSIONS
@pytest.mark.parametrize("load", [by_set_weights, by_file])
@pytest.mark.parametrize("train", [go_on, by_batches])
def test_zeros_without_masks_are_said_before_they_are_lost(version, load, train, tmp_path):
    model = compiled(version, seed=2)
    load(pruned(version), model, str(tmp_path / "a.weights.h5"))
    with warned(rf"{LOST}.*begins at step 0 .*first mask update, at step 3, asks for 0.00%"), pruning_scope(hparams()):
        train(model)
        train(model)


def test_zeros_of_a_model_that_fit_builds_are_said():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.out = keras.layers.Dense(1, kernel_initializer=sparse)

        def call(self, inputs):
            return self.out(inputs)

    def sparse(shape, dtype=None):
        return tf.random.normal(shape) * tf.cast(tf.reshape(tf.range(shape[0] * shape[1]) % 2, shape), tf.float32)

    with warned(r"kernel came with 50.00% zeros and without masks"), pruning_scope(hparams()):
        go_on(compiled(make=lambda version: Own()))


def test_batches_before_the_first_step_say_it_once():
    model = compiled(seed=2)
    by_set_weights(pruned(), model, None)
    model.compile(keras.optimizers.Adam(gradient_accumulation_steps=5), "mse")
    with warned(LOST), pruning_scope(hparams()):
        by_batches(model)
        by_batches(model)


def test_a_schedule_that_begins_with_the_zeros_keeps_them():
    model = compiled(seed=2)
    by_set_weights(pruned(), model, None)
    zeros = [kernel.numpy() == 0 for kernel in kernels(model)]
    begin = {"initial_sparsity": 0.7, "begin_pruning_step": 0, "sparsity_function_begin_step": 0}
    with warned(), pruning_scope(hparams(target_sparsity=0.8, **begin)):
        go_on(model)
    for before, kernel in zip(zeros, kernels(model), strict=True):
        assert np.all(kernel.numpy()[before] == 0)


def test_a_sparser_model_than_asked_for_at_first_is_said_with_both_figures():
    model = compiled(seed=2)
    by_set_weights(pruned(), model, None)
    begin = {"initial_sparsity": 0.5, "begin_pruning_step": 1, "sparsity_function_begin_step": 1}
    with warned(rf"{LOST}.*at step 2, asks for 60.00%"), pruning_scope(hparams(target_sparsity=0.8, **begin)):
        go_on(model)


@VERSIONS
@pytest.mark.parametrize("train", [go_on, by_batches])
def test_dense_weights_that_are_set_between_fits_are_said(version, train):
    model = compiled(version)
    dense = model.get_weights()
    with warned(COVERED), pruning_scope(hparams()):
        go_on(model)
        model.set_weights(dense)
        train(model)
        train(model)
    assert_exact(model)


def test_dense_weights_that_are_set_and_not_trained_are_said_when_the_scope_ends():
    model = compiled()
    dense = model.get_weights()
    with warned(rf"{CHANGED}.*: 5.38% are zeros of these masks, not 70.00%"), pruning_scope(hparams()) as scope:
        go_on(model)
        model.layers[0].kernel.assign(dense[0])
    # The 7 zeros of the second kernel are left.
    assert scope.prunings[0].sparsity() == pytest.approx(7 / 130)
    assert list(scope.prunings[0].sparsity_by_variable().values()) == [0, pytest.approx(0.7)]
    assert scope.total_sparsities == [pytest.approx(7 / model.count_params())]


def test_a_loop_of_ones_own_after_fit_is_said():
    model = compiled()
    with warned(CHANGED), pruning_scope(hparams()):
        go_on(model)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(X) - Y) ** 2)
        model.optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)


def test_zeros_of_another_epoch_become_the_masks():
    model = compiled()
    with warned(), pruning_scope(hparams(regrow="gradient", end_pruning_step=100)) as scope:
        go_on(model)
        first = model.get_weights()
        go_on(model)
        assert any(np.any((a == 0) != (b == 0)) for a, b in zip(first, model.get_weights(), strict=True))
        model.set_weights(first)
    for mask, kernel in zip(scope.prunings[0].masks, kernels(model), strict=True):
        np.testing.assert_array_equal(mask, kernel.numpy() != 0)


@VERSIONS
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"begin_pruning_step": 9},
        pytest.param({"regrow": "gradient", "end_pruning_step": 100}, marks=pytest.mark.slow),
    ],
)
def test_fits_after_each_other_give_no_warning(version, fields):
    model = compiled(version)
    model.compile("sgd", "mse")
    with warned(), pruning_scope(hparams(**fields)):
        for _ in range(3):
            go_on(model, epochs=1)
        by_batches(model)
        go_on(model, epochs=1)
    with warned(), pruning_scope(hparams(**fields, name="again")):
        go_on(model)


def sparse_rows(shape, dtype=None):
    """Pretrained vectors: of a quarter of the words there are none."""
    return tf.random.normal(shape) * tf.cast(tf.range(shape[0]) % 4 > 0, tf.float32)[:, None]


@pytest.mark.parametrize("initializer", ["uniform", "zeros", sparse_rows])
@pytest.mark.parametrize("begin", [3, 9])
def test_embeddings_that_begin_with_zeros_give_no_warning(initializer, begin):
    def make(version):
        return version.Sequential(
            [
                version.layers.Input((3,)),
                version.layers.Embedding(400, 4, embeddings_initializer=initializer),
                version.layers.Flatten(),
                version.layers.Dense(1),
            ]
        )

    # Of 400 words the training sees about 200: the others stay as they are, for two fits.
    x = np.random.default_rng(0).integers(0, 400, size=(96, 3))
    model = compiled(make=make)
    with warned(), pruning_scope(hparams(include=["embeddings", "kernel"], begin_pruning_step=begin)):
        go_on(model, epochs=1, x=x)
        go_on(model, epochs=2, x=x)


@pytest.mark.parametrize("initializer", ["zeros", "ones", "identity"])
def test_initial_values_that_are_zero_give_no_warning(initializer):
    def make(version):
        layers = version.layers
        return version.Sequential(
            [layers.Input((12,)), layers.Dense(12, kernel_initializer=initializer), layers.Dense(1)]
        )

    with warned(), pruning_scope(hparams()):
        go_on(compiled(make=make))


def test_inputs_that_are_never_there_give_no_warning_in_the_second_fit():
    def make(version):
        layers = version.layers
        return version.Sequential([layers.Input((12,)), layers.Dense(10, kernel_initializer="zeros"), layers.Dense(1)])

    x = np.where(np.arange(12) < 6, X, 0)
    model = compiled(make=make)
    ramp = {"begin_pruning_step": 9, "sparsity_function_begin_step": 9, "sparsity_function_end_step": 20}
    with warned(), pruning_scope(hparams(**ramp)):
        go_on(model, epochs=1, x=x)
        assert np.count_nonzero(model.layers[0].kernel) == 60
        go_on(model, epochs=1, x=x)


def test_biases_of_zero_give_no_warning():
    # `out/bias` is a single weight, of which nothing would be left.
    with warned(), pruning_scope(hparams(include=["kernel", "bias"], allocation="global")):
        go_on(compiled())


def test_a_constraint_that_makes_zeros_gives_no_warning():
    def make(version):
        layers = version.layers
        return version.Sequential([layers.Input((12,)), layers.Dense(10, kernel_constraint="non_neg"), layers.Dense(1)])

    model = compiled(make=make)
    model.fit(X, Y, verbose=0)
    assert np.mean(model.layers[0].kernel.numpy() == 0) > 0.1
    with warned(), pruning_scope(hparams()):
        go_on(model)


class Masked(keras.layers.Dense):
    def call(self, inputs):
        return inputs @ apply_mask(self.kernel) + self.bias


def test_weights_under_a_mask_may_have_any_value():
    def make(version):
        return version.Sequential([version.layers.Input((12,)), Masked(10), Masked(1)])

    model = compiled(make=make)
    with warned(), pruning_scope(hparams()) as scope:
        go_on(model)
        model.layers[0].kernel.assign(np.ones([12, 10]))
        go_on(model, epochs=1)
    assert scope.prunings[0].sparsity() == pytest.approx(0.7)


class Interrupts(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


FIELDS = {"sparsity_function_end_step": 3 * STEPS, "pruning_frequency": 4}


@pytest.mark.parametrize("begin", [3, 100])
def test_a_backup_brings_its_masks(begin, tmp_path):
    def backup():
        return keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))

    scope = pruning_scope(hparams(**FIELDS, begin_pruning_step=begin))
    with pytest.raises(KeyboardInterrupt), scope:
        go_on(compiled(), 4, [backup(), Interrupts()])
    model = compiled(seed=2)
    with warned(), pruning_scope(hparams(**FIELDS, begin_pruning_step=begin)) as scope:
        go_on(model, 4, [backup()])
    assert scope.trainings[0][2] == 4 * STEPS
    assert_exact(model, 0.7 if begin == 3 else 0)


def test_a_backup_within_an_epoch_keeps_the_step_and_begins_the_epoch_anew(tmp_path):
    def backup():
        return keras.callbacks.BackupAndRestore(str(tmp_path / "backup"), save_freq=4)

    class InterruptsInTheSecondEpoch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.optimizer.iterations) == STEPS + 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), pruning_scope(hparams(**FIELDS)):
        go_on(compiled(), 4, [backup(), InterruptsInTheSecondEpoch()])
    model = compiled(seed=2)
    with warned(), pruning_scope(hparams(**FIELDS)) as scope:
        go_on(model, 4, [backup()])
    # The last backup was after step 8, and three whole epochs follow.
    assert (scope.trainings[0][2], STEPS) == (8 + 3 * STEPS, 6)
    assert_exact(model, 0.7)


@pytest.mark.parametrize("name", ["a.keras", "a.weights.h5"])
def test_a_keras_file_of_a_scope_brings_its_masks_into_another(name, tmp_path):
    path = str(tmp_path / name)
    save = keras.callbacks.ModelCheckpoint(path, save_weights_only=name.endswith(".h5"))
    with pruning_scope(hparams(**FIELDS)):
        go_on(compiled(), 2, [save])

    def loaded():
        if name == "a.keras":
            return keras.models.load_model(path)
        model = with_optimizer(compiled(seed=2))
        model.load_weights(path)
        return model

    with warned(), pruning_scope(hparams(**FIELDS)):
        model = loaded()
        go_on(model, 4, initial_epoch=2)
    assert_exact(model)
    outside = loaded()
    with warned(r"came with \S+ zeros and without masks"), pruning_scope(hparams(**FIELDS)):
        go_on(outside, 4, initial_epoch=2)


def test_a_keras_file_that_is_loaded_after_the_last_fit_brings_its_masks(tmp_path):
    path = str(tmp_path / "a.weights.h5")
    model = compiled()
    with warned(), pruning_scope(hparams(**FIELDS, sparsity_function_exponent=1)) as scope:
        go_on(model, 2)
        zeros = [kernel.numpy() == 0 for kernel in kernels(model)]
        model.save_weights(path)
        go_on(model, 2)
        assert_exact(model)
        model.load_weights(path)
    assert scope.trainings[0][2] == 2 * STEPS
    for mask, pruned_before in zip(scope.prunings[0].masks, zeros, strict=True):
        np.testing.assert_array_equal(mask, ~pruned_before)


def test_a_checkpoint_of_tensorflow_brings_its_masks(tmp_path):
    model = compiled()
    with pruning_scope(hparams(**FIELDS)):
        go_on(model, 2)
        path = tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    other = with_optimizer(compiled(seed=2))
    with warned(), pruning_scope(hparams(**FIELDS)) as scope:
        tf.train.Checkpoint(model=other).read(path)
        go_on(other, 4, initial_epoch=2)
    assert scope.trainings[0][2] == 4 * STEPS
    assert_exact(other)


def test_dense_weights_of_a_file_do_not_pass_for_pruned_ones(tmp_path):
    with_optimizer(compiled(seed=2)).save_weights(str(tmp_path / "dense.weights.h5"))
    model = compiled()
    with warned(COVERED), pruning_scope(PruningHParams(target_sparsity=0.7, pruning_frequency=1)):
        go_on(model)
        model.load_weights(str(tmp_path / "dense.weights.h5"))
        go_on(model)
