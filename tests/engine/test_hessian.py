import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning import Pruning, PruningHParams, pruning_scope
from tfx_pruning.engine.hessian import diagonal_samples, probe
from tfx_pruning.engine.pruning import variables_of

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 6)).astype("f")
Y = np.stack([X[:, 0] * 2 - X[:, 3], X[:, 5]], axis=1)
DECAY = 0.25


def hparams(**fields):
    """Masks are updated at steps 2, 4, 6 and so on."""
    return PruningHParams(
        **{
            "prune_option": "second_order_gradient",
            "gradient_estimator": "hutchinson",
            "gradient_decay_rate": DECAY,
            "target_sparsity": 0.5,
            "pruning_frequency": 2,
            "sparsity_function_end_step": 6,
            **fields,
        }
    )


def test_a_probe_is_ones_of_either_sign_and_another_at_every_step():
    one = probe(tf.TensorShape([1000]), 3, tf.constant(7, tf.int64)).numpy()
    assert set(one) == {1.0, -1.0}
    assert abs(one.mean()) < 0.1
    other = probe(tf.TensorShape([1000]), 3, tf.constant(8, tf.int64)).numpy()
    assert abs((one * other).mean()) < 0.1
    again = tf.function(probe, jit_compile=True)(tf.TensorShape([1000]), 3, tf.constant(7, tf.int64))
    np.testing.assert_array_equal(again, one)


@pytest.mark.numerical
def test_one_sample_is_exact_where_the_hessian_is_diagonal():
    curvature = np.float32([[3.0, -1.0], [0.0, 0.5]])
    weight = tf.Variable(RNG.normal(size=(2, 2)).astype("f"))
    (sample,) = diagonal_samples(
        lambda: tf.reduce_sum(curvature * weight**2) / 2 + 7 * tf.reduce_sum(weight),
        [weight],
        [probe(weight.shape, 0, tf.constant(1, tf.int64))],
    )
    np.testing.assert_allclose(sample, curvature, rtol=1e-6)


def network():
    """A function of two weights with a Hessian that is not diagonal, and the loss."""
    first, second = (tf.Variable(RNG.normal(size=shape).astype("f"), name="kernel") for shape in ((6, 5), (5, 2)))
    return (first, second), lambda: tf.reduce_mean((tf.tanh(X @ first) @ second - Y) ** 2)


def hessian(loss, weights):
    """The whole matrix."""
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            value = loss()
        gradient = tf.concat([tf.reshape(g, [-1]) for g in inner.gradient(value, weights)], axis=0)
    rows = outer.jacobian(gradient, weights)
    return np.concatenate([row.numpy().reshape(len(gradient), -1) for row in rows], axis=1)


