import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning import PruningHParams, pruning_scope
from tfx_pruning.engine.weight_state import WeightState

# A training for each, and for some a step that XLA compiles.
pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 12)).astype("f")
Y = (X[:, :1] * 2 - X[:, 3:4] + 0.1 * RNG.normal(size=(96, 1))).astype("f")
BATCH = 16
STEPS = len(X) // BATCH
DECAY = 0.5


def build(dtype=None):
    return keras.Sequential(
        [
            keras.layers.Input((12,)),
            keras.layers.Dense(10, activation="relu", dtype=dtype),
            keras.layers.Dense(1, dtype=dtype),
        ]
    )


def kernels(model):
    return [weight for weight in model.trainable_weights if weight.path.endswith("kernel")]


def fit(model, optimizer, x=X, callbacks=(), epochs=2, batch_size=BATCH, compile_args=None, **fields):
    hparams = PruningHParams(
        **{
            "prune_option": "first_order_gradient",
            "target_sparsity": 0.7,
            "begin_pruning_step": 3,
            "sparsity_function_begin_step": 3,
            "sparsity_function_end_step": 9,
            "pruning_frequency": 2,
            "gradient_decay_rate": DECAY,
            **fields,
        }
    )
    model.compile(optimizer, "mse", **{"jit_compile": False, **(compile_args or {})})
    with pruning_scope(hparams) as scope:
        model.fit(
            x,
            Y,
            batch_size=batch_size,
            epochs=epochs,
            shuffle=False,
            verbose=0,
            callbacks=[*callbacks, ZerosStay(scope)],
        )
    return scope


class ZerosStay(keras.callbacks.Callback):
    """Asserts after every batch that what the masks prune is zero."""

    def __init__(self, scope):
        super().__init__()
        self.scope = scope

    def on_train_batch_end(self, batch, logs=None):
        for state in self.scope.prunings[0].states:
            assert not np.any(state.weight.numpy()[state.mask.numpy() == 0]), state.path


class GradientsByHand(keras.callbacks.Callback):
    """The moving averages of |gradient| as a loop of one's own would compute them.

    `transform` turns the list of the loss's gradients into the list that the optimizer is meant to see; None skips the
    batch.
    """

    def __init__(self, transform):
        super().__init__()
        self.transform = transform
        self.averages = None

    def on_train_batch_begin(self, batch, logs=None):
        rows = slice(batch * BATCH, (batch + 1) * BATCH)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((tf.cast(self.model(X[rows]), tf.float32) - Y[rows]) ** 2)
        self.gradients = [gradient.numpy() for gradient in tape.gradient(loss, kernels(self.model))]

    def on_train_batch_end(self, batch, logs=None):
        gradients = self.transform(self.gradients)
        if gradients is not None:
            averages = self.averages or [np.zeros_like(gradient) for gradient in gradients]
            self.averages = [
                DECAY * average + (1 - DECAY) * np.abs(gradient)
                for average, gradient in zip(averages, gradients, strict=True)
            ]


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


def clipped(gradients):
    return [gradient * min(1.0, 0.2 / np.linalg.norm(gradient)) for gradient in gradients]


def unchanged(gradients):
    return gradients


def assert_exact(model, sparsity=0.7):
    for kernel in kernels(model):
        size = kernel.numpy().size
        assert np.count_nonzero(kernel) == round(size * (1 - sparsity)), kernel.path


def assert_gradient_states(scope, averages, rtol=1e-4, atol=1e-7):
    for state, average in zip(scope.prunings[0].states, averages, strict=True):
        np.testing.assert_allclose(state.gradient, average, rtol=rtol, atol=atol)


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
    model, by_hand = build(), GradientsByHand(transform)
    scope = fit(model, optimizer(), callbacks=[by_hand], epochs=epochs)
    assert [steps for _, _, steps in scope.trainings] == [2 * STEPS]
    assert_gradient_states(scope, by_hand.averages)
    assert_exact(model)


