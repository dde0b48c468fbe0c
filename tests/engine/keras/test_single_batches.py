"""`train_on_batch` in a scope takes pruned steps of the same training as `fit`."""

import threading
import warnings

import keras
import numpy as np
import pytest
import tf_keras

from helpers.fits import BATCH, STEPS, X, Y, assert_exact, build, hparams, kernels, unbuilt
from tfx_pruning import pruning_scope

VERSIONS = pytest.mark.parametrize("version", [keras, tf_keras])
RAMP = 10  # With `hparams` the target is reached at step 9.


def batches(model, count, first=0):
    for index in range(first, first + count):
        rows = slice(index % STEPS * BATCH, (index % STEPS + 1) * BATCH)
        model.train_on_batch(X[rows], Y[rows])


def compiled(version=keras, make=build, optimizer="adam", **compile_args):
    version.utils.set_random_seed(1)
    model = make(version)
    model.compile(optimizer, "mse", **compile_args)
    return model


@pytest.fixture(autouse=True)
def _no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


@VERSIONS
@pytest.mark.parametrize("make", [build, unbuilt])
@pytest.mark.parametrize("eager", [False, True])
def test_alone_it_reaches_the_target(version, make, eager):
    model = compiled(version, make, run_eagerly=eager)
    with pruning_scope(hparams()) as scope:
        batches(model, RAMP)
        assert_exact(model)  # while the scope is open: a model may be saved in it
        assert scope.prunings[0].sparsity() == pytest.approx(91 / 130)
        batches(model, 3)
        assert_exact(model)
    assert_exact(model)
    assert scope.trainings[0][2] == RAMP + 3


def test_a_target_between_two_mask_updates_is_reached_at_its_step():
    model = compiled()
    with pruning_scope(hparams(pruning_frequency=4, sparsity_function_exponent=1)) as scope:
        batches(model, 8)
        assert scope.prunings[0].sparsity() < 0.6  # of the mask update at step 8; the next is due at step 12
        batches(model, 1, first=8)
        assert_exact(model)
        batches(model, 5, first=9)
        assert_exact(model)


@VERSIONS
def test_its_steps_are_those_of_fit(version):
    fitted, stepped = compiled(version), compiled(version)
    stepped.set_weights(fitted.get_weights())
    masks = []
    for model, train in (
        (fitted, lambda model: model.fit(X, Y, batch_size=BATCH, epochs=2, shuffle=False, verbose=0)),
        (stepped, lambda model: batches(model, 2 * STEPS)),
    ):
        with pruning_scope(hparams(prune_option="first_order_gradient"), record=True) as scope:
            train(model)
        masks.append([mask.numpy() for mask in scope.prunings[0].masks])
    for of_fit, of_batches in zip(*masks, strict=True):
        np.testing.assert_array_equal(of_fit, of_batches)
    for of_fit, of_batches in zip(fitted.get_weights(), stepped.get_weights(), strict=True):
        np.testing.assert_allclose(of_fit, of_batches, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [build, unbuilt])
def test_its_history_is_that_of_fit(make):
    histories = []
    for train in (
        lambda model: model.fit(X, Y, batch_size=BATCH, epochs=2, shuffle=False, verbose=0),
        lambda model: batches(model, 2 * STEPS),
    ):
        model = compiled(make=make)
        with pruning_scope(hparams(), record=True) as scope:
            train(model)
        histories.append(scope.histories[0])
    of_fit, of_batches = histories
    for name in ("first_step", "last_step", "mask_updates", "sparsity"):
        assert getattr(of_batches, name) == getattr(of_fit, name), name
    assert [weight.after.zeros for weight in of_batches.weights] == [84, 7]
    assert all(weight.before and weight.scores for weight in of_batches.weights)


@VERSIONS
def test_before_the_end_of_the_ramp_the_scope_brings_the_sparsity_of_the_last_step(version):
    model = compiled(version)
    with pruning_scope(hparams(sparsity_function_end_step=20, pruning_frequency=4)) as scope:
        batches(model, 9)
        pruning = scope.prunings[0]
        assert pruning.sparsity() < pruning.sparsity_asked(9)  # of the mask update at step 7
    wanted = [round(kernel.numpy().size * (1 - pruning.sparsity_asked(9))) for kernel in kernels(model)]
    assert [np.count_nonzero(kernel) for kernel in kernels(model)] == wanted


