"""strip_saved_model on the model of the taxi pipeline."""

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from helpers.training_keys import adam_keys, state_keys
from tfx_pruning import strip_saved_model
from tfx_pruning.stripper.check import verify
from tfx_pruning.stripper.tf2.writer import Writer


@pytest.fixture(scope="module")
def stripped_taxi(taxi_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("stripped") / "model"
    return path, strip_saved_model(taxi_model.path, path, examples=taxi_model.examples)


@pytest.mark.slow
def test_strip_taxi_removes_exactly_the_training_variables(taxi_model, stripped_taxi, variable_keys):
    path, report = stripped_taxi
    kept = [
        "_operations/1/_embeddings",
        "_operations/7/_kernel",
        "_operations/7/bias",
        "_operations/8/_kernel",
        "_operations/8/bias",
    ]
    removed = [
        *state_keys("_operations/7/_kernel", "_operations/8/_kernel"),
        *adam_keys(trainable=5),
        "pruning/last_mask_update_step",
    ]
    assert list(report.variables_kept) == variable_keys(path) == kept
    assert list(report.variables_removed) == sorted(removed)
    assert sorted(kept + removed) == variable_keys(taxi_model.path)
    assert report.signatures_checked == ("serving_default", "transform_features")


@pytest.mark.slow
def test_strip_taxi_keeps_signature_declarations(taxi_model, stripped_taxi):
    before, after = tf.saved_model.load(taxi_model.path), tf.saved_model.load(stripped_taxi[0])
    assert list(after.signatures) == list(before.signatures) == ["serving_default", "transform_features"]
    for name, signature in after.signatures.items():
        assert signature.structured_input_signature == before.signatures[name].structured_input_signature
        assert signature.structured_outputs == before.signatures[name].structured_outputs
    (_, inputs) = after.signatures["serving_default"].structured_input_signature
    assert inputs == {"examples": tf.TensorSpec([None], tf.string, name="examples")}


@pytest.mark.slow
def test_strip_taxi_keeps_vocabulary_asset_and_tables(taxi_model, stripped_taxi, read_meta_graph):
    path, _ = stripped_taxi
    assert (path / "assets" / "company").read_bytes() == b"Flash Cab\nBlue Ribbon\n"
    assert [asset.filename for asset in read_meta_graph(path).asset_file_def] == ["company"]
    features = tf.saved_model.load(path).signatures["transform_features"](examples=tf.constant(taxi_model.examples))
    # Two known companies, then two of the two out-of-vocabulary buckets, which '' hashes to.
    assert features["company_xf"].numpy()[[0, 1, 3], 0].tolist() == [0, 1, 0]
    assert features["company_xf"].numpy()[2, 0] in (2, 3)


@pytest.mark.slow
def test_strip_taxi_answers_without_the_source(taxi_model, tmp_path):
    expected = tf.saved_model.load(taxi_model.path).signatures["serving_default"](
        examples=tf.constant(taxi_model.examples)
    )
    shutil.copytree(taxi_model.path, tmp_path / "source")
    strip_saved_model(tmp_path / "source", tmp_path / "out")
    shutil.rmtree(tmp_path / "source")
    (tmp_path / "out").rename(tmp_path / "moved")
    actual = tf.saved_model.load(tmp_path / "moved").signatures["serving_default"](
        examples=tf.constant(taxi_model.examples)
    )
    assert actual["outputs"].numpy().tobytes() == expected["outputs"].numpy().tobytes()


def _serve(path, meta_graph, examples, names=("serving_default", "transform_features")):
    """Answers of signatures as TensorFlow Serving has them: from the graph alone, restored and initialized."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(meta_graph.graph_def, name="")
        saver = meta_graph.saver_def
        session.run(saver.restore_op_name, {saver.filename_tensor_name: str(path / "variables" / "variables")})
        assets = {each.tensor_info.name: str(path / "assets" / each.filename) for each in meta_graph.asset_file_def}
        initialize = meta_graph.signature_def["__saved_model_init_op"].outputs["__saved_model_init_op"].name
        session.run(session.graph.as_graph_element(initialize), assets)
        answers = {}
        for name in names:
            signature = meta_graph.signature_def[name]
            fetch = {key: tensor.name for key, tensor in signature.outputs.items()}
            answers[name] = session.run(fetch, {signature.inputs["examples"].name: examples})
        return answers


@pytest.mark.slow
def test_strip_taxi_answers_in_a_session_as_tensorflow_serving_runs_it(taxi_model, stripped_taxi, read_meta_graph):
    path, _ = stripped_taxi
    served = _serve(path, read_meta_graph(path), taxi_model.examples)
    assert {name: set(outputs) for name, outputs in served.items()} == {
        "serving_default": {"outputs"},
        "transform_features": {"company_xf", "fare_xf", "hour_xf"},
    }
    # The source's other signature cannot be served: restoring a Keras 3 model in a graph fills other variables.
    source = _serve(taxi_model.path, read_meta_graph(taxi_model.path), taxi_model.examples, ["transform_features"])
    for key, value in source["transform_features"].items():
        assert served["transform_features"][key].tobytes() == value.tobytes()
    loaded = tf.saved_model.load(taxi_model.path).signatures["serving_default"]
    expected = loaded(examples=tf.constant(taxi_model.examples))["outputs"].numpy()
    # A session folds constants that a function takes as arguments.
    np.testing.assert_allclose(served["serving_default"]["outputs"], expected, rtol=1e-6)


@pytest.mark.slow
def test_strip_publishes_nothing_if_a_vocabulary_is_lost(taxi_model, tmp_path, monkeypatch):
    save = Writer.save

    def save_with_other_words(self, model, objects, *values):
        save(self, model, objects, *values)
        with open(os.path.join(self.folder, "assets", "company"), "w") as stream:
            stream.write("Blue Ribbon\nFlash Cab\n")

    monkeypatch.setattr(Writer, "save", save_with_other_words)
    with pytest.raises(verify.VerificationError, match="differs from the source"):
        strip_saved_model(taxi_model.path, tmp_path / "out")
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_strip_falls_back_on_drawn_inputs_if_the_examples_are_of_another_kind(taxi_model, tmp_path):
    transformed = tf.train.Example()
    transformed.features.feature["fare_xf"].float_list.value.append(0.5)
    report = strip_saved_model(taxi_model.path, tmp_path / "out", examples=iter([transformed.SerializeToString()]))
    assert report.signatures_checked == ("serving_default", "transform_features")
