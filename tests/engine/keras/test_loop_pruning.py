"""A training loop of the user's own in a `pruning_scope`."""

import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfx_pruning
from tfx_pruning import Pruning, PruningHParams, current_scope, in_scope, pruning_scope
from tfx_pruning.engine.keras.delivered_sparsity import SparsityError, delivered_sparsity

STEPS = 12
HPARAMS = PruningHParams.parse(
    "prune_option=first_order_gradient,target_sparsity=0.75,begin_pruning_step=2,sparsity_function_begin_step=2,"
    "sparsity_function_end_step=8,pruning_frequency=2,gradient_decay_rate=0.5"
)
X = np.random.default_rng(0).normal(size=(96, 12)).astype("float32")


def build() -> keras.Model:
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [keras.Input((12,)), keras.layers.Dense(10, name="hidden"), keras.layers.Dense(1, name="last")]
    )


def loop(model: Any, pruning: Pruning, steps: int = STEPS, after: Callable[[int], None] = lambda step: None) -> None:
    """Trains `model` by `steps` steps of a tape, without the end."""
    optimizer = keras.optimizers.SGD(0.05)

    @tf.function
    def step(batch: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(batch) - batch[:, :1]) ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        pruning.conditional_mask_update(optimizer.iterations, gradients)

    for index in range(steps):
        step(tf.constant(X[8 * index : 8 * index + 8]))
        after(index + 1)


def test_masks_and_counts_are_those_of_a_pruning_of_ones_own(tmp_path: pathlib.Path) -> None:
    alone = build()
    expected = Pruning(HPARAMS, alone)
    loop(alone, expected)
    expected.finish(STEPS)

    model = build()
    with pruning_scope(HPARAMS, record=True, log_dir=tmp_path / "log") as scope:
        pruning = current_scope().pruning_of(model)
        loop(model, pruning, after=lambda step: pruning.log(step, {"loss": 1 / step}) if step % 4 == 0 else None)
        pruning.finish(STEPS)
        tf.saved_model.save(model, str(tmp_path / "saved"))

    assert isinstance(pruning, Pruning)
    assert scope.prunings == [pruning]
    for mask, other in zip(pruning.masks, expected.masks, strict=True):
        np.testing.assert_array_equal(mask.numpy(), other.numpy())
    for weight, other in zip(pruning.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), other.numpy())
    assert [(trained is model, steps) for trained, _, steps in scope.trainings] == [(True, STEPS)]
    assert scope.total_sparsities == [pytest.approx((90 + 7.5) / 141, abs=0.005)]
    delivered = delivered_sparsity(scope, str(tmp_path / "saved"))
    assert {weight.path.partition("/")[2]: weight.nonzero for weight in delivered.weights} == {
        "hidden/kernel": 30,
        "last/kernel": 2,
    }
    assert delivered.total_parameters == 12 * 10 + 10 + 10 + 1
    history = delivered.history
    assert (history.first_step, history.last_step) == (0, STEPS)
    assert [step for each in history.mask_updates for step in each.steps()] == [2, 4, 6, 8, 10, 12]
    assert [point.step for point in history.sparsity] == [4, 8, 12]
    assert [(point.step, point.values) for point in history.metrics] == [(4, {"loss": 0.25}), (8, {"loss": 0.125})] + [
        (12, {"loss": pytest.approx(1 / 12)})
    ]
    assert [each.before.zeros for each in history.weights] == [0, 0]
    assert [each.after.zeros for each in history.weights] == [90, 8]
    assert list((tmp_path / "log").glob("events*"))


def test_a_module_and_the_replicas_of_a_strategy(tmp_path: pathlib.Path) -> None:
    class Line(tf.Module):
        def __init__(self) -> None:
            super().__init__("line")
            self.kernel = tf.Variable(np.linspace(-1, 1, 24, dtype=np.float32).reshape(12, 2), name="kernel")
            self.bias = tf.Variable(tf.zeros(2), name="bias")

        def __call__(self, x: tf.Tensor) -> tf.Tensor:
            return x @ self.kernel + self.bias

    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    strategy = tf.distribute.MirroredStrategy(devices, cross_device_ops=tf.distribute.ReductionToOneDevice())
    assert strategy.num_replicas_in_sync == 2
    hparams = PruningHParams.parse(
        "target_sparsity=0.75,pruning_frequency=1,sparsity_function_end_step=2,include=[kernel]"
    )
    with strategy.scope():
        model = Line()
    with pruning_scope(hparams, record=True) as scope:
        with strategy.scope():
            pruning = scope.pruning_of(model, [model.kernel])

        @tf.function
        def update(number: tf.Tensor) -> None:
            strategy.run(lambda: pruning.conditional_mask_update(number))

        for number in range(1, 4):
            update(tf.constant(number, tf.int64))
        pruning.finish(3)
        tf.saved_model.save(model, str(tmp_path / "saved"))
    delivered = delivered_sparsity(scope, str(tmp_path / "saved"))
    assert (delivered.nonzero_parameters, delivered.prunable_parameters, delivered.total_parameters) == (6, 24, 26)
    assert scope.trainings[0][2] == 3
    kept = np.abs(np.linspace(-1, 1, 24)).reshape(12, 2) > 0.8
    np.testing.assert_array_equal(pruning.masks[0].numpy(), kept)


