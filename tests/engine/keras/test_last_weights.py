"""Callbacks that set weights when `fit` ends: it returns a model that was trained with its masks."""

import warnings

import keras
import numpy as np
import pytest
import tf_keras

from helpers.fits import X, Y, assert_exact, build, hparams, kernels
from tfx_pruning import apply_mask, pruning_scope, start_from_target

EPOCHS = 5  # of 6 steps; with `hparams` the ramp ends at step 9, in the second
NOT_FITTING = "EarlyStopping restored weights of another step"


@keras.saving.register_keras_serializable("test_last_weights")
class Masked(keras.layers.Dense):
    def call(self, inputs):
        return inputs @ apply_mask(self.kernel) + self.bias


def with_masked_layers():
    return keras.Sequential([keras.layers.Input((12,)), Masked(10), keras.layers.ReLU(), Masked(1)])


def callbacks(version, best, model, wrap=lambda callback: callback):
    """EarlyStopping that restores the epoch `best`, what that epoch's weights were, and those of the last epoch."""
    ends = []

    class Judge(version.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["distance"] = abs(epoch - best)
            ends.append(model.get_weights())

    stop = version.callbacks.EarlyStopping("distance", mode="min", patience=99, restore_best_weights=True)
    return [Judge(), wrap(stop)], ends


def fitted(best, version=keras, model=None, wrap=lambda callback: callback, epochs=EPOCHS, **fields):
    keras.utils.set_random_seed(1)
    model = model or build(version)
    model.compile("sgd" if fields.get("regrow") else "adam", "mse")
    given, ends = callbacks(version, best, model, wrap)
    with pruning_scope(hparams(**fields)) as scope:
        model.fit(X, Y, batch_size=16, epochs=epochs, shuffle=False, verbose=0, callbacks=given)
    return model, scope, ends


def assert_weights(model, expected):
    for weight, value in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(weight, value)


@pytest.mark.parametrize(
    ("version", "make"), [(keras, build), (tf_keras, lambda: build(tf_keras)), (keras, with_masked_layers)]
)
def test_weights_of_the_ramp_are_not_restored(version, make):
    with pytest.warns(UserWarning, match=NOT_FITTING):
        model, scope, ends = fitted(0, version, make())
    assert_weights(model, ends[-1])
    assert scope.prunings[0].sparsity() == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize("version", [keras, tf_keras])
@pytest.mark.parametrize("best", [2, EPOCHS - 1])
def test_weights_after_the_ramp_are_restored(version, best):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model, _, ends = fitted(best, version, end_pruning_step=11)
    assert_weights(model, ends[best])
    assert_exact(model)


@pytest.mark.parametrize("best", [0, 1])
def test_regrown_zeros_are_restored_with_the_weights(best):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model, scope, ends = fitted(
            best,
            regrow="gradient",
            sparsity_function="constant",
            sparsity_function_begin_step=1,
            begin_pruning_step=1,
            end_pruning_step=30,
            pruning_frequency=2,
        )
    assert any(np.any((first == 0) != (last == 0)) for first, last in zip(ends[best], ends[-1], strict=True))
    assert_weights(model, ends[best])
    assert_exact(model)
    for mask, kernel in zip(scope.prunings[0].masks, kernels(model), strict=True):
        np.testing.assert_array_equal(mask, kernel.numpy() != 0)


def test_the_last_epoch_of_a_ramp_is_restored_and_pruned_to_its_last_step():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model, scope, ends = fitted(1, epochs=2, sparsity_function_end_step=40, pruning_frequency=5)
    pruning = scope.prunings[0]
    assert pruning.sparsity() == pytest.approx(pruning.sparsity_asked(12))
    for weight, value in zip(model.get_weights(), ends[-1], strict=True):
        np.testing.assert_array_equal(weight, np.where(weight == 0, 0, value))
    assert sum(map(np.count_nonzero, model.get_weights())) < sum(map(np.count_nonzero, ends[-1]))


def test_masked_layers_get_the_weights_of_an_epoch_with_the_same_masks():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model, _, ends = fitted(2, model=with_masked_layers(), end_pruning_step=11)
    assert_weights(model, ends[2])


class Sets(keras.callbacks.Callback):
    def __init__(self, index, value):
        super().__init__()
        self.index, self.value = index, value

    def on_train_end(self, logs=None):
        self.model.weights[self.index].assign(np.full(self.model.weights[self.index].shape, self.value))


@pytest.mark.parametrize(("index", "value"), [(0, 1.0), (0, 0.0)])
def test_pruned_weights_that_a_callback_sets_are_put_back(index, value):
    model = build()
    model.compile("adam", "mse")
    with pytest.warns(UserWarning, match="Sets restored weights"), pruning_scope(hparams()):
        model.fit(X, Y, epochs=4, verbose=0, callbacks=[Sets(1, 5.0), Sets(index, value)])
    assert_exact(model)
    assert not np.any(model.weights[1].numpy() == 5.0)


def test_a_bias_that_a_callback_sets_stays():
    model = build()
    model.compile("adam", "mse")
    with warnings.catch_warnings(), pruning_scope(hparams()):
        warnings.simplefilter("error", UserWarning)
        model.fit(X, Y, epochs=4, verbose=0, callbacks=[Sets(1, 5.0)])
    assert_exact(model)
    np.testing.assert_array_equal(model.weights[1], np.full(10, 5.0))


@pytest.mark.parametrize("version", [keras, tf_keras])
def test_the_best_epoch_is_one_of_the_target_sparsity(version):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model, _, ends = fitted(0, version, wrap=start_from_target)
    assert_weights(model, ends[1])
    assert_exact(model)


@pytest.mark.parametrize("version", [keras, tf_keras])
def test_the_best_checkpoint_is_one_of_the_target_sparsity(version, tmp_path):
    def saved(callback):
        path = str(tmp_path / "best.weights.h5")
        return start_from_target(
            version.callbacks.ModelCheckpoint(path, "distance", mode="min", save_best_only=True, save_weights_only=True)
        )

    _, _, ends = fitted(0, version, wrap=saved)
    other = build(version)
    other.load_weights(str(tmp_path / "best.weights.h5"))
    assert_weights(other, ends[1])


def test_without_a_scope_every_epoch_counts():
    model = build()
    model.compile("adam", "mse")
    given, ends = callbacks(keras, 0, model, start_from_target)
    model.fit(X, Y, epochs=3, verbose=0, callbacks=given)
    assert_weights(model, ends[0])


def test_only_callbacks_can_be_wrapped():
    with pytest.raises(TypeError, match="Wrap each callback by itself"):
        start_from_target([keras.callbacks.EarlyStopping()])
