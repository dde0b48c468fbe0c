"""Saves models of Keras 2 (tf_keras), some pruned by tfmot, and what they answer; run in a process of its own.

`python legacy_keras_models.py FOLDER` makes, for each model, `FOLDER/NAME`, a SavedModel, and `FOLDER/NAME.npz`: the
input `x`, how many weights are pruned (`zeros`), and each answer of the loaded model's signatures, 'signature:output'.
"""

import os
import pathlib
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tf_keras import layers

_IMAGE = (6, 6, 1)
_SEQUENCE = (5, 3)


def _images():
    return np.random.default_rng(4).standard_normal((3, *_IMAGE)).astype(np.float32)


def _fit(model, optimizer, shape, callbacks=()):
    model.compile(optimizer, "mse")
    random = np.random.default_rng(6)
    model.fit(random.random((8, *shape)), random.random((8, 2)), verbose=0, callbacks=list(callbacks))
    return model


def _image_layers():
    return [
        layers.Input(_IMAGE),
        layers.Conv2D(2, 3, activation="swish"),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(2),
    ]


def _pruned(model, shape):
    """A model pruned to 50 %, and how many weights that is; they are not zero, as between two updates of a training."""
    schedule = tfmot.sparsity.keras.ConstantSparsity(0.5, 0, frequency=1)
    model = tfmot.sparsity.keras.prune_low_magnitude(model, schedule)
    _fit(model, tf_keras.optimizers.Adam(1e-2), shape, [tfmot.sparsity.keras.UpdatePruningStep()])
    zeros = 0
    for wrapper in model.layers:
        for weight, mask, _ in wrapper.pruning_vars:
            zeros += int(tf.reduce_sum(1.0 - mask))
            weight.assign(weight + 0.25)
    return model, zeros


def _signature(call, shape):
    return tf.function(lambda x: {"y": call(x)}, input_signature=[tf.TensorSpec([None, *shape], name="x")])


def _save(folder, name, x, zeros=0):
    loaded = tf.saved_model.load(str(folder / name))
    answers = {"x": x, "zeros": zeros}
    for key, signature in loaded.signatures.items():
        (argument,) = signature.structured_input_signature[1]
        for output, value in signature(**{argument: tf.constant(x)}).items():
            answers[f"{key}:{output}"] = value.numpy()
    np.savez(folder / f"{name}.npz", **answers)


def main(folder: pathlib.Path) -> None:
    """Makes all of them."""
    tf_keras.utils.set_random_seed(2)
    model = _fit(tf_keras.Sequential(_image_layers()), tf_keras.optimizers.Adam(), _IMAGE)
    model.save(folder / "adam", save_format="tf")
    _save(folder, "adam", _images())

    model = _fit(tf_keras.Sequential(_image_layers()), tf_keras.optimizers.legacy.Adam(), _IMAGE)
    serve = _signature(lambda x: model(x, training=False), _IMAGE)
    tf.saved_model.save(model, str(folder / "legacy_adam"), signatures={"serve": serve})
    _save(folder, "legacy_adam", _images())

    pruned, zeros = _pruned(tf_keras.Sequential(_image_layers()), _IMAGE)
    pruned.save(folder / "tfmot", save_format="tf")
    _save(folder, "tfmot", _images(), zeros)
    signatures = {
        "inferring": _signature(lambda x: pruned(x, training=False), _IMAGE),
        "unsaid": _signature(pruned, _IMAGE),
    }
    tf.saved_model.save(pruned, str(folder / "tfmot_signatures"), signatures=signatures)
    _save(folder, "tfmot_signatures", _images(), zeros)
    training = {"training": _signature(lambda x: pruned(x, training=True), _IMAGE)}
    tf.saved_model.save(pruned, str(folder / "tfmot_training"), signatures=training)

    recurrent, zeros = _pruned(
        tf_keras.Sequential([layers.Input(_SEQUENCE), layers.LSTM(4), layers.Dense(2)]), _SEQUENCE
    )
    recurrent.save(folder / "tfmot_lstm", save_format="tf")
    _save(folder, "tfmot_lstm", np.random.default_rng(4).standard_normal((3, *_SEQUENCE)).astype(np.float32), zeros)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
