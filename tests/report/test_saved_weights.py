import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning import PruningHParams, apply_mask, pruning_scope, strip_saved_model
from tfx_pruning.report.saved_weights import saved_model_report
from tfx_pruning.stripper.report import strip_document


def serve(model, width):
    return tf.function(lambda x: {"outputs": model(x)}, input_signature=[tf.TensorSpec([None, width], name="x")])


def nonzero(document):
    return {weight.path: (weight.shape, weight.nonzero) for weight in document.pruned_weights}


def counted(model):
    return {layer.kernel.path: (layer.kernel.shape, np.count_nonzero(layer.kernel)) for layer in model.layers}


def test_weights_sizes_and_hparams_are_read_from_a_trained_model(trained):
    document = saved_model_report(trained.saved, "Title")
    assert nonzero(document) == counted(trained.model)
    assert [weight.path for weight in document.weights if not weight.pruned] == [
        "net/hidden/bias",
        "net/logits/bias",
    ]
    assert document.hparams == trained.document.hparams
    assert list(document.sizes) == ["SavedModel", "SavedModel gzipped"]
    assert document.sizes["SavedModel"] > document.sizes["SavedModel gzipped"] > 1000
    assert document.lineage == {"SavedModel": trained.saved}


def test_a_stripped_model_is_told_which_weights_were_pruned(trained, tmp_path):
    source, stripped = tmp_path / "source", tmp_path / "stripped"
    tf.saved_model.save(trained.model, str(source), signatures={"serving_default": serve(trained.model, 12)})
    report = strip_saved_model(source, stripped)
    document = strip_document(source, stripped, report, hparams="target_sparsity=0.75", lineage={"input": "somewhere"})
    assert nonzero(document) == counted(trained.model)
    assert document.sparsity == pytest.approx(0.75)
    assert len(document.weights) == 4
    assert document.stripping.variables_removed == report.variables_removed
    assert document.sizes["SavedModel stripped"] == report.stripped_bytes
    assert (document.hparams, document.lineage) == ("target_sparsity=0.75", {"input": "somewhere"})
    # By itself it tells no more than its zeros.
    alone = saved_model_report(stripped)
    assert (alone.pruned_weights, alone.hparams) == ((), None)
    assert {(w.shape, w.nonzero) for w in alone.weights} == {(w.shape, w.nonzero) for w in document.weights}


def test_each_variable_of_a_keras_export_is_told_once(trained, tmp_path):
    trained.model.export(str(tmp_path), verbose=False)
    assert len(saved_model_report(tmp_path).weights) == 4


def test_zeros_of_a_mask_count_where_the_forward_pass_applies_it(tmp_path):
    class Masked(keras.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 2), name="kernel")

        def call(self, inputs):
            return inputs @ apply_mask(self.kernel)

    model = keras.Sequential([keras.layers.Input((8,)), Masked()])
    model.compile("sgd", "mse", jit_compile=False)
    hparams = PruningHParams(target_sparsity=0.5, include=["kernel"], pruning_frequency=1, sparsity_function_end_step=2)
    x = np.ones((16, 8), np.float32)
    with pruning_scope(hparams):
        model.fit(x, x[:, :2], batch_size=4, verbose=0)
    tf.saved_model.save(model, str(tmp_path))
    (weight,) = saved_model_report(tmp_path).weights
    assert (np.count_nonzero(model.layers[0].kernel), weight.nonzero, weight.pruned) == (16, 8, True)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no SavedModel"):
        saved_model_report(tmp_path)
