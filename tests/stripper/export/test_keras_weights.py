"""The 'keras_weights' export: what load_weights of the same architecture makes of it."""

import os

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfx_pruning import strip_saved_model
from tfx_pruning.stripper.export.keras_layout import KerasLayoutError
from tfx_pruning.stripper.export.model_export import export_model


class Blocks(keras.Model):
    def __init__(self):
        super().__init__()
        self.blocks = [keras.layers.Dense(4), keras.layers.Dense(4)]
        self.head = keras.layers.Dense(4)
        self.scale = self.add_weight(shape=(4,), name="scale", initializer="random_normal")

    def call(self, inputs):
        for block in self.blocks:
            inputs = block(inputs)
        return self.head(inputs) * self.scale


def _sequential(layers):
    return [layers.Input((6,)), layers.Dense(4, name="a"), layers.BatchNormalization(), layers.Dense(4)]


def _functional():
    inputs = keras.Input((3, 6))
    hidden = keras.layers.LSTM(6)(inputs)
    # A layer with trainable weights behind one with others: the file has the trainable ones of both first.
    layers = [keras.layers.BatchNormalization(), keras.layers.Dense(6), keras.layers.BatchNormalization()]
    inner = keras.Sequential([keras.Input((6,)), *layers])
    shared = keras.layers.Dense(6)
    hidden = keras.layers.Dropout(0.5)(shared(shared(inner(hidden))))
    return keras.Model(inputs, keras.layers.LayerNormalization()(hidden))


def _attention():
    inputs = keras.Input((3, 6))
    hidden = keras.layers.MultiHeadAttention(2, 3)(inputs, inputs)
    return keras.Model(inputs, keras.layers.Bidirectional(keras.layers.GRU(4))(hidden))


_MODELS = {
    "sequential": (lambda: keras.Sequential(_sequential(keras.layers)), (6,)),
    "functional": (_functional, (3, 6)),
    "attention": (_attention, (3, 6)),
    "subclassed": (Blocks, (6,)),
    "tf_keras": (lambda: tf_keras.Sequential(_sequential(tf_keras.layers)), (6,)),
}


def _fitted(build, shape):
    """A model whose weights are all different from each other's, trained for a step."""
    model = build()
    model.compile("adam", "mse")
    x = np.random.default_rng(0).standard_normal((4, *shape)).astype(np.float32)
    model.fit(x, np.zeros_like(model(x)), verbose=0)
    random = np.random.default_rng(1)
    model.set_weights([random.random(weight.shape).astype(np.float32) for weight in model.get_weights()])
    return model, x


def _saved(model, shape, path, exported):
    if exported:
        model.export(path, verbose=False)
        return
    spec = tf.TensorSpec([None, *shape], tf.float32, name="x")
    serve = tf.function(lambda x: {"y": model(x, training=False)}, input_signature=[spec])
    tf.saved_model.save(model, path, signatures={"serving_default": serve})


def _weights_file(model, shape, folder, exported=False):
    _saved(model, shape, str(folder / "source"), exported)
    strip_saved_model(folder / "source", folder / "stripped")
    (file,) = export_model(folder / "stripped", folder / "out", ["keras_weights"], source=folder / "source")
    return file.path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "exported"),
    [
        ("sequential", False),
        ("sequential", True),
        ("functional", False),
        ("functional", True),
        ("attention", False),
        ("subclassed", False),
        ("tf_keras", False),
    ],
)
def test_load_weights_restores_the_model(kind, exported, tmp_path):
    build, shape = _MODELS[kind]
    model, x = _fitted(build, shape)
    file = _weights_file(model, shape, tmp_path, exported)
    fresh = build()
    fresh(x)
    fresh.load_weights(file)
    for expected, actual in zip(model.get_weights(), fresh.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)
    np.testing.assert_array_equal(np.asarray(fresh(x)), np.asarray(model(x)))


@pytest.mark.slow
def test_layers_can_be_loaded_by_name(tmp_path):
    build, shape = _MODELS["sequential"]
    model, _ = _fitted(build, shape)
    file = _weights_file(model, shape, tmp_path)
    other = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, name="a"), keras.layers.Dense(9, name="new")])
    other.load_weights(file, by_name=True)
    np.testing.assert_array_equal(other.get_layer("a").kernel, model.get_layer("a").kernel)


def test_weights_hold_the_masks_and_no_pruning_state(dense_model, tmp_path):
    strip_saved_model(dense_model, tmp_path / "stripped")
    (file,) = export_model(tmp_path / "stripped", tmp_path / "out", ["keras_weights"], source=dense_model)
    with h5py.File(file.path) as stored:
        names = [name.decode() for layer in stored.attrs["layer_names"] for name in stored[layer].attrs["weight_names"]]
    assert [name.rpartition("/")[2] for name in names] == [
        *("kernel", "bias"),
        *("gamma", "beta", "moving_mean", "moving_variance"),
        *("kernel", "bias"),
    ]


@pytest.mark.slow
def test_a_model_with_many_layers_is_read_back(tmp_path):
    model = keras.Sequential(
        [keras.Input((1,)), *(keras.layers.Dense(1, name=f"{'a_layer_with_a_long_name_' * 40}{i}") for i in range(70))]
    )
    model.set_weights([np.full(weight.shape, i, np.float32) for i, weight in enumerate(model.get_weights())])
    file = _weights_file(model, (1,), tmp_path)
    with h5py.File(file) as stored:
        assert "layer_names1" in stored.attrs
    fresh = keras.models.clone_model(model)
    fresh.load_weights(file)
    assert [float(each.ravel()[0]) for each in fresh.get_weights()] == list(range(140))


def test_a_model_that_is_not_of_keras_is_refused(small_model, tmp_path):
    with pytest.raises(KerasLayoutError, match="is not that of a Keras model"):
        export_model(small_model, tmp_path / "out", ["keras_weights"])
    assert not (tmp_path / "out").exists()


def test_an_order_that_the_saved_model_does_not_tell_is_refused(tmp_path):
    model = Blocks()
    model(np.zeros((1, 6), np.float32))
    with pytest.raises(KerasLayoutError, match=r"does not tell the order .* Compile the model before it is saved"):
        _weights_file(model, (6,), tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["source", "stripped"]


@pytest.mark.slow
def test_a_weight_that_no_signature_uses_is_refused(tmp_path):
    inputs = keras.Input((6,))
    hidden = keras.layers.Dense(4, name="used")(inputs)
    model = keras.Model(inputs, [hidden, keras.layers.Dense(2, name="auxiliary")(hidden)])
    served = keras.Model(inputs, hidden)
    spec = tf.TensorSpec([None, 6], tf.float32, name="x")
    serve = tf.function(lambda x: {"y": served(x)}, input_signature=[spec])
    tf.saved_model.save(model, tmp_path / "source", signatures={"serving_default": serve})
    strip_saved_model(tmp_path / "source", tmp_path / "stripped")
    with pytest.raises(ValueError, match=r"'auxiliary/kernel' .* no signature uses it"):
        export_model(tmp_path / "stripped", tmp_path / "out", ["keras_weights"], source=tmp_path / "source")