@pytest.mark.numerical
def test_samples_are_the_product_of_the_whole_hessian_with_the_probes():
    weights, loss = network()
    probes = [probe(weight.shape, index, tf.constant(5, tf.int64)) for index, weight in enumerate(weights)]
    vector = np.concatenate([z.numpy().ravel() for z in probes])
    samples = diagonal_samples(loss, weights, probes)
    expected = vector * (hessian(loss, weights) @ vector)
    np.testing.assert_allclose(np.concatenate([s.numpy().ravel() for s in samples]), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.numerical
def test_the_mean_of_many_samples_is_the_diagonal():
    weights, loss = network()

    @tf.function
    def sample(step):
        probes = [probe(weight.shape, index, step) for index, weight in enumerate(weights)]
        return tf.concat([tf.reshape(s, [-1]) for s in diagonal_samples(loss, weights, probes)], axis=0)

    samples = np.stack([sample(tf.constant(step, tf.int64)) for step in range(1, 501)])
    diagonal = np.diag(hessian(loss, weights))
    standard_error = samples.std(axis=0) / np.sqrt(len(samples))
    assert np.all(np.abs(samples.mean(axis=0) - diagonal) <= 5 * standard_error + 1e-6)


def test_a_loop_takes_a_sample_at_mask_updates_only_and_ranks_by_its_size():
    curvature = np.float32([4.0, -9.0, 1.0, 2.0])
    weight = tf.Variable([1.0, -1.0, 1.0, 2.0], name="kernel")
    pruning = Pruning(hparams(sparsity_function="constant"), [weight])
    calls = []

    def loss():
        calls.append(True)
        return tf.reduce_sum(curvature * weight**2) / 2

    for step in (1, 2, 3):
        pruning.conditional_mask_update(step, loss=loss)
    assert len(calls) == 1
    np.testing.assert_allclose(pruning.states[0].gradient, (1 - DECAY) * curvature, rtol=1e-6)
    # w^2 |G| is in the ratio of 4, 9, 1, 8: the sign of the curvature does not count.
    np.testing.assert_array_equal(pruning.masks[0], [False, True, False, True])


@pytest.mark.numerical
def test_what_is_not_finite_leaves_the_average_as_it_was():
    weight = tf.Variable([1.0, 2.0], name="kernel")
    pruning = Pruning(hparams(), [weight])
    scale = tf.constant([1.0, 1.0])
    for step, factor in ((2, [1.0, 1.0]), (4, [1.0, np.inf])):
        scale = tf.constant(factor)
        pruning.observe_hessian_if_due(step, lambda scale=scale: tf.reduce_sum(scale * weight**2) / 2)
    np.testing.assert_allclose(pruning.states[0].gradient, [0.75 + 0.75 * 0.25, 0.75], rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (None, r"conditional_mask_update\(step, loss="),
        (lambda: tf.zeros([3]), r"must be a scalar, got shape \(3,\)"),
        (lambda: tf.zeros([]), r"does not depend on kernel"),
    ],
)
def test_a_loss_that_cannot_be_used_is_refused(loss, message):
    pruning = Pruning(hparams(), [tf.Variable(np.ones((4, 4), "f"), name="kernel")])
    with pytest.raises(ValueError, match=message):
        pruning.conditional_mask_update(2, loss=loss)


def test_an_operation_without_a_second_derivative_is_named():
    weight = tf.Variable(np.ones((1, 2, 2, 1), "f"), name="kernel")
    pruning = Pruning(hparams(), [weight])

    def loss():
        return tf.reduce_sum(tf.raw_ops.FractionalAvgPool(value=weight, pooling_ratio=[1, 1.5, 1.5, 1])[0] ** 2)

    with pytest.raises(ValueError, match=r"second derivatives.*FractionalAvgPoolGrad.*'backprop'"):
        pruning.conditional_mask_update(2, loss=loss)


def test_gradient_state_begins_at_zero_and_no_old_weights_are_kept():
    assert variables_of(hparams()) == ("mask", "threshold", "gradient")


BATCH = 8


class Twin(keras.callbacks.Callback):
    """Computes, at every step of a `fit`, what the gradient states should be, from the whole Hessian of the batch."""

    def __init__(self, scope, loss):
        super().__init__()
        self.scope, self.loss, self.expected, self.checked = scope, loss, None, 0

    def on_train_batch_begin(self, batch, logs=None):
        step = int(self.model.optimizer.iterations) + 1
        if step % 2 == 0:
            kernels = [layer.kernel.value for layer in self.model.layers if hasattr(layer, "kernel")]
            at = slice(batch * BATCH, (batch + 1) * BATCH)
            matrix = hessian(lambda: self.loss(self.model, at), kernels)
            probes = [probe(kernel.shape, index, tf.constant(step, tf.int64)) for index, kernel in enumerate(kernels)]
            vector = np.concatenate([z.numpy().ravel() for z in probes])
            sample = vector * (matrix @ vector)
            self.expected = (1 - DECAY) * sample + (0 if self.expected is None else DECAY * self.expected)

    def on_train_batch_end(self, batch, logs=None):
        if self.expected is not None:
            states = self.scope.prunings[0].states
            actual = np.concatenate([state.gradient.numpy().ravel() for state in states])
            np.testing.assert_allclose(actual, self.expected, rtol=1e-3, atol=1e-5)
            self.checked += 1


