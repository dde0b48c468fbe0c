"""strip_saved_model on models of Keras 2 (tf_keras), and on those of tfmot whose wrappers are still there."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning import strip_saved_model

pytestmark = pytest.mark.slow

_MODELS = pathlib.Path(__file__).parents[1] / "helpers" / "legacy_keras_models.py"
_PRUNED = ("tfmot", "tfmot_signatures", "tfmot_lstm")
_PLAIN = ("adam", "legacy_adam")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("legacy_keras")
    subprocess.run([sys.executable, str(_MODELS), str(folder)], check=True, capture_output=True)
    return folder


def _function_names(meta_graph):
    """The names of functions, and of their arguments and nodes."""
    functions = meta_graph.graph_def.library.function
    return [
        *(function.signature.name for function in functions),
        *(each.name for function in functions for each in function.signature.input_arg),
        *(node.name for function in functions for node in function.node_def),
    ]


@pytest.mark.parametrize("name", [*_PLAIN, *_PRUNED])
def test_strip_legacy_keras_model_answers_as_before_and_keeps_no_training_state(
    name, models, tmp_path, read_meta_graph, variable_keys
):
    report = strip_saved_model(models / name, tmp_path / "out")

    known = np.load(models / f"{name}.npz")
    loaded = tf.saved_model.load(tmp_path / "out")
    answers = [key for key in known if ":" in key]
    assert {key.partition(":")[0] for key in answers} == set(report.signatures_checked)
    for key in answers:
        signature, _, output = key.partition(":")
        (argument,) = loaded.signatures[signature].structured_input_signature[1]
        actual = loaded.signatures[signature](**{argument: tf.constant(known["x"])})[output]
        assert actual.numpy().tobytes() == known[key].tobytes()
    meta_graph = read_meta_graph(tmp_path / "out")
    variables = [node.variable.name for node in meta_graph.object_graph_def.nodes if node.HasField("variable")]
    assert len(variables) == len(variable_keys(tmp_path / "out")) == (5 if name == "tfmot_lstm" else 4)
    for trace in ("adam", "iteration", "learning_rate", "mask", "threshold", "pruning_step", "prune_low_magnitude"):
        assert not [each for each in variables if trace in each.lower()]
        assert not [each for each in variable_keys(tmp_path / "out") if trace in each.lower()]
    for trace in ("mask", "threshold", "pruning", "prune_low_magnitude", "no_update", "grad"):
        assert not [each for each in _function_names(meta_graph) if trace in each]
    bodies = [[node.op for node in function.node_def] for function in meta_graph.graph_def.library.function]
    assert not [body for body in bodies if "AssignVariableOp" in body and "RestoreV2" not in body]
    assert report.stripped_bytes < report.source_bytes / 2


@pytest.mark.parametrize("name", _PRUNED)
def test_strip_tfmot_model_masks_the_weights(name, models, tmp_path):
    strip_saved_model(models / name, tmp_path / "out")
    stripped = tf.train.load_checkpoint(str(tmp_path / "out" / "variables" / "variables"))
    weights = [stripped.get_tensor(key) for key in stripped.get_variable_to_shape_map() if "VARIABLE_VALUE" in key]
    zeros = [np.ravel(weight[weight == 0]) for weight in weights if np.ndim(weight) > 1]
    assert sum(map(len, zeros)) == np.load(models / f"{name}.npz")["zeros"] > 0
    assert not np.signbit(np.concatenate(zeros)).any()


def test_strip_tfmot_model_answers_in_a_session(models, tmp_path):
    strip_saved_model(models / "tfmot", tmp_path / "out")
    known = np.load(models / "tfmot.npz")
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        declared = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path / "out")).signature_def
        signature = declared["serving_default"]
        # The output is part of the signature, which keeps the name that the wrapper gave it.
        (output,) = signature.outputs.values()
        (argument,) = signature.inputs.values()
        answer = session.run(output.name, {argument.name: known["x"]})
    np.testing.assert_allclose(answer, known["serving_default:prune_low_magnitude_dense_2"], rtol=1e-5)


def test_strip_refuses_a_tfmot_signature_that_trains(models, tmp_path):
    message = r"Signature 'training' of .* the pruning variable 'layer_with_weights-0/pruning_step' other than"
    with pytest.raises(ValueError, match=message):
        strip_saved_model(models / "tfmot_training", tmp_path / "out")
    assert os.listdir(tmp_path) == []
