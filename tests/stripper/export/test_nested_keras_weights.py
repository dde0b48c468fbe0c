"""The 'keras_weights' export of models that hold models: load_weights by order and by name restores all of them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfx_pruning import strip_saved_model
from tfx_pruning.stripper.export.keras_layout import KerasLayoutError
from tfx_pruning.stripper.export.model_export import export_model

OF_TF_KERAS = {"layers": tf_keras.layers, "model": tf_keras.Model}
X = np.random.default_rng(0).normal(size=(8, 12)).astype(np.float32)


def functional(name="backbone", layers=keras.layers, model=keras.Model):
    inputs = layers.Input((12,))
    hidden = layers.Dense(8, activation="relu", name="first")(inputs)
    # Its moving averages stand behind the trainable weights of all layers.
    hidden = layers.BatchNormalization(name="norm")(hidden)
    return model(inputs, layers.Dense(12, name="second")(hidden), name=name)


def sequential(name="backbone"):
    dense = keras.layers.Dense
    return keras.Sequential([keras.layers.Input((12,)), dense(8, name="first"), dense(12, name="second")], name=name)


def in_a_sequential():
    return keras.Sequential([keras.layers.Input((12,)), functional(), keras.layers.Dense(1, name="head")])


def wrapped(backbone):
    inputs = keras.layers.Input((12,))
    return keras.Model(inputs, backbone(inputs), name="wrapped")


def with_head(*backbones, layers=keras.layers, model=keras.Model, calls=1):
    inputs = layers.Input((12,), name="x")
    outputs = []
    for backbone in backbones:
        hidden = inputs
        for _ in range(calls):
            hidden = backbone(hidden)
        outputs.append(hidden)
    hidden = layers.Concatenate()(outputs) if len(outputs) > 1 else outputs[0]
    return model(inputs, layers.Dense(1, name="head")(hidden), name="outer")


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.backbone = functional()
        self.head = keras.layers.Dense(1, name="head")

    def call(self, inputs):
        return self.head(self.backbone(inputs))


def of_own_class():
    model = Own()
    model(X)
    return model


def tf_keras_towers(calls=1):
    return with_head(functional("user", **OF_TF_KERAS), functional("item", **OF_TF_KERAS), calls=calls, **OF_TF_KERAS)


MODELS = {
    "functional": lambda: with_head(functional()),
    "sequential": lambda: with_head(sequential()),
    "in a sequential": in_a_sequential,
    "three levels": lambda: with_head(wrapped(functional())),
    "heads of one name": lambda: with_head(with_head(functional(), functional("other"))),
    "of one's own class": of_own_class,
    "layers of one name": lambda: with_head(functional("user"), functional("item")),
    "sequentials with layers of one name": lambda: with_head(sequential("user"), sequential("item")),
    "names with numbers": lambda: with_head(functional("tower"), functional("tower_1"), functional("tower_2")),
    "a name that begins another": lambda: with_head(functional("first_tower")),
    "called twice": lambda: with_head(functional("user"), functional("user_1"), calls=2),
    "tf_keras": lambda: with_head(functional(**OF_TF_KERAS), **OF_TF_KERAS),
    "tf_keras, a name with a number": lambda: with_head(functional("first_1", **OF_TF_KERAS), **OF_TF_KERAS),
    "tf_keras, layers of one name": tf_keras_towers,
    "tf_keras, called twice": lambda: tf_keras_towers(calls=2),
}
REFUSED_AS_EXPORTED = {
    "heads of one name": "weights of several layers have the same names",
    "of one's own class": r"which layer has '\w+/kernel' is not clear",
    "layers of one name": "weights of several layers have the same names",
    "names with numbers": "weights of several layers have the same names",
    "called twice": "weights of several layers have the same names",
    "tf_keras, layers of one name": "weights of several layers have the same names",
    "tf_keras, called twice": "weights of several layers have the same names",
}


def trained(build):
    model = build()
    model.compile("adam", "mse")
    model.fit(X, X[:, :1], verbose=0)
    random = np.random.default_rng(1)
    model.set_weights([random.random(weight.shape).astype(np.float32) for weight in model.get_weights()])
    return model


def save(model, path, exported):
    if exported:
        model.export(path, **({"verbose": False} if isinstance(model, keras.Model) else {}))
    else:
        tf.saved_model.save(model, path)


def weights_file(model, folder, exported):
    save(model, str(folder / "source"), exported)
    strip_saved_model(folder / "source", folder / "stripped")
    (file,) = export_model(folder / "stripped", folder / "out", ["keras_weights"], source=folder / "source")
    return file.path


def assert_restored(build, model, file):
    for options in ({}, {"by_name": True}):
        fresh = build()
        fresh.load_weights(file, **options)
        for expected, actual in zip(model.get_weights(), fresh.get_weights(), strict=True):
            np.testing.assert_array_equal(actual, expected)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_load_weights_restores_models_in_models(kind, tmp_path):
    model = trained(MODELS[kind])
    assert_restored(MODELS[kind], model, weights_file(model, tmp_path, exported=False))


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(MODELS.keys() - REFUSED_AS_EXPORTED))
def test_load_weights_restores_what_model_export_wrote(kind, tmp_path):
    model = trained(MODELS[kind])
    assert_restored(MODELS[kind], model, weights_file(model, tmp_path, exported=True))


@pytest.mark.slow
@pytest.mark.parametrize("kind", REFUSED_AS_EXPORTED)
def test_what_model_export_wrote_is_refused_if_it_does_not_tell_the_layers(kind, tmp_path):
    with pytest.raises(KerasLayoutError, match=rf"{REFUSED_AS_EXPORTED[kind]}. Save the model itself"):
        weights_file(trained(MODELS[kind]), tmp_path, exported=True)
    assert not (tmp_path / "out").exists()