@VERSIONS
def test_after_fit_what_is_pruned_stays_zero(version):
    model = compiled(version)
    with pruning_scope(hparams()) as scope:
        model.fit(X, Y, batch_size=BATCH, epochs=2, verbose=0)
        before = [np.equal(kernel, 0) for kernel in kernels(model)]
        batches(model, 5)
        for pruned, kernel in zip(before, kernels(model), strict=True):
            np.testing.assert_array_equal(kernel.numpy() == 0, pruned)
        assert scope.trainings[0][2] == 2 * STEPS + 5
    assert_exact(model)


def test_fit_goes_on_where_it_stopped():
    model = compiled()
    with pruning_scope(hparams()) as scope:
        batches(model, 4)
        history = model.fit(X, Y, batch_size=BATCH, epochs=1, verbose=0)
        assert scope.trainings[0][2] == 4 + STEPS
    assert history.history["sparsity"] == [pytest.approx(0.7)]
    assert_exact(model)


def batch_in(event, version):
    def train(callback, *args, **kwargs):
        callback.model.train_on_batch(X[:BATCH], Y[:BATCH])

    return type("Trains", (version.callbacks.Callback,), {event: train})()


@VERSIONS
@pytest.mark.parametrize("event", ["on_train_batch_end", "on_epoch_begin", "on_epoch_end", "on_train_end"])
def test_from_a_callback_it_is_a_step_of_that_fit(event, version):
    model = compiled(version)
    with pruning_scope(hparams()) as scope:
        model.fit(X, Y, batch_size=BATCH, epochs=2, verbose=0, callbacks=[batch_in(event, version)])
        further = {"on_train_batch_end": 2 * STEPS, "on_train_end": 1}.get(event, 2)
        assert scope.trainings[0][2] == 2 * STEPS + further
        assert_exact(model)
    assert_exact(model)


def test_accumulated_gradients_make_one_step_of_several_batches():
    model = compiled(optimizer=keras.optimizers.Adam(gradient_accumulation_steps=2))
    with pruning_scope(hparams()) as scope:
        batches(model, 2 * RAMP + 1)
        assert scope.trainings[0][2] == RAMP
        assert_exact(model)
    assert_exact(model)


@pytest.mark.parametrize("fields", [{"prune_option": "second_order_gradient", "gradient_estimator": "hutchinson"}])
def test_criteria_that_need_the_batch_get_it(fields):
    model = compiled(jit_compile=False)
    with pruning_scope(hparams(**fields)) as scope:
        batches(model, RAMP)
    assert_exact(model)
    assert all(np.any(state.gradient.numpy() > 0) for state in scope.prunings[0].states)


def test_the_optimizer_has_its_own_class_between_batches():
    model = compiled()
    with pruning_scope(hparams()):
        batches(model, 1)
        assert type(model.optimizer) is keras.optimizers.Adam
        batches(model, 1, first=1)
        assert type(model.optimizer) is keras.optimizers.Adam


@VERSIONS
def test_another_threads_batches_are_dense(version):
    theirs, ours = compiled(version), compiled(version)

    with pruning_scope(hparams()) as scope:
        batches(ours, 1)
        thread = threading.Thread(target=batches, args=(theirs, RAMP))
        thread.start()
        thread.join()
        batches(ours, RAMP, first=1)
    assert all(np.all(kernel.numpy() != 0) for kernel in kernels(theirs))
    assert_exact(ours)
    assert [model for model, _, _ in scope.trainings] == [ours]


@VERSIONS
def test_a_model_that_is_not_compiled_gets_the_error_of_keras(version):
    with pytest.raises((ValueError, RuntimeError), match="compile"), pruning_scope(hparams()):
        batches(build(version), 1)


def test_a_batch_that_trains_no_pruned_weight_is_refused():
    class Own(keras.Sequential):
        def train_step(self, data):
            return {"loss": 0.0}

    model = compiled(make=lambda version: Own([keras.layers.Input((12,)), keras.layers.Dense(1)]))
    with pytest.raises(ValueError, match=r"No optimizer .* took a step"), pruning_scope(hparams()):
        batches(model, 1)


@VERSIONS
def test_outside_the_scope_it_is_the_users_again(version):
    original = version.Model.train_on_batch
    model = compiled(version)
    with pruning_scope(hparams()):
        assert version.Model.train_on_batch is not original
        batches(model, RAMP)
    assert version.Model.train_on_batch is original
    batches(model, 3)
    assert all(np.count_nonzero(kernel) > kernel.numpy().size * 0.9 for kernel in kernels(model)[:1])
