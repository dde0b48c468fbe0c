"""Shrinking models with recurrent layers of Keras 3, which are loops: of what they are given units go."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers.specimen import drawn, without
from tfx_pruning import strip_saved_model

_STEPS = 9
# As many units does a recurrent layer get, and no other weight has rows.
_GIVEN = 7


def _model(recurrent) -> keras.Model:
    """Unit 1 of 'early' and unit 2 of 'after' are 0; units 1 and 3 of 'before' are constants.

    No weight of the recurrent layer reads unit 4 of 'before', nor does 'score' read unit 4 of 'after'.
    """
    layers = keras.layers
    x = keras.Input((_STEPS, 6), name="x")
    y = layers.Dense(5, activation="relu", name="early")(x)
    y = layers.Dense(_GIVEN, activation="sigmoid", name="before")(y)
    y = layers.Dense(6, activation="tanh", name="after")(recurrent(y))
    model = keras.Model(x, layers.Dense(2, name="score")(y))
    for weight in model.weights:
        values = drawn(*weight.shape)
        weight.assign(without(values, 0, 4) if len(weight.shape) == 2 and len(values) == _GIVEN else values)
    for name, units in (("early", (1,)), ("before", (1, 3)), ("after", (2,))):
        kernel, bias = model.get_layer(name).get_weights()
        model.get_layer(name).set_weights([without(kernel, 1, *units), without(bias, 0, units[0])])
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
def test_what_a_recurrent_layer_is_given_is_cut_and_what_is_around_it(name, tmp_path):
    recurrent = _LAYERS[name]()
    model = _model(recurrent)
    model.export(str(tmp_path / "model"), verbose=False)
    assert b"While" in (tmp_path / "model" / "saved_model.pb").read_bytes()
    report = strip_saved_model(tmp_path / "model", tmp_path / "shrunk", shrink=True)
    rows = [weight.shape for weight in recurrent.weights if len(weight.shape) == 2 and weight.shape[0] == _GIVEN]
    made = recurrent.output.shape[-1]
    assert len(rows) == (2 if name == "both ways" else 1)
    assert sorted((each.shape_before, each.shape_after) for each in report.shrink.variables) == sorted(
        [
            ((6, 5), (6, 4)),
            ((5,), (4,)),
            ((5, _GIVEN), (4, 4)),
            ((_GIVEN,), (4,)),
            *(((_GIVEN, columns), (4, columns)) for _, columns in rows),
            ((made, 6), (made, 4)),
            ((6,), (4,)),
            ((6, 2), (4, 2)),
        ]
    )
    x = np.random.default_rng(3).normal(size=(4, _STEPS, 6))
    answers = [
        tf.saved_model.load(tmp_path / folder).signatures["serving_default"](x=tf.constant(x, tf.float32))["output_0"]
        for folder in ("model", "shrunk")
    ]
    np.testing.assert_allclose(answers[1], answers[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(answers[1], model.predict(x, verbose=0), rtol=1e-5, atol=1e-5)


def test_rows_of_a_recurrent_layer_that_reads_the_input_go(tmp_path):
    x = keras.Input((_STEPS, 64), name="x")
    layer = keras.layers.LSTM(64)
    model = keras.Model(x, layer(x))
    kernel, *rest = layer.get_weights()
    layer.set_weights([without(kernel, 0, *range(40)), *rest])
    model.export(str(tmp_path / "model"), verbose=False)
    report = strip_saved_model(tmp_path / "model", tmp_path / "shrunk", shrink=True)
    assert [(each.shape_before, each.shape_after) for each in report.shrink.variables] == [((64, 256), (24, 256))]
    x = np.random.default_rng(3).normal(size=(4, _STEPS, 64))
    shrunk = tf.saved_model.load(tmp_path / "shrunk").signatures["serving_default"]
    answer = shrunk(x=tf.constant(x, tf.float32))["output_0"]
    np.testing.assert_allclose(answer, model.predict(x, verbose=0), rtol=1e-5, atol=1e-5)
