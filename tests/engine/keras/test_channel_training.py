"""`granularity='channel'` in `pruning_scope`, to the shrunk model."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfx_pruning import PruningHParams, pruning_scope, strip_saved_model
from tfx_pruning.engine.keras.delivered_sparsity import SparsityError, delivered_sparsity

RNG = np.random.default_rng(0)
X = RNG.normal(size=(128, 8, 8, 2)).astype("f")
Y = (X.mean((1, 2, 3)) > 0).astype("i")
STEPS = 32


def hparams(**fields):
    return PruningHParams.for_steps(STEPS, **{"granularity": "channel", "target_sparsity": 0.5, **fields})


def residual(version):
    layers = version.layers
    x = version.Input((8, 8, 2))
    y = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    z = layers.DepthwiseConv2D(3, padding="same")(y)
    z = layers.BatchNormalization()(layers.Conv2D(8, 1)(z))
    y = layers.MaxPooling2D()(layers.Add()([y, z]))
    y = layers.Dense(12, activation="relu")(layers.Flatten()(y))
    return version.Model(x, layers.Dense(2)(y))


def subclassed(version):
    layers = version.layers

    class Net(version.Model):
        def __init__(self):
            super().__init__()
            self.conv, self.flatten = layers.Conv2D(8, 3, activation="relu"), layers.Flatten()
            self.hidden, self.head = layers.Dense(12, activation="sigmoid"), layers.Dense(2)

        def call(self, x):
            return self.head(self.hidden(self.flatten(self.conv(x))))

    return Net()


def fit(model, version=keras, epochs=8, callbacks=(), compiled=None, **fields):
    loss = version.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(version.optimizers.Adam(0.01), loss, **(compiled or {}))
    with pruning_scope(hparams(**fields), record=True) as scope:
        model.fit(X, Y, batch_size=32, epochs=epochs, verbose=0, callbacks=list(callbacks))
    return scope


@pytest.mark.parametrize("version", [keras, tf_keras], ids=["keras", "tf_keras"])
@pytest.mark.parametrize("net", [residual, subclassed])
@pytest.mark.parametrize("cost", ["parameters", "flops"])
def test_what_was_asked_for_is_what_the_shrunk_model_lacks(version, net, cost, tmp_path):
    model = net(version)
    scope = fit(model, version, cost=cost)
    (pruning,) = scope.prunings
    (share,) = pruning.shares_at_target()
    assert share.is_delivered
    for weight, mask in zip(pruning.weights, pruning.masks, strict=True):
        assert not np.any(weight.numpy()[~mask.numpy()])
    assert scope.histories[0].sparsity[-1].reached == pruning.reached() >= 0.5
    source, destination = str(tmp_path / "model"), str(tmp_path / "small")
    tf.saved_model.save(model, source)
    delivered = delivered_sparsity(scope, source)
    assert delivered.sparsity == pytest.approx(pruning.sparsity())
    assert delivered.multiply_adds == ((share.total, share.kept) if cost == "flops" else None)
    report = strip_saved_model(source, destination, shrink=True).shrink
    # What the masks keep is what is left of the pruned weights; the statistics of dead channels go with them.
    if cost == "flops":
        # A subclass is saved for the batch that it has seen.
        examples = report.multiply_adds_before // share.total
        assert report.multiply_adds_before == examples * share.total
        assert report.multiply_adds_after <= examples * share.kept
    left = sum(int(tf.math.count_nonzero(mask)) for mask in pruning.masks)
    gone = sum(mask.numpy().size for mask in pruning.masks) - left
    assert report.parameters_before - report.parameters_after >= gone
    small = tf.saved_model.load(destination).signatures["serving_default"]
    (name,) = small.structured_input_signature[1]
    (answer,) = small(**{name: tf.constant(X[:32])}).values()
    np.testing.assert_allclose(answer, model(X[:32]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "fields",
    [
        {"prune_option": "weight"},
        {"prune_option": "second_order_gradient"},
        {"prune_option": "second_order_gradient", "gradient_estimator": "hutchinson"},
        {"prune_option": "first_order_gradient", "gradient_estimator": "weight_delta"},
        {"prune_option": "second_order_gradient", "gradient_estimator": "weight_delta"},
        {"sparsity_function": "cosine"},
        {"sparsity_function": "one_shot"},
        {"allocation": "uniform"},
        {"min_layer_density": 0.25},
        {"channel_multiple": 2},
    ],
    ids=lambda fields: "-".join(map(str, fields.values())),
)
def test_every_criterion_schedule_and_allocation_delivers(fields):
    scope = fit(residual(keras), **fields)
    (pruning,) = scope.prunings
    (share,) = pruning.shares_at_target()
    assert share.is_delivered
    least, multiple = fields.get("min_layer_density", 0), fields.get("channel_multiple", 1)
    for mask in pruning.masks:
        if len(mask.shape) == 1:
            assert np.count_nonzero(mask) >= max(1, least * mask.shape[0])
            assert np.count_nonzero(mask) % multiple == 0


@pytest.mark.parametrize("net", [residual, subclassed])
def test_a_training_that_is_interrupted_goes_on_with_its_channels(net, tmp_path):
    keras.utils.set_random_seed(0)
    whole = net(keras)
    keras.utils.set_random_seed(0)
    first, second = net(keras), net(keras)
    second(X[:1])
    first(X[:1])
    whole(X[:1])
    second.set_weights(first.get_weights())
    whole.set_weights(first.get_weights())

    def run(model, epochs, initial=0):
        model.fit(X, Y, batch_size=32, epochs=epochs, initial_epoch=initial, shuffle=False, verbose=0)

    for model in (whole, first, second):
        model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pruning_scope(hparams()) as unbroken:
        run(whole, 8)
    path = str(tmp_path / "half.weights.h5")
    with pruning_scope(hparams()):
        run(first, 4)
        first.save_weights(path)
    with pruning_scope(hparams()) as scope:
        second.optimizer.build(second.trainable_variables)
        second.load_weights(path)
        run(second, 8, initial=4)
    for one, other in zip(unbroken.prunings[0].masks, scope.prunings[0].masks, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(whole.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("version", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_two_replicas_prune_the_channels_of_one_device(version):
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    found = []
    for strategy in (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(devices)):
        version.utils.set_random_seed(0)
        with strategy.scope():
            layers = version.layers
            hidden = [layers.Conv2D(6, 3, activation="relu"), layers.Flatten(), layers.Dense(12, activation="relu")]
            model = version.Sequential([layers.Input((8, 8, 2)), *hidden, layers.Dense(1)])
            model.compile(version.optimizers.SGD(0.01), "mse")
        batches = tf.data.Dataset.from_tensor_slices((X, Y.astype("f")[:, None])).batch(16)
        with pruning_scope(hparams(cost="flops", prune_option="first_order_gradient")) as scope:
            model.fit(batches, epochs=4, verbose=0)
        found.append(scope.prunings[0])
    expected, pruning = found
    assert len(pruning.states) == len(expected.states) == 5
    assert pruning.shares_at_target() == expected.shares_at_target()
    assert pruning.shares_at_target()[0].is_delivered
    for one, other in zip(pruning.states, expected.states, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
        np.testing.assert_allclose(one.weight, other.weight, rtol=1e-4, atol=1e-6)
        assert not np.any(np.asarray(one.weight)[~one.mask.numpy()])
        for mirrored in (one.mask, one.weight):
            first, second = (np.asarray(component) for component in mirrored.values)
            np.testing.assert_array_equal(first, second)


def test_a_model_that_was_changed_after_fit_is_refused(tmp_path):
    model = residual(keras)
    scope = fit(model)
    for weight in scope.prunings[0].weights:
        weight.assign(tf.ones(weight.shape))
    tf.saved_model.save(model, str(tmp_path / "model"))
    with pytest.raises(SparsityError, match="asked for"):
        delivered_sparsity(scope, str(tmp_path / "model"))


def test_a_step_that_xla_compiles_prunes_the_same_channels():
    keras.utils.set_random_seed(0)
    plain = residual(keras)
    compiled = keras.models.clone_model(plain)
    compiled.set_weights(plain.get_weights())
    masks = []
    for model, jit_compile in ((plain, False), (compiled, True)):
        keras.utils.set_random_seed(1)
        scope = fit(model, compiled={"jit_compile": jit_compile}, prune_option="weight")
        masks.append([mask.numpy() for mask in scope.prunings[0].masks])
    for one, other in zip(*masks, strict=True):
        np.testing.assert_array_equal(one, other)


def test_layer_normalisation_counts_every_unit_and_keeps_them():
    layers = keras.layers
    x = keras.Input((8, 8, 2))
    y = layers.Dense(16, name="wide", activation="relu")(layers.Flatten()(x))
    y = layers.LayerNormalization()(y)
    y = layers.Dense(12, name="hidden", activation="relu")(y)
    scope = fit(keras.Model(x, layers.Dense(2, name="head")(y)))
    assert scope.prunings[0].paths == ["hidden/kernel", "hidden/bias", "head/kernel"]