def test_without_a_scope_there_is_none() -> None:
    assert not in_scope()
    with pytest.raises(RuntimeError, match=r"No pruning_scope is open .* asks in_scope\(\) first\."):
        current_scope()


@pytest.mark.parametrize(
    ("block", "kind", "message"),
    [
        (lambda scope, model: None, RuntimeError, r"Nothing was pruned: .*current_scope\(\)\.pruning_of\(model\)\."),
        (
            lambda scope, model: scope.pruning_of(model),
            RuntimeError,
            "took no step: conditional_mask_update was never called",
        ),
        (
            lambda scope, model: loop(model, scope.pruning_of(model)),
            RuntimeError,
            "was not finished: its last step was 12, and finish was never called",
        ),
        (
            lambda scope, model: scope.pruning_of(model).finish(5),
            ValueError,
            "finish got step 5, but the last step that conditional_mask_update got is 0",
        ),
        (
            lambda scope, model: (scope.pruning_of(model), scope.pruning_of(model)),
            ValueError,
            "has a pruning in this scope already",
        ),
        (
            lambda scope, model: (
                model.compile("sgd", "mse"),
                scope.pruning_of(model),
                model.fit(X, X[:, :1], verbose=0),
            ),
            ValueError,
            "has a pruning in this scope already",
        ),
        (
            lambda scope, model: tf.function(scope.pruning_of(model).log)(1),
            RuntimeError,
            "log was called inside a tf.function",
        ),
    ],
    ids=["no pruning", "no step", "no finish", "finish of another step", "twice", "fit", "log in a function"],
)
def test_a_loop_that_is_not_right_is_refused(
    block: Callable[[Any, keras.Model], None], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message), pruning_scope(HPARAMS) as scope:
        block(scope, build())
    assert not in_scope()


def test_a_teacher_is_refused_before_the_loop() -> None:
    hparams = HPARAMS.from_dict({"distill_weight": 0.5})
    with (
        pytest.raises(ValueError, match=r"distill_weight=0\.5 is for fit in a pruning_scope"),
        pruning_scope(hparams, teacher=build()) as scope,
    ):
        scope.pruning_of(build())


def test_rounding_is_refused_before_the_loop() -> None:
    hparams = HPARAMS.from_dict({"quantize": "int8"})
    with (
        pytest.raises(ValueError, match=r"quantize='int8' is for fit and train_on_batch in a pruning_scope"),
        pruning_scope(hparams) as scope,
    ):
        scope.pruning_of(build())


def test_a_loop_that_ends_before_the_ramp_does_not_pass_the_check(tmp_path: pathlib.Path) -> None:
    model = build()
    with pruning_scope(HPARAMS) as scope:
        pruning = scope.pruning_of(model)
        loop(model, pruning, steps=5)
        pruning.finish(5)
        tf.saved_model.save(model, str(tmp_path / "saved"))
    with pytest.raises(SparsityError, match=r"Training took 5 steps, .* at step 8\. .*PruningHParams\.for_steps\(5"):
        delivered_sparsity(scope, str(tmp_path / "saved"))


def test_nan_ends_the_loop() -> None:
    model = build()
    model.layers[0].kernel.assign(np.full((12, 10), np.nan))
    with pytest.raises(FloatingPointError, match="hidden/kernel is NaN or infinite"), pruning_scope(HPARAMS) as scope:
        scope.pruning_of(model).log(1)


def test_a_closed_scope_makes_no_pruning() -> None:
    model = build()
    with pruning_scope(HPARAMS) as scope:
        pruning = scope.pruning_of(model)
        loop(model, pruning)
        pruning.finish(STEPS)
    with pytest.raises(RuntimeError, match="is closed, or another thread's"):
        scope.pruning_of(build())
    assert tfx_pruning.in_scope is in_scope


def test_a_layer_is_counted_like_a_model() -> None:
    layer = keras.layers.Dense(8)
    layer.build((None, 12))
    with pruning_scope(HPARAMS) as scope:
        pruning = scope.pruning_of(layer)
        loop(layer, pruning)
        pruning.finish(STEPS)
    assert np.count_nonzero(layer.kernel.numpy()) == 24
    assert scope.total_sparsities == [pytest.approx(72 / 104)]
