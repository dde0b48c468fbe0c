import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from helpers.fits import STEPS, X, Y, build, fit, hparams, kernels, unbuilt
from tfx_pruning import PruningHParams, pruning_scope
from tfx_pruning.engine.history.thinned_series import CAPACITY
from tfx_pruning.engine.history.training_history import StepRange, TrainingHistory, extended
from tfx_pruning.engine.weight_state import WeightState

# begin 3, every 2 up to the target at 9; 12 steps in two epochs.
UPDATES = [3, 5, 7, 9, 11]


class Seen(keras.callbacks.Callback):
    """What a callback of the user's is told."""

    def __init__(self):
        super().__init__()
        self.batches, self.epochs = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append(dict(logs))

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(dict(logs))


def steps_of(history):
    return [step for each in history.mask_updates for step in each.steps()]


def recorded(model, fields=None, **fit_arguments):
    with pruning_scope(hparams(**(fields or {})), record=True) as scope:
        fit(model, **fit_arguments)
    (history,) = scope.histories
    return history, scope


@pytest.fixture(scope="module")
def run():
    """A model before and after its training, what its callbacks were told, the history and the scope."""
    model, seen = build(), Seen()
    before = [kernel.numpy() for kernel in kernels(model)]
    fields = {"prune_option": "first_order_gradient"}
    history, scope = recorded(model, fields, callbacks=[seen], validation_data=(X[:16], Y[:16]))
    return model, before, seen, history, scope


def test_every_mask_update_is_recorded_with_what_was_asked_and_reached(run):
    _, _, _, history, scope = run
    assert (history.first_step, history.last_step) == (0, 2 * STEPS)
    assert steps_of(history) == UPDATES
    assert history.mask_update_count == len(UPDATES)
    assert [point.step for point in history.sparsity] == [*UPDATES, 2 * STEPS]
    target, units = 0.7, [120, 10]
    for point in history.sparsity:
        progress = min((point.step - 3) / 6, 1)
        sparsity = target - target * (1 - progress) ** 3
        assert point.asked == pytest.approx(1 - sum(round(size * (1 - sparsity)) for size in units) / sum(units))
        assert point.reached == pytest.approx(point.asked)
    assert history.sparsity[-1].reached == scope.prunings[0].sparsity()


def test_loss_and_metrics_are_what_the_callbacks_are_told(run):
    _, _, seen, history, _ = run
    assert [point.step for point in history.metrics] == list(range(1, 2 * STEPS + 1))
    assert [dict(point.values) for point in history.metrics] == [{"loss": logs["loss"]} for logs in seen.batches]
    assert [point.step for point in history.epochs] == [STEPS, 2 * STEPS]
    assert [dict(point.values) for point in history.epochs] == [
        {name: logs[name] for name in ("loss", "val_loss")} for logs in seen.epochs
    ]


def test_histograms_are_those_of_the_weights_before_and_after(run):
    model, before, _, history, scope = run
    assert [weight.path for weight in history.weights] == scope.prunings[0].paths
    for weight, kernel, old, state in zip(
        history.weights, kernels(model), before, scope.prunings[0].states, strict=True
    ):
        assert weight.shape == kernel.shape
        assert weight.before.total == weight.after.total == old.size
        np.testing.assert_array_equal(weight.before.counts, np.histogram(old, weight.before.edges)[0])
        assert weight.after.zeros == old.size - np.count_nonzero(kernel)
        left = kernel.numpy()[kernel.numpy() != 0]
        np.testing.assert_array_equal(weight.after.counts, np.histogram(left, weight.after.edges)[0])
        # No step came after the scores were taken.
        scores = (np.abs(kernel.numpy()) * state.gradient.numpy()).astype(np.float32)
        assert sum(weight.scores.counts) == np.count_nonzero(scores)
        assert weight.scores.high == pytest.approx(scores.max(), rel=1e-4)
        assert weight.threshold == float(state.threshold)


def test_json_gives_it_back(run):
    history = run[3]
    assert TrainingHistory.from_dict(json.loads(json.dumps(history.to_dict(), allow_nan=False))) == history


def test_nothing_is_gathered_unless_asked_for():
    with pruning_scope(hparams()) as scope:
        fit(build())
    assert scope.histories == []


def test_a_model_of_two_fits_has_one_history():
    model = build()
    before = [kernel.numpy() for kernel in kernels(model)]
    with pruning_scope(hparams(), record=True) as scope:
        fit(model, epochs=1)
        model.fit(X, Y, batch_size=16, epochs=1, verbose=0)
    (history,) = scope.histories
    assert steps_of(history) == UPDATES
    assert [point.step for point in history.epochs] == [STEPS, 2 * STEPS]
    for weight, old in zip(history.weights, before, strict=True):
        np.testing.assert_array_equal(weight.before.counts, np.histogram(old, weight.before.edges)[0])


def test_updates_inside_one_call_of_the_training_function_are_recorded():
    model = build()
    model.compile("adam", "mse", steps_per_execution=6, jit_compile=False)
    with pruning_scope(hparams(), record=True) as scope:
        model.fit(X, Y, batch_size=16, epochs=2, verbose=0)
    (history,) = scope.histories
    assert steps_of(history) == UPDATES
    assert [point.step for point in history.sparsity] == [5, 11, 12]


