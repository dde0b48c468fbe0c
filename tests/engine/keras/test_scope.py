"""pruning_scope as a context: what it patches and gives back, and what it refuses."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers.fits import X, Y, assert_exact, build, fit, hparams, kernels
from tfx_pruning import pruning_scope


def test_weights_that_the_optimizer_does_not_train_are_refused():
    inputs = keras.layers.Input((12,))
    used, unused = keras.layers.Dense(1, name="used")(inputs), keras.layers.Dense(12, name="unused")(inputs)
    model = keras.Model(inputs, [used, unused])
    model.compile("adam", loss=["mse", None], jit_compile=False)
    with pytest.raises(ValueError, match=r"No optimizer .* trains unused/kernel.*exclude"), pruning_scope(hparams()):
        model.fit(X, [Y, Y], verbose=0)


def test_a_train_step_that_leaves_the_optimizer_out_is_refused():
    class Own(keras.Sequential):
        def train_step(self, data):
            self.layers[0].kernel.assign_add(self.layers[0].kernel * 0.1)
            return {"loss": 0.0}

    model = Own([keras.layers.Input((12,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match=r"No optimizer .* took a step"), pruning_scope(hparams()):
        fit(model)


@pytest.mark.slow
def test_a_second_scope_in_another_thread_prunes_too():
    opened, done = threading.Event(), threading.Event()
    models = [build(), build()]
    original = keras.Model.fit

    def other():
        with pruning_scope(hparams(target_sparsity=0.5)):
            opened.set()
            assert done.wait(60)
            fit(models[1])

    thread = threading.Thread(target=other)
    with pruning_scope(hparams()):
        thread.start()
        assert opened.wait(60)
        fit(models[0])
    done.set()
    thread.join()
    assert_exact(models[0], 0.7)
    assert_exact(models[1], 0.5)
    assert keras.Model.fit is original


@pytest.mark.slow
def test_outside_the_scope_training_is_the_users_again():
    original = keras.Model.fit
    model = build()
    with pruning_scope(hparams()):
        fit(model)
        assert type(model.optimizer) is keras.optimizers.Adam
    assert keras.Model.fit is original
    model.fit(X, Y, verbose=0)
    assert all(np.count_nonzero(kernel) == kernel.numpy().size for kernel in kernels(model))


def test_a_fit_that_another_library_patched_is_called_and_put_back(monkeypatch):
    calls = []
    original = keras.Model.fit

    def tracked(self, *args, **kwargs):
        calls.append(self)
        return original(self, *args, **kwargs)

    assert "fit" not in vars(keras.Model)
    monkeypatch.setattr(keras.Model, "fit", tracked)
    model = build()
    with pruning_scope(hparams()):
        fit(model)
    assert calls == [model]
    assert keras.Model.fit is tracked
    assert_exact(model, 0.7)


def test_a_failing_fit_leaves_the_optimizer_alone():
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    original = keras.Model.fit
    model = build()
    with pytest.raises(KeyboardInterrupt), pruning_scope(hparams()):
        fit(model, callbacks=[Stop()])
    assert type(model.optimizer) is keras.optimizers.Adam
    assert keras.Model.fit is original


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"include": ["nothing"]}, ["include", "'nothing'", "kernel"]),
        ({"exclude": ["kernel"]}, ["No weight to prune"]),
        ({"target_sparsity": 0.99}, ["none of the 10", "kernel", "exclude"]),
    ],
)
def test_hyperparameters_that_fit_no_weight_stop_before_the_first_step(fields, words):
    model = build()
    before = model.get_weights()
    with pytest.raises(ValueError) as caught, pruning_scope(hparams(**fields)):  # noqa: PT011
        fit(model)
    for word in words:
        assert word in str(caught.value)
    assert type(model.optimizer) is keras.optimizers.Adam
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_wrong_use_of_the_scope_is_refused():
    with pytest.raises(TypeError, match=r"PruningHParams\.parse"), pruning_scope("target_sparsity=0.5"):
        pass
    with pytest.raises(RuntimeError, match="Nothing was pruned"), pruning_scope(hparams()):
        pass
    with pytest.raises(RuntimeError, match="nested"), pruning_scope(hparams()), pruning_scope(hparams()):
        pass


def test_a_number_in_place_of_the_schedule_is_refused_when_the_scope_opens():
    with (
        pytest.raises(TypeError, match="a variable or a callable step -> sparsity, got"),
        pruning_scope(hparams(), sparsity=0.5),
    ):
        pytest.fail("the scope opened")


@pytest.mark.slow
def test_a_variable_takes_the_place_of_the_schedule():
    sparsity = tf.Variable(0.0)

    class Raise(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            sparsity.assign([0.2, 0.6][epoch])

    model = build()
    with pruning_scope(hparams(pruning_frequency=1), sparsity=sparsity):
        history = fit(model, callbacks=[Raise()])
    assert_exact(model, 0.6)
    assert history.history["sparsity"] == pytest.approx([0.2, 0.6])