def model_of(regularizer=None):
    return keras.Sequential(
        [
            keras.layers.Input((6,)),
            keras.layers.Dense(5, activation="tanh", kernel_regularizer=regularizer),
            keras.layers.Dense(2),
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_fit_takes_the_hessian_of_its_weighted_and_regularised_loss_before_the_step(jit_compile):
    weighting = RNG.random(len(X)).astype("f")
    model = model_of(regularizer=keras.regularizers.L2(0.1))

    def loss(model, at):
        squares = tf.reduce_mean((model(X[at]) - Y[at]) ** 2, axis=-1) * weighting[at]
        return tf.reduce_mean(squares) + 0.1 * tf.reduce_sum(model.layers[0].kernel.value ** 2)

    model.compile(keras.optimizers.Adam(0.05), "mse", jit_compile=jit_compile)
    with pruning_scope(hparams()) as scope:
        twin = Twin(scope, loss)
        model.fit(X, Y, sample_weight=weighting, batch_size=BATCH, epochs=2, shuffle=False, verbose=0, callbacks=[twin])
    assert twin.checked == 7
    assert [np.count_nonzero(layer.kernel) for layer in model.layers] == [15, 5]
    assert "train_step" not in vars(model)


def stateful():
    """A model with batch statistics, dropout, an activity loss and two outputs, whose losses have metrics."""
    inputs = keras.layers.Input((6,))
    hidden = keras.layers.Dense(8, activation="tanh", activity_regularizer="l2")(inputs)
    hidden = keras.layers.Dropout(0.3, seed=1)(keras.layers.BatchNormalization()(hidden))
    outputs = {"one": keras.layers.Dense(1, name="one")(hidden), "two": keras.layers.Dense(1, name="two")(hidden)}
    return keras.Model(inputs, outputs)


@pytest.mark.slow
def test_metrics_statistics_seeds_and_losses_are_those_of_a_training_without():
    def trained(estimator):
        keras.utils.set_random_seed(0)
        model = stateful()
        model.compile(
            keras.optimizers.SGD(0.05), {"one": "mse", "two": "mae"}, metrics={"one": "mae"}, jit_compile=False
        )
        # So few are pruned that nothing is: the two trainings differ in what they measure only.
        with pruning_scope(hparams(gradient_estimator=estimator, target_sparsity=0.0)) as scope:
            history = model.fit(
                X, {"one": Y[:, :1], "two": Y[:, 1:]}, batch_size=BATCH, epochs=2, shuffle=False, verbose=0
            )
        assert all(np.any(state.gradient) for state in scope.prunings[0].states)
        return history.history, [variable.numpy() for variable in (*model.variables, *model.metrics_variables)]

    (history, variables), (plain, others) = trained("hutchinson"), trained("backprop")
    assert history == plain
    for one, other in zip(variables, others, strict=True):
        np.testing.assert_array_equal(one, other)


def tokens():
    return RNG.integers(0, 20, size=(32, 5)), RNG.integers(0, 3, size=32)


def recurrent():
    return keras.Sequential(
        [keras.layers.Input((5,)), keras.layers.Embedding(20, 6), keras.layers.LSTM(4), keras.layers.Dense(3)]
    )


def convolutional():
    return keras.Sequential(
        [
            keras.layers.Input((5,)),
            keras.layers.Embedding(20, 6),
            keras.layers.Reshape((5, 6, 1)),
            keras.layers.Conv2D(4, 3),
            keras.layers.BatchNormalization(),
            keras.layers.MaxPooling2D(2),
            keras.layers.LayerNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )


@pytest.mark.slow
# XLA compiles the recurrent layer too, but takes minutes.
@pytest.mark.parametrize(("build", "jit_compile"), [(recurrent, False), (convolutional, False), (convolutional, True)])
def test_embeddings_recurrent_and_convolution_layers_have_second_derivatives(build, jit_compile):
    x, y = tokens()
    model = build()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, jit_compile=jit_compile)
    with pruning_scope(hparams(include=["kernel", "embeddings"])) as scope:
        model.fit(x, y, batch_size=BATCH, epochs=2, verbose=0)
    for state in scope.prunings[0].states:
        assert np.any(state.gradient), state.path
        assert np.count_nonzero(state.weight) == round(state.size / 2), state.path


@pytest.mark.slow
def test_float16_with_its_loss_scale_gives_the_averages_of_float32():
    def states(dtype):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.layers.Input((6,)),
                keras.layers.Dense(5, activation="tanh", dtype=dtype),
                keras.layers.Dense(2, dtype=dtype),
            ]
        )
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01), initial_scale=1024.0)
        model.compile(optimizer, "mse", jit_compile=False)
        with pruning_scope(hparams()) as scope:
            model.fit(X, Y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0)
        return np.concatenate([state.gradient.numpy().ravel() for state in scope.prunings[0].states])

    half, single = states("mixed_float16"), states("float32")
    assert np.linalg.norm(half - single) < 0.02 * np.linalg.norm(single)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("compile_args", "optimizer_args"),
    [({"steps_per_execution": 4}, {}), ({}, {"gradient_accumulation_steps": 2}), ({"run_eagerly": True}, {})],
)
def test_samples_are_taken_at_the_mask_updates_however_steps_are_run(compile_args, optimizer_args):
    model = model_of()
    model.compile(keras.optimizers.SGD(0.0, **optimizer_args), "mse", jit_compile=False, **compile_args)
    accumulated = optimizer_args.get("gradient_accumulation_steps", 1)
    kernels = [layer.kernel.value for layer in model.layers]
    # Nothing moves and nothing is pruned, so the batch is all that differs from one sample to the next.
    with pruning_scope(hparams(target_sparsity=0.0)) as scope:
        model.fit(X, Y, batch_size=BATCH, epochs=2, shuffle=False, verbose=0)
    expected = 0
    for step in (2, 4, 6, 8):
        batch = (step * accumulated - 1) % 4
        if step * accumulated > 8:
            break
        at = slice(batch * BATCH, (batch + 1) * BATCH)
        matrix = hessian(lambda at=at: tf.reduce_mean((model(X[at]) - Y[at]) ** 2), kernels)
        probes = [probe(kernel.shape, index, tf.constant(step, tf.int64)) for index, kernel in enumerate(kernels)]
        vector = np.concatenate([z.numpy().ravel() for z in probes])
        expected = DECAY * expected + (1 - DECAY) * vector * (matrix @ vector)
    actual = np.concatenate([state.gradient.numpy().ravel() for state in scope.prunings[0].states])
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-5)


class OwnStep(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(2)

    def call(self, x):
        return self.dense(x)

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self(x) - y) ** 2)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}


@pytest.mark.slow
def test_a_train_step_of_ones_own_is_pruned_by_the_loss_it_was_compiled_with():
    model = OwnStep()
    model.compile("sgd", "mse", jit_compile=False)
    with pruning_scope(hparams()) as scope:
        model.fit(X, Y, batch_size=BATCH, epochs=2, verbose=0)
    (state,) = scope.prunings[0].states
    assert np.count_nonzero(state.weight) == 6
    assert np.any(state.gradient)


def test_a_loss_that_only_train_step_knows_is_refused():
    model = OwnStep()
    model.compile("sgd", jit_compile=False)
    with pytest.raises(ValueError, match="only its train_step knows"), pruning_scope(hparams()):
        model.fit(X, Y, verbose=0)


def test_several_replicas_are_refused_before_the_first_step():
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    with tf.distribute.MirroredStrategy(devices).scope():
        model = model_of()
        model.compile("sgd", "mse", jit_compile=False)
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"works on one replica.*trains on 2"), pruning_scope(hparams()):
        model.fit(X, Y, verbose=0)
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
