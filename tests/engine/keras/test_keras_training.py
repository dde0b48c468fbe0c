import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers.fits import BATCH, OPTIMIZERS, STEPS, X, Y, assert_exact, build, fit, hparams, kernels, unbuilt
from tfx_pruning import pruning_scope
from tfx_pruning.engine.weight_state import WeightState

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(64, 8, 8, 2)).astype("f")
LABELS = RNG.integers(0, 3, size=64)


def functional():
    inputs = keras.layers.Input((12,))
    hidden = keras.layers.Dense(10, activation="relu")(inputs)
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Concatenate()([inputs, hidden])))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden = [keras.layers.Dense(10, activation="relu"), keras.layers.Dense(6, activation="relu")]
        self.head = keras.layers.Dense(1)

    def call(self, x):
        for layer in self.hidden:
            x = layer(x)
        return self.head(x)


@pytest.mark.parametrize("build", [build, unbuilt, functional, Subclassed])
@pytest.mark.parametrize(
    "optimizer", ["adam", pytest.param("sgd", marks=pytest.mark.slow), pytest.param("adamw", marks=pytest.mark.slow)]
)
def test_fit_delivers_the_sparsity_in_every_kernel(build, optimizer):
    model = build()
    with pruning_scope(hparams(prune_option="first_order_gradient")) as scope:
        fit(model, optimizer)
    assert_exact(model, 0.7)
    assert scope.prunings[0].paths == [kernel.path for kernel in kernels(model)]
    assert all(np.any(weight != 0) for weight in model.trainable_weights)