def test_mixed_precision_sees_unscaled_gradients_and_counts_no_skipped_batch():
    class OfStepsTaken(GradientsByHand):
        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.optimizer.inner_optimizer.iterations) > self.steps:
                super().on_train_batch_end(batch, logs)
            self.steps = int(self.model.optimizer.inner_optimizer.iterations)

        steps = 0

    model, by_hand = build("mixed_float16"), OfStepsTaken(unchanged)
    # The first batches overflow float16, until the scale has been halved often enough.
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01), initial_scale=2.0**19)
    scope = fit(model, optimizer, callbacks=[by_hand], epochs=4)
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

    model, by_hand = Doubled(build().layers), GradientsByHand(lambda gradients: [2 * g for g in gradients])
    scope = fit(model, keras.optimizers.SGD(0.01), callbacks=[by_hand])
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
    fit(model, optimizer, callbacks=[AveragesAreZero()])
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
        scope = fit(model, keras.optimizers.Adam(0.01), compile_args={"steps_per_execution": steps_per_execution})
        assert [steps for _, _, steps in scope.trainings] == [2 * STEPS]
        states = scope.prunings[0].states
        results.append([model.history.history["sparsity"], *[[s.weight, s.mask, s.gradient] for s in states]])
    assert_exact(model)
    for one, other in zip(tf.nest.flatten(results[0]), tf.nest.flatten(results[1]), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("prune_option", ["weight", "first_order_gradient", "second_order_gradient"])
def test_a_step_compiled_by_xla_prunes_like_an_uncompiled_one(prune_option):
    results = []
    for jit_compile in (True, False):
        keras.utils.set_random_seed(3)
        model = build()
        fit(model, keras.optimizers.Adam(0.01), compile_args={"jit_compile": jit_compile}, prune_option=prune_option)
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
            scope = fit(model, keras.optimizers.SGD(0.01, momentum=0.9))
        assert_exact(model)
        results.append(scope.prunings[0])
    for mirrored in (*results[1].masks, *results[1].weights, *(state.gradient for state in results[1].states)):
        replicas = [component.numpy() for component in mirrored.values]
        np.testing.assert_array_equal(replicas[0], replicas[1])
    for one, other in zip(results[0].states, results[1].states, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
        np.testing.assert_allclose(one.gradient, other.gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("fields", "steps"),
    [({"prune_option": "weight"}, "[57]"), ({"pruning_frequency": 100}, "12")],
    ids=["at the next mask update", "at the end"],
)
def test_weights_that_become_nan_stop_the_training_by_name(fields, steps):
    model, x = build(), X.copy()
    x[4 * BATCH, 0] = np.nan
    words = rf"sequential\S*/dense\S*/kernel is NaN or infinite after {steps} optimizer steps"
    with pytest.raises(FloatingPointError, match=words):
        fit(model, keras.optimizers.Adam(0.01), x=x, **fields)


def test_one_batch_that_the_loss_scale_skips_stops_nothing():
    model, x = build("mixed_float16"), X.copy()
    x[4 * BATCH, 0] = np.nan
    scope = fit(model, keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01), 2.0**8), x=x)
    assert [steps for _, _, steps in scope.trainings] == [2 * (STEPS - 1)]
    assert_exact(model)


def test_a_hundred_batches_that_the_loss_scale_skips_stop_the_training():
    model = build("mixed_float16")
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01))
    with pytest.raises(FloatingPointError, match="skipped 100 batches in a row"):
        fit(model, optimizer, x=np.full_like(X, np.nan), batch_size=1, epochs=3)
    assert int(optimizer.inner_optimizer.iterations) == 0
    assert all(np.all(np.isfinite(kernel)) for kernel in kernels(model))


class Guarding(keras.optimizers.SGD):
    """Leaves the weights alone where a gradient is NaN."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(tf.where(tf.math.is_nan(gradient), 0.0, gradient), variable, learning_rate)


def test_gradients_that_are_nan_stop_the_training_even_if_the_optimizer_guards_the_weights():
    model, x = build(), X.copy()
    x[4 * BATCH, 0] = np.nan
    with pytest.raises(FloatingPointError, match=r"The gradient state of \S*/kernel is NaN or infinite after [57]"):
        fit(model, Guarding(0.01), x=x)
    assert all(np.all(np.isfinite(kernel)) for kernel in kernels(model))