def test_a_model_that_its_first_step_builds_is_recorded_from_the_first_step_on():
    model = unbuilt(tf_keras)
    model.compile("adam", "mse")
    with pruning_scope(hparams(begin_pruning_step=1), record=True) as scope:
        model.fit(X, Y, batch_size=16, epochs=1, verbose=0)
    (history,) = scope.histories
    assert history.first_step == 0
    assert steps_of(history) == [2, 4, 6]
    assert [weight.before.total for weight in history.weights] == [120, 10]


def test_a_training_that_broke_off_records_what_the_second_process_saw(tmp_path):
    class Breaks(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise RuntimeError("broken off")

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    with pytest.raises(RuntimeError, match="broken off"), pruning_scope(hparams(), record=True) as first:
        fit(build(), callbacks=[backup(), Breaks()])
    (begun,) = first.histories
    assert (steps_of(begun), begun.first_step) == ([3, 5], 0)

    history, scope = recorded(build(), callbacks=[backup()])
    assert (history.first_step, history.last_step) == (STEPS, 2 * STEPS)
    assert steps_of(history) == [7, 9, 11]
    assert [point.step for point in history.metrics] == list(range(STEPS + 1, 2 * STEPS + 1))
    # The sparsity of step 5 was there from the start.
    assert [weight.before.zeros > 0 for weight in history.weights] == [True, True]
    assert history.sparsity[-1].reached == scope.prunings[0].sparsity()


def test_a_training_on_two_replicas_is_recorded():
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    with tf.distribute.MirroredStrategy(devices).scope():
        model = build()
        model.compile(keras.optimizers.Adam(), "mse", jit_compile=False)
    with pruning_scope(hparams(prune_option="first_order_gradient"), record=True) as scope:
        model.fit(X, Y, batch_size=16, epochs=2, verbose=0)
    (history,) = scope.histories
    assert steps_of(history) == UPDATES
    for weight, state in zip(history.weights, scope.prunings[0].states, strict=True):
        assert weight.after.zeros == state.size - int(state.kept())
        assert sum(weight.scores.counts) > 0


def test_weights_under_apply_mask_are_shown_as_they_act(tmp_path):
    from tfx_pruning import apply_mask

    class Masked(keras.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 1), name="kernel")

        def call(self, inputs):
            return inputs @ apply_mask(self.kernel)

    model = keras.Sequential([keras.layers.Input((12,)), Masked()])
    history, scope = recorded(model, {"include": ["kernel"], "target_sparsity": 0.5})
    (state,) = scope.prunings[0].states
    assert np.count_nonzero(state.weight) == 12
    assert history.weights[0].after.zeros == 6
    assert sum(history.weights[0].scores.counts) == 12


@pytest.mark.slow
def test_long_trainings_have_histories_of_bounded_size():
    model = build()
    with pruning_scope(hparams(pruning_frequency=1, begin_pruning_step=1), record=True) as scope:
        fit(model, x=np.tile(X, [120, 1]), y=np.tile(Y, [120, 1]), validation_data=(X[:16], Y[:16]))
    (history,) = scope.histories
    assert history.last_step == 2 * 120 * STEPS
    assert history.mask_updates == (StepRange(1, history.last_step, 1),)
    for series in (history.metrics, history.sparsity):
        assert CAPACITY / 2 <= len(series) <= CAPACITY + 1
        assert series[-1].step == history.last_step
    assert {name for point in history.metrics for name in point.values} == {"loss"}
    assert len(json.dumps(history.to_dict())) < 200_000


def test_values_that_are_not_finite_are_left_out():
    class Spoils(keras.metrics.Metric):
        def update_state(self, y_true, y_pred, sample_weight=None):
            pass

        def result(self):
            return tf.constant(np.nan)

    model = build()
    model.compile("adam", "mse", metrics=[Spoils(name="spoilt")], jit_compile=False)
    with pruning_scope(hparams(), record=True) as scope:
        model.fit(X, Y, batch_size=16, epochs=2, verbose=0)
    (history,) = scope.histories
    assert set(history.metrics[0].values) == {"loss"}
    json.dumps(history.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("steps", "ranges"),
    [
        ([], []),
        ([4], [StepRange(4, 4, 1)]),
        ([4, 7, 10], [StepRange(4, 10, 3)]),
        ([1, 2, 3, 13, 23], [StepRange(1, 3, 1), StepRange(13, 23, 10)]),
    ],
)
def test_steps_at_equal_distances_make_a_range(steps, ranges):
    assert extended([], steps) == ranges
    assert extended(extended([], steps[:1]), steps[1:]) == ranges
    assert [step for each in ranges for step in each.steps()] == steps


def test_the_state_of_the_weights_is_not_changed_by_recording():
    kernels_of = []
    for record in (False, True):
        keras.utils.set_random_seed(3)
        model = build()
        with pruning_scope(PruningHParams(pruning_frequency=2, sparsity_function_end_step=8), record=record):
            fit(model)
        kernels_of.append([(kernel.numpy(), WeightState.existing(kernel).mask.numpy()) for kernel in kernels(model)])
    for plain, recorded_kernel in zip(*kernels_of, strict=True):
        np.testing.assert_array_equal(plain[0], recorded_kernel[0])
        np.testing.assert_array_equal(plain[1], recorded_kernel[1])
