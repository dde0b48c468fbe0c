"""Models are timed in a process of its own."""

import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning.budget import Budget
from tfx_pruning.budget_fit.latency import ModelTimer
from tfx_pruning.stripper.export.model_export import export_model


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A small and a large SavedModel of one interface."""
    folder = tmp_path_factory.mktemp("models")
    for name, size in (("small", 4), ("large", 1500)):
        module = tf.Module()
        module.a, module.b = tf.Variable(tf.ones([8, size])), tf.Variable(tf.ones([size, 1500]))

        @tf.function(input_signature=[tf.TensorSpec([None, 8], name="x")])
        def serve(x, module=module):
            return {"y": tf.reduce_sum(x @ module.a @ module.b, axis=1)}

        tf.saved_model.save(module, folder / name, signatures={"serving_default": serve})
    return {name: str(folder / name) for name in ("small", "large")}


@pytest.mark.slow
@pytest.mark.parametrize("format", ["savedmodel", "tflite"])
def test_all_models_are_called_equally_often(models, format, tmp_path):
    budget = Budget(max_latency=1.0, format=format, batch_size=32)
    paths = dict(models)
    if format == "tflite":
        for name, model in models.items():
            (file,) = export_model(model, tmp_path / name, ["tflite"], tolerance=1.0)
            paths[name] = file.path
    times = ModelTimer(models["small"], budget).latencies(paths, most_calls=30)
    assert times.keys() == {"small", "large"}
    assert 10 <= times["small"].calls == times["large"].calls <= 30
    for each in times.values():
        assert 0 < each.lower <= each.median <= each.upper


def test_a_batch_has_the_size_that_is_asked_for(models):
    timer = ModelTimer(models["small"], Budget(max_latency=1.0, batch_size=100))
    assert timer.signature == "serving_default"
    assert timer._inputs["x"].shape == (100, 8)


def test_another_batch_size_than_the_only_one_is_refused(tmp_path):
    module = tf.Module()
    module.a = tf.Variable(tf.ones([8, 2]))

    @tf.function(input_signature=[tf.TensorSpec([2, 8], name="x")])
    def serve(x):
        return {"y": x @ module.a}

    tf.saved_model.save(module, tmp_path / "model", signatures={"serving_default": serve})
    with pytest.raises(ValueError, match=r"batch_size is 3, but the signature 'serving_default' .* batches of 2 alone"):
        ModelTimer(str(tmp_path / "model"), Budget(max_latency=1.0, batch_size=3))
    fixed = ModelTimer(str(tmp_path / "model"), Budget(max_latency=1.0, batch_size=2))
    assert np.shape(fixed._inputs["x"]) == (2, 8)


@pytest.mark.slow
def test_a_process_that_fails_is_told_with_what_it_printed(models, tmp_path):
    timer = ModelTimer(models["small"], Budget(max_latency=1.0))
    with pytest.raises(RuntimeError, match=r"(?s)latency of gone cannot be measured.*exit status 1.*does not exist"):
        timer.latencies({"gone": str(tmp_path / "gone")})