def test_convolutions_are_pruned():
    model = keras.Sequential(
        [
            keras.layers.Input((8, 8, 2)),
            keras.layers.Conv2D(6, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with pruning_scope(hparams(prune_option="second_order_gradient")):
        fit(model, x=IMAGES, y=LABELS, loss=loss, epochs=3)
    assert len(kernels(model)) == 2
    assert_exact(model, 0.7)


class Recorder(keras.callbacks.Callback):
    """Keeps what the model and its masks look like after every batch."""

    def __init__(self):
        super().__init__()
        self.weights = []
        self.losses = []

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append([kernel.numpy() for kernel in kernels(self.model)])
        self.losses.append(logs["loss"])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_pruned_weights_are_zero_after_every_step_and_masks_follow_the_schedule(optimizer):
    model, recorder = build(), Recorder()
    # Without scores of zero no weight comes back, so the zeros are those of the masks.
    with pruning_scope(hparams(prune_option="weight")):
        fit(model, optimizer, callbacks=[recorder])
    for step, weights in enumerate(recorder.weights, start=1):
        # Updates at 3, 5, 7, 9, 11: the sparsity is that of the last of them.
        update = max((s for s in (3, 5, 7, 9, 11) if s <= step), default=0)
        progress = min(max((update - 3) / 6, 0), 1)
        sparsity = 0.7 - 0.7 * (1 - progress) ** 3
        for weight in weights:
            assert np.count_nonzero(weight) == round(weight.size * (1 - sparsity)), step
    for earlier, later in zip(recorder.weights, recorder.weights[1:], strict=False):
        for one, other in zip(earlier, later, strict=True):
            assert not np.any(other[one == 0])


class SparsityInLogs(keras.callbacks.Callback):
    """Keeps the sparsity in the logs of every call of the training function, and that of the weights then."""

    def __init__(self):
        super().__init__()
        self.shown, self.zeros = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.shown.append(logs["sparsity"])
        weights = [kernel.numpy() for kernel in kernels(self.model)]
        self.zeros.append(sum(np.sum(weight == 0) for weight in weights) / sum(weight.size for weight in weights))


def test_logs_show_the_sparsity_of_the_moment(capsys):
    model, logs = build(), SparsityInLogs()
    model.compile("adam", "mse", jit_compile=False)
    with pruning_scope(hparams(pruning_frequency=4, sparsity_function_end_step=16, end_pruning_step=16)) as scope:
        history = model.fit(X, Y, batch_size=BATCH, epochs=3, shuffle=False, verbose=2, callbacks=[logs])
    np.testing.assert_allclose(logs.shown, logs.zeros, atol=1e-12)
    # Updates at 4, 8, 12 and 16; an epoch has six steps.
    assert np.flatnonzero(np.diff(logs.shown)).tolist() == [2, 6, 10, 14]
    assert list(history.history) == ["loss", "sparsity"]
    np.testing.assert_allclose(history.history["sparsity"], [logs.shown[step - 1] for step in (6, 12, 18)], atol=1e-12)
    assert history.history["sparsity"][-1] == scope.prunings[0].sparsity() == 1 - 39 / 130
    assert f"sparsity: {history.history['sparsity'][0]:.4f}" in capsys.readouterr().out


def test_logs_show_the_sparsity_after_several_steps_in_one_call():
    model, logs = build(), SparsityInLogs()
    model.compile("adam", "mse", jit_compile=False, steps_per_execution=2)
    with pruning_scope(hparams(pruning_frequency=4, sparsity_function_end_step=16, end_pruning_step=16)):
        model.fit(X, Y, batch_size=BATCH, epochs=3, shuffle=False, verbose=0, callbacks=[logs])
    np.testing.assert_allclose(logs.shown, logs.zeros, atol=1e-12)
    # Updates at 4, 8, 12 and 16, in the second of two steps.
    assert np.flatnonzero(np.diff(logs.shown)).tolist() == [0, 2, 4, 6]


def test_same_seed_and_data_give_the_same_bits():
    def train():
        keras.utils.set_random_seed(7)
        model = keras.Sequential(
            [
                keras.layers.Input((12,)),
                keras.layers.Dense(40, activation="relu"),
                keras.layers.Dropout(0.3),
                keras.layers.Dense(1),
            ]
        )
        # Every weight of a kernel is as large as the next: the first masks are decided by lot.
        model.layers[0].kernel.assign(np.sign(model.layers[0].kernel))
        model.compile("adam", "mse", jit_compile=False)
        recorder = Recorder()
        with pruning_scope(hparams(prune_option="weight", begin_pruning_step=1, pruning_frequency=1)) as scope:
            model.fit(X, Y, batch_size=BATCH, epochs=2, verbose=0, callbacks=[recorder])
        return [*scope.prunings[0].masks, *tf.nest.flatten(recorder.weights)]

    for one, other in zip(train(), train(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("order", [1, 2])
def test_gradient_state_is_the_moving_average_of_the_loss_gradients(order):
    option = "first_order_gradient" if order == 1 else "second_order_gradient"
    model = build()
    model.build((None, 12))
    by_hand = [np.zeros(kernel.shape) for kernel in kernels(model)]

    class ByHand(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            with tf.GradientTape() as tape:
                x, y = X[batch * BATCH : (batch + 1) * BATCH], Y[batch * BATCH : (batch + 1) * BATCH]
                loss = tf.reduce_mean((model(x) - y) ** 2)
            for state, gradient in zip(by_hand, tape.gradient(loss, kernels(model)), strict=True):
                state[:] = 0.5 * state + 0.5 * np.abs(gradient) ** order

    with pruning_scope(hparams(prune_option=option)) as scope:
        fit(model, "sgd", callbacks=[ByHand()])
    for state, expected in zip(scope.prunings[0].states, by_hand, strict=True):
        np.testing.assert_allclose(state.gradient, expected, rtol=1e-4, atol=1e-7)


def test_the_training_before_the_first_mask_is_the_dense_one():
    losses = []
    for scoped in (True, False):
        keras.utils.set_random_seed(1)
        model, recorder = build(), Recorder()
        if scoped:
            with pruning_scope(hparams()):
                fit(model, callbacks=recorder)
        else:
            fit(model, callbacks=recorder)
        losses.append(recorder.losses)
    # The mask of step 3 acts from the fourth step on.
    np.testing.assert_allclose(losses[0][:3], losses[1][:3], rtol=1e-6)
    assert losses[0][5] != losses[1][5]


def test_global_allocation_holds_for_the_sum():
    model = functional()
    with pruning_scope(hparams(allocation="global", prune_option="second_order_gradient")):
        fit(model)
    sizes = [kernel.numpy().size for kernel in kernels(model)]
    assert sum(np.count_nonzero(kernel) for kernel in kernels(model)) == round(sum(sizes) * (1 - 0.7))


def test_weight_delta_prunes_a_fit_too():
    for order in ("first", "second"):
        model = build()
        with pruning_scope(hparams(prune_option=f"{order}_order_gradient", gradient_estimator="weight_delta")):
            fit(model)
        assert_exact(model, 0.7)


def test_ninety_nine_and_a_half_percent():
    model = keras.Sequential([keras.layers.Input((12,)), keras.layers.Dense(200), keras.layers.Dense(20)])
    with pruning_scope(hparams(target_sparsity=0.995, prune_option="first_order_gradient")):
        fit(model, y=np.repeat(Y, 20, axis=1))
    assert [np.count_nonzero(kernel) for kernel in kernels(model)] == [12, 20]


def test_sparsity_is_the_schedules_when_training_ends_between_updates():
    model = build()
    # Six steps: updates at 3 and 5; the schedule of step 6 is delivered all the same.
    with pruning_scope(hparams()):
        fit(model, epochs=1)
    assert_exact(model, 0.7 - 0.7 * (1 - 3 / 6) ** 3)


def test_a_second_fit_goes_on_where_the_first_ended():
    keras.utils.set_random_seed(0)
    once, twice = build(), build()
    twice.set_weights(once.get_weights())
    # Fits that end on a mask update: nothing is left for the end of the first one.
    fields = {"pruning_frequency": 3, "sparsity_function_end_step": 12, "prune_option": "first_order_gradient"}
    with pruning_scope(hparams(**fields)):
        fit(once, epochs=2)
    with pruning_scope(hparams(**fields)) as scope:
        fit(twice, epochs=1)
        twice.fit(X, Y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0)
    assert len(scope.prunings) == 1
    for one, other in zip(kernels(once), kernels(twice), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    assert_exact(twice, 0.7)


def test_steps_go_on_when_the_model_is_compiled_again():
    model = build()
    with pruning_scope(hparams()) as scope:
        fit(model, epochs=1)
        fit(model, epochs=1)
    assert [steps for _, _, steps in scope.trainings] == [2 * STEPS]
    assert_exact(model, 0.7)


def test_steps_of_an_earlier_training_do_not_count():
    model = build()
    fit(model, epochs=2)
    with pruning_scope(hparams(prune_option="first_order_gradient")) as scope:
        model.fit(X, Y, batch_size=BATCH, epochs=2, verbose=0)
    assert [steps for _, _, steps in scope.trainings] == [2 * STEPS]
    assert_exact(model, 0.7)


def test_the_step_of_a_built_model_is_traced_once():
    traces = []

    class Counted(keras.losses.MeanSquaredError):
        def call(self, y_true, y_pred):
            traces.append(y_pred.shape)
            return super().call(y_true, y_pred)

    model = build()
    model.compile(keras.optimizers.Adam(0.01), Counted())
    with pruning_scope(hparams(prune_option="second_order_gradient")):
        model.fit(X, Y, batch_size=BATCH, epochs=2, verbose=0)

    assert traces == [(BATCH, 1)]


def test_layers_unfrozen_between_fits_are_pruned_from_then_on():
    model = build()
    model.layers[0].trainable = False
    with pruning_scope(hparams(prune_option="first_order_gradient")) as scope:
        fit(model, epochs=1)
        assert np.all(model.layers[0].kernel.numpy())
        model.layers[0].trainable = True
        fit(model, epochs=1)
    assert_exact(model, 0.7)
    assert len(scope.prunings[0].paths) == 2


def test_layers_frozen_between_fits_stay_pruned():
    model = build()
    with pruning_scope(hparams()):
        fit(model)
        model.layers[0].trainable = False
        fit(model, keras.optimizers.Adam(use_ema=True))
    assert np.count_nonzero(model.layers[0].kernel) == 36
    assert np.count_nonzero(model.layers[1].kernel) == 3


def test_restored_best_weights_are_pruned():
    model = build()
    stop = keras.callbacks.EarlyStopping(monitor="loss", mode="max", patience=9, restore_best_weights=True)
    with pruning_scope(hparams()):
        fit(model, epochs=3, callbacks=[stop])
    for kernel in kernels(model):
        assert not np.any(kernel.numpy()[WeightState.existing(kernel).mask.numpy() == 0])


def test_checkpoints_written_while_training_load_without_this_package(tmp_path):
    path = str(tmp_path / "best.keras")
    model = build()
    with pruning_scope(hparams()):
        fit(model, epochs=2, callbacks=[keras.callbacks.ModelCheckpoint(path)])
    loaded = keras.models.load_model(path)
    assert type(loaded.optimizer) is keras.optimizers.Adam
    assert int(loaded.optimizer.iterations) == 2 * STEPS
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))


def test_summaries_hold_loss_and_sparsity(tmp_path):
    with pruning_scope(hparams(), log_dir=tmp_path) as scope:
        fit(build())
    (file,) = tmp_path.iterdir()
    seen = {}
    for event in tf.compat.v1.train.summary_iterator(str(file)):
        for value in event.summary.value:
            seen.setdefault(value.tag, {})[event.step] = tf.make_ndarray(value.tensor)
    assert seen["model_pruning/sparsity"][1] == 0
    assert seen["model_pruning/sparsity"][12] == pytest.approx(scope.prunings[0].sparsity())
    assert sorted(seen["loss"]) == [1, 3, 5, 7, 9, 11, 12]
    for path, sparsity in scope.prunings[0].sparsity_by_variable().items():
        assert seen[f"model_pruning/{path}/sparsity"][12] == pytest.approx(sparsity)
    for state in scope.prunings[0].states:
        for kind in ("weights", "scores"):
            histograms = seen[f"model_pruning/{state.path}/{kind}"]
            assert sorted(histograms) == [0, 6, 12]
            assert {histogram[:, 2].sum() for histogram in histograms.values()} == {state.size}
        left, right, counts = seen[f"model_pruning/{state.path}/weights"][12].T
        np.testing.assert_array_equal(counts, np.histogram(state.weight, [*left, right[-1]])[0])
        zeros = state.size - np.count_nonzero(state.weight)
        assert counts[(left <= 0) & (right > 0)].sum() >= zeros > 0
