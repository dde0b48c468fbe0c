"""The weights that the report on a stripped SavedModel of TensorFlow 1 lists."""

import numpy as np
import tensorflow as tf

from helpers.graph_models import X, graph, layer, save, save_model, tf1, trained, variables
from tfx_pruning import strip_saved_model
from tfx_pruning.stripper.report import strip_document


def _weights(folder):
    """What the report says of each weight, by its path."""
    report = strip_saved_model(folder / "in", folder / "out")
    return {each.path: each for each in strip_document(folder / "in", folder / "out", report).weights}


def test_masked_weights_are_pruned_and_others_are_not(tmp_path):
    with graph(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        y = layer(x, "only") + tf1.get_variable("only/bias", [3], initializer=tf1.zeros_initializer())
        y *= tf.cast(tf1.get_variable("scale", initializer=7), tf.float32)
        trained(session)
        save(tmp_path / "in", session, {"serving_default": ({"x": x}, {"y": y})})
    weights = _weights(tmp_path)
    assert {path: (each.shape, each.pruned) for path, each in weights.items()} == {
        "only/weights": ((4, 3), True),
        "only/bias": ((3,), False),
    }
    assert weights["only/weights"].nonzero == np.count_nonzero(variables(tmp_path / "in")["only/mask"]) < 12
    assert weights["only/bias"].nonzero == 0


def test_partitions_are_one_weight(tmp_path):
    save_model(tmp_path / "in", "partitioned")
    weights = _weights(tmp_path)
    kept = variables(tmp_path / "out")
    assert {path: (each.shape, each.nonzero, each.pruned) for path, each in weights.items()} == {
        key: (value.shape, np.count_nonzero(value), True) for key, value in kept.items()
    }
    assert len(weights) == 2


def test_model_without_variables_has_no_weights(tmp_path):
    with graph(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, X.shape, name="x")
        save(tmp_path / "in", session, {"serving_default": ({"x": x}, {"y": x + 1})})
    assert _weights(tmp_path) == {}
