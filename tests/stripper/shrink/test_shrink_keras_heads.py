"""Shrinking attention and convolutions with groups, as Keras 3 and tf_keras save them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from helpers.specimen import drawn, without
from tfx_pruning import strip_saved_model
from tfx_pruning.stripper.shrink.report import ShrinkReport

_LIBRARIES = pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])


def _shrunk(model, shape, folder) -> ShrinkReport:
    """What shrinking did to a model, whose answers must be the same."""

    @tf.function(input_signature=[tf.TensorSpec([None, *shape], name="x")])
    def serve(x):
        return {"y": model(x, training=False)}

    tf.saved_model.save(model, str(folder / "model"), signatures={"serving_default": serve})
    report = strip_saved_model(folder / "model", folder / "shrunk", shrink=True)
    x = tf.constant(np.random.default_rng(3).normal(size=(4, *shape)), tf.float32)
    shrunk = tf.saved_model.load(str(folder / "shrunk")).signatures["serving_default"]
    np.testing.assert_allclose(shrunk(x=x)["y"], serve(x)["y"], rtol=1e-5, atol=1e-5)
    return report.shrink


def _shapes(report: ShrinkReport) -> dict[tuple[int, ...], tuple[int, ...]]:
    """The shapes of the variables that became smaller, before and after."""
    return {each.shape_before: each.shape_after for each in report.variables}


def _attention(library, **options):
    """A model of 4 heads with keys of 5 and values of 3 for 6 features, and its weights, by name."""
    x = library.layers.Input((7, 6))
    layer = library.layers.MultiHeadAttention(4, 5, value_dim=3, **options)
    model = library.Model(x, layer(x, x))
    values = {}
    for weight in layer.weights:
        parts = getattr(weight, "path", weight.name).removesuffix(":0").split("/")
        values["/".join(parts[-2:])] = drawn(*weight.shape, seed=len(values))
    return model, layer, values


@_LIBRARIES
def test_dead_heads_and_dead_places_in_heads_go(library, tmp_path):
    model, layer, values = _attention(library)
    values["attention_output/kernel"][1] = 0  # head 1 is not read
    values["value/kernel"][:, 3], values["value/bias"][3] = 0, 0  # what head 3 makes is 0
    values["attention_output/kernel"][:, 2] = 0  # nor is the value's place 2, of any head
    values["query/kernel"][:, :, 4], values["query/bias"][:, 4] = 0, 0  # the query's place 4 is 0
    values["key/kernel"][:, :, 0], values["key/bias"][:, 0] = 0, 0  # and the key's place 0
    values["query/kernel"][:, 0, 1], values["query/bias"][0, 1] = 0, 0  # of one head alone: stays
    layer.set_weights(list(values.values()))
    assert _shapes(_shrunk(model, (7, 6), tmp_path)) == {
        (6, 4, 5): (6, 2, 3),
        (4, 5): (2, 3),
        (6, 4, 3): (6, 2, 2),
        (4, 3): (2, 2),
        (4, 3, 6): (2, 2, 6),
    }


@_LIBRARIES
def test_a_head_whose_scores_are_returned_stays(library, tmp_path):
    x = library.layers.Input((7, 6))
    layer = library.layers.MultiHeadAttention(4, 5)
    answer, scores = layer(x, x, return_attention_scores=True)
    flat = library.layers.Reshape((7, 28))(scores)
    model = library.Model(x, library.layers.Concatenate()([answer, flat]))
    weights = [drawn(*weight.shape) for weight in layer.weights]
    weights[-2][1] = 0  # the last kernel is that of the answer, the last of all its bias
    weights[-2][:, 2] = 0
    layer.set_weights(weights)
    assert _shapes(_shrunk(model, (7, 6), tmp_path)) == {(6, 4, 5): (6, 4, 4), (4, 5): (4, 4), (4, 5, 6): (4, 4, 6)}


@_LIBRARIES
def test_groups_of_a_convolution_go(library, tmp_path):
    layers = library.layers
    x = layers.Input((5, 5, 3))
    y = layers.Conv2D(8, 3, activation="relu", name="first")(x)
    y = layers.Conv2D(4, 3, groups=4, activation="sigmoid", name="grouped")(y)
    model = library.Model(x, layers.Dense(2, name="score")(layers.Flatten()(y)))
    for weight in model.weights:
        weight.assign(drawn(*weight.shape))
    kernel, bias = model.get_layer("score").get_weights()
    model.get_layer("score").set_weights([without(kernel, 0, 2), bias])
    kernel, bias = model.get_layer("grouped").get_weights()
    model.get_layer("grouped").set_weights([without(kernel, 2, 1), bias])
    report = _shrunk(model, (5, 5, 3), tmp_path)
    assert _shapes(report) == {
        (3, 3, 3, 8): (3, 3, 3, 3),
        (8,): (3,),
        (3, 3, 2, 4): (3, 3, 1, 3),
        (4,): (3,),
        (4, 2): (3, 2),
    }
    # 3 by 3 places of 9 taps, one place of 9 taps for one channel of each group, and the scores.
    assert report.multiply_adds_before == 9 * 9 * 3 * 8 + 9 * 2 * 4 + 4 * 2
    assert report.multiply_adds_after == 9 * 9 * 3 * 3 + 9 * 1 * 3 + 3 * 2
