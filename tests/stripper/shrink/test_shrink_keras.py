"""Shrinking models of Keras 3 and of tf_keras, as users save them, and loading them back into what they were."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from helpers.specimen import drawn, without
from tfx_pruning import PruningHParams, apply_mask, pruning_scope, strip_saved_model, warm_start
from tfx_pruning.cli.inventory import inventory
from tfx_pruning.engine.weight_state import WeightState


def _network(layers, models, units=8):
    x = layers.Input((6, 6, 3), name="x")
    y = layers.Conv2D(units, 3, padding="same", name="conv")(x)
    y = layers.BatchNormalization(name="norm")(y)
    y = layers.Activation("relu")(y)
    z = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(y)
    y = layers.Add()([y, z])
    y = layers.Flatten()(layers.MaxPooling2D()(y))
    y = layers.Dense(5, activation="tanh", name="hidden")(y)
    y = layers.Dropout(0.5)(y)
    return models.Model(x, layers.Dense(2, name="score")(y))


def _kill(model):
    """Kills channels 1 (made of nothing) and 2 (read by nothing) of conv, and units 0 and 3 of hidden."""
    for weight in model.weights:
        values = drawn(*weight.shape)
        weight.assign(np.abs(values) if "variance" in weight.name else values)
    kernel, bias = model.get_layer("conv").get_weights()
    model.get_layer("conv").set_weights([without(kernel, 3, 1), without(bias, 0, 1)])
    gamma, beta, mean, variance = model.get_layer("norm").get_weights()
    beta[1] = -9.0
    model.get_layer("norm").set_weights([gamma, beta, mean, variance])
    kernel, bias = model.get_layer("hidden").get_weights()
    dead = [2 + 8 * place for place in range(9)]
    model.get_layer("hidden").set_weights([without(without(kernel, 0, *dead), 1, 0), bias])
    kernel, bias = model.get_layer("score").get_weights()
    model.get_layer("score").set_weights([without(kernel, 0, 3), bias])


_LEFT = {
    (3, 3, 3, 8): (3, 3, 3, 6),
    (8,): (6,),
    (3, 3, 8, 1): (3, 3, 6, 1),
    (72, 5): (54, 3),
    (5,): (3,),
    (5, 2): (3, 2),
}


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_shrink_a_convolutional_network(library, tmp_path):
    model = _network(library.layers, library.models)
    _kill(model)

    @tf.function(input_signature=[tf.TensorSpec([None, 6, 6, 3], name="x")])
    def serve(x):
        return {"score": model(x, training=False)}

    tf.saved_model.save(model, str(tmp_path / "model"), signatures={"serving_default": serve})
    report = strip_saved_model(tmp_path / "model", tmp_path / "shrunk", shrink=True)
    assert len(report.shrink.variables) == 10
    assert [_LEFT[each.shape_before] for each in report.shrink.variables] == [
        each.shape_after for each in report.shrink.variables
    ]
    x = np.random.default_rng(1).normal(size=(4, 6, 6, 3)).astype(np.float32)
    shrunk = tf.saved_model.load(str(tmp_path / "shrunk")).signatures["serving_default"](x=tf.constant(x))["score"]
    np.testing.assert_allclose(shrunk, serve(x)["score"], rtol=1e-5, atol=1e-5)

    full = _network(library.layers, library.models)
    assert warm_start(full, types.SimpleNamespace(base_model=str(tmp_path / "shrunk")))
    np.testing.assert_allclose(full(x, training=False), serve(x)["score"], rtol=1e-5, atol=1e-5)
    kernel = full.get_layer("conv").get_weights()[0]
    assert not kernel[..., [1, 2]].any()
    assert kernel[..., [0, 3, 4, 5, 6, 7]].all()


def test_shrink_what_export_writes(tmp_path):
    model = _network(keras.layers, keras.models)
    _kill(model)
    model.export(str(tmp_path / "model"), verbose=False)
    report = strip_saved_model(tmp_path / "model", tmp_path / "shrunk", shrink=True)
    assert sorted(each.shape_after for each in report.shrink.variables) == sorted(
        [(3, 3, 3, 6), (6,), (6,), (6,), (6,), (6,), (3, 3, 6, 1), (54, 3), (3,), (3, 2)]
    )


def test_warm_start_refuses_another_architecture_than_was_shrunk(tmp_path):
    model = _network(keras.layers, keras.models)
    _kill(model)
    model.export(str(tmp_path / "model"), verbose=False)
    strip_saved_model(tmp_path / "model", tmp_path / "shrunk", shrink=True)
    other = _network(keras.layers, keras.models, units=6)
    with pytest.raises(ValueError, match=r"has shape \(3, 3, 3, 6\), but \(3, 3, 3, 8\) in the base model"):
        warm_start(other, types.SimpleNamespace(base_model=str(tmp_path / "shrunk")))


def test_inspect_tells_both_shapes(tmp_path):
    model = _network(keras.layers, keras.models)
    _kill(model)
    model.export(str(tmp_path / "model"), verbose=False)
    strip_saved_model(tmp_path / "model", tmp_path / "shrunk", shrink=True)
    shapes = {each.name: (each.shape, each.shape_before) for each in inventory(str(tmp_path / "shrunk")).variables}
    assert shapes["hidden/kernel"] == ((54, 3), (72, 5))
    assert shapes["score/bias"] == ((2,), None)


def test_shrink_a_subclassed_model_with_masks_in_its_forward_pass(tmp_path):
    class Masked(keras.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 8), name="kernel")

        def call(self, inputs):
            return inputs @ apply_mask(self.kernel)

    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden, self.score = Masked(), keras.layers.Dense(2, name="score")

        def call(self, inputs):
            return self.score(keras.ops.relu(self.hidden(inputs)))

    model = Network()
    model(tf.zeros([1, 6]))
    model.hidden.kernel.assign(drawn(6, 8))
    mask = np.ones((6, 8), bool)
    mask[:, [0, 5]] = False
    WeightState.of(model.hidden.kernel).mask.assign(mask)

    @tf.function(input_signature=[tf.TensorSpec([None, 6], name="x")])
    def serve(x):
        return {"score": model(x)}

    tf.saved_model.save(model, tmp_path / "model", signatures={"serving_default": serve})
    report = strip_saved_model(tmp_path / "model", tmp_path / "shrunk", shrink=True)
    assert sorted((each.shape_before, each.shape_after) for each in report.shrink.variables) == [
        ((6, 8), (6, 6)),
        ((8, 2), (6, 2)),
    ]


def test_what_pruning_kills_goes(tmp_path):
    random = np.random.default_rng(0)
    x = random.normal(size=(256, 10)).astype(np.float32)
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((10,)), keras.layers.Dense(40, activation="relu"), keras.layers.Dense(1, name="score")]
    )
    model.compile("adam", "mse")
    hparams = PruningHParams.for_steps(64, prune_option="first_order_gradient", target_sparsity=0.95)
    with pruning_scope(hparams):
        model.fit(x, x[:, :1] * x[:, 1:2], batch_size=32, epochs=8, verbose=0)
    hidden, score = model.layers[0].get_weights()[0], model.layers[1].get_weights()[0]
    alive = hidden.any(axis=0) & score.any(axis=1)
    assert 0 < alive.sum() < 40
    model.export(str(tmp_path / "model"), verbose=False)
    report = strip_saved_model(tmp_path / "model", tmp_path / "shrunk", shrink=True)
    shapes = {each.shape_before: each.shape_after for each in report.shrink.variables}
    assert shapes == {(10, 40): (10, alive.sum()), (40,): (alive.sum(),), (40, 1): (alive.sum(), 1)}
