"""Statistics of batch normalizations that are taken anew."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfx_pruning import PruningHParams, prune_saved_model

HPARAMS = PruningHParams(target_sparsity=0.6)


def _model(library):
    library.utils.set_random_seed(2)
    layers = library.layers
    model = library.Sequential(
        [
            layers.Input((6, 6, 2)),
            layers.Conv2D(8, 3, use_bias=False),
            layers.BatchNormalization(name="first"),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(10),
            layers.BatchNormalization(name="second", scale=False),
        ]
    )
    images = np.random.default_rng(0).normal(size=(50, 6, 6, 2)).astype(np.float32) + 0.5
    for _ in range(80):
        model(images, training=True)
    return model, images


def _save(model, folder):
    spec = tf.TensorSpec([None, 6, 6, 2], name="image")
    serve = tf.function(lambda image: {"y": model(image, training=False)}, input_signature=[spec], autograph=False)
    tf.saved_model.save(model, str(folder), signatures=serve)


@pytest.mark.parametrize("library", [keras, tf_keras])
def test_statistics_are_those_of_the_pruned_model(library, tmp_path):
    model, images = _model(library)
    _save(model, tmp_path / "model")
    # 50 examples, which are not a multiple of the batch.
    prune_saved_model(tmp_path / "model", tmp_path / "pruned", {"image": images}, HPARAMS, recalibrate_bn=True)
    loaded = tf.saved_model.load(str(tmp_path / "pruned"))
    values = {each.name: each.numpy() for each in loaded.signatures["serving_default"].variables}
    for layer in model.layers:
        for weight in layer.weights:
            name = weight.path if library is keras else weight.name
            weight.assign(values[name if name.endswith(":0") else f"{name}:0"])
    given = images
    for layer in model.layers:
        if isinstance(layer, library.layers.BatchNormalization):
            x = np.asarray(given, np.float64).reshape(-1, given.shape[-1])
            np.testing.assert_allclose(np.asarray(layer.moving_mean), x.mean(0), rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(np.asarray(layer.moving_variance), x.var(0), rtol=1e-4, atol=1e-5)
        given = layer(given)
    assert [np.count_nonzero(each) for each in values.values() if each.ndim > 1] == [58, 512]


def test_a_model_without_batch_normalization_is_refused(two_layers, images, tmp_path):
    with pytest.raises(ValueError, match="batch normalizations of the signature 'serving_default', but it has none"):
        prune_saved_model(two_layers, tmp_path / "pruned", images, HPARAMS, recalibrate_bn=True)
    with pytest.raises(ValueError, match="recalibrate_bn=True looks at what batch normalizations are given"):
        prune_saved_model(two_layers, tmp_path / "pruned", None, HPARAMS, recalibrate_bn=True)
