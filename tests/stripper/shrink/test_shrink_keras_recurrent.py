"""Shrinking models with recurrent layers of Keras 3: these are loops, and keep their shapes; all others do not."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers.dead_units import drawn, without
from tfx_pruning import strip_saved_model

_STEPS = 7


def _model(recurrent) -> keras.Model:
    """Units 1 of 'early' and 'before' are made of nothing, unit 2 of 'after' too, and unit 4 of it is not read."""
    layers = keras.layers
    x = keras.Input((_STEPS, 6), name="x")
    y = layers.Dense(5, activation="relu", name="early")(x)
    y = layers.Dense(5, activation="relu", name="before")(y)
    y = layers.Dense(6, activation="tanh", name="after")(recurrent(y))
    model = keras.Model(x, layers.Dense(2, name="score")(y))
    for weight in model.weights:
        weight.assign(drawn(*weight.shape))
    for name, unit in (("early", 1), ("before", 1), ("after", 2)):
        kernel, bias = model.get_layer(name).get_weights()
        model.get_layer(name).set_weights([without(kernel, 1, unit), without(bias, 0, unit)])
    kernel, bias = model.get_layer("score").get_weights()
    model.get_layer("score").set_weights([without(kernel, 0, 4), bias])
    return model


_LAYERS = {
    "LSTM": lambda: keras.layers.LSTM(4, return_sequences=True),
    "GRU": lambda: keras.layers.GRU(4, return_sequences=True),
    "GRU that resets before": lambda: keras.layers.GRU(4, return_sequences=True, reset_after=False),
    "SimpleRNN": lambda: keras.layers.SimpleRNN(4, return_sequences=True),
    "last state": lambda: keras.layers.LSTM(4),
    "backwards": lambda: keras.layers.GRU(4, go_backwards=True),
    "both ways": lambda: keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True)),
    "two cells": lambda: keras.layers.RNN([keras.layers.LSTMCell(3), keras.layers.GRUCell(4)], return_sequences=True),
}


@pytest.mark.parametrize("name", _LAYERS)
def test_what_is_around_a_recurrent_layer_is_cut(name, tmp_path):
    model = _model(_LAYERS[name]())
    model.export(str(tmp_path / "model"), verbose=False)
    assert b"While" in (tmp_path / "model" / "saved_model.pb").read_bytes()
    report = strip_saved_model(tmp_path / "model", tmp_path / "shrunk", shrink=True)
    read, x = (8 if name == "both ways" else 4), np.random.default_rng(3).normal(size=(4, _STEPS, 6))
    assert sorted((each.shape_before, each.shape_after) for each in report.shrink.variables) == sorted(
        [
            ((6, 5), (6, 4)),
            ((5,), (4,)),
            ((5, 5), (4, 5)),  # all that the loop is given stays
            ((read, 6), (read, 4)),
            ((6,), (4,)),
            ((6, 2), (4, 2)),
        ]
    )
    answers = [
        tf.saved_model.load(tmp_path / folder).signatures["serving_default"](x=tf.constant(x, tf.float32))["output_0"]
        for folder in ("model", "shrunk")
    ]
    np.testing.assert_allclose(answers[1], answers[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(answers[1], model.predict(x, verbose=0), rtol=1e-5, atol=1e-5)
