"""`tfx-pruning inspect`, on pruned, stripped and dense models."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from tfx_pruning import apply_mask, strip_saved_model
from tfx_pruning.cli.main import cli
from tfx_pruning.engine.weight_state import WeightState

_X = tf.TensorSpec([None, 4], tf.float32, name="x")


def _run(*arguments):
    return CliRunner().invoke(cli, ["inspect", *map(str, arguments)])


def _found(path):
    result = _run(path, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    """A weight of twelve, of which a mask keeps three, whose own zero is one of those."""
    module = tf.Module()
    module.weight = tf.Variable(np.arange(12, dtype=np.float32).reshape(4, 3), name="weight")
    module.bias = tf.Variable([1.0, 0.0, 2.0], name="bias")
    apply_mask(module.weight)
    mask = np.zeros((4, 3), bool)
    mask[0] = True
    WeightState.of(module.weight).mask.assign(mask)
    serve = tf.function(lambda x: {"y": x @ apply_mask(module.weight) + module.bias}, input_signature=[_X])
    path = tmp_path_factory.mktemp("masked") / "model"
    tf.saved_model.save(module, path, signatures={"serving_default": serve})
    return path


def test_a_masked_weight_is_counted_as_the_model_uses_it(masked):
    found = _found(masked)
    weights = {each["name"]: each for each in found["variables"] if each["kind"] == "model"}
    assert weights.keys() == {"weight", "bias"}
    assert weights["weight"]["shape"] == [4, 3]
    assert weights["weight"]["dtype"] == "float32"
    assert (weights["weight"]["nonzeros"], weights["weight"]["bytes"]) == (2, 48)
    assert weights["weight"]["sparsity"] == pytest.approx(10 / 12)
    assert weights["weight"]["masked"]
    assert (weights["bias"]["nonzeros"], weights["bias"]["masked"]) == (2, False)
    assert found["kinds"]["model"] == {
        "variables": 2,
        "bytes": 60,
        "parameters": 15,
        "nonzeros": 4,
        "sparsity": pytest.approx(11 / 15),
    }
    assert "weight/pruning/mask" in {each["name"] for each in found["variables"] if each["kind"] == "pruning"}


def test_a_stripped_model_has_no_variables_of_pruning(masked, tmp_path):
    report = strip_saved_model(masked, tmp_path / "stripped")
    found = _found(tmp_path / "stripped")
    assert {each["kind"] for each in found["variables"]} == {"model"}
    assert [(each["name"], each["nonzeros"]) for each in found["variables"]] == [("bias", 2), ("weight", 2)]
    assert (found["total_bytes"], found["gzipped_bytes"]) == (report.stripped_bytes, report.gzipped_bytes)


@pytest.fixture(scope="module")
def trained():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="dense")], name="net")
    model.compile("adam", "mse")
    model.fit(np.ones((2, 4)), np.ones((2, 2)), verbose=0)
    return model


def test_a_dense_keras_model_with_its_optimizer(trained, tmp_path):
    serve = tf.function(lambda x: {"y": trained(x)}, input_signature=[_X])
    tf.saved_model.save(trained, tmp_path / "model", signatures={"serving_default": serve})
    found = _found(tmp_path / "model")
    names = {kind: {each["name"] for each in found["variables"] if each["kind"] == kind} for kind in found["kinds"]}
    assert names["model"] == {"net/dense/kernel", "net/dense/bias"}
    assert [name for name in names["training"] if name.endswith("/iteration")]
    assert found["kinds"]["training"]["variables"] == 6  # iteration, learning rate, two moments of two weights


def test_weights_that_an_export_writes_twice_count_once(trained, tmp_path):
    trained.export(tmp_path / "model", verbose=False)
    kinds = _found(tmp_path / "model")["kinds"]
    assert kinds["model"]["parameters"] == kinds["copy"]["parameters"] == 10


def test_the_table_is_for_people(masked):
    result = _run(masked)
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["variable", "kind", "shape", "dtype", "sparsity", "non-zeros", "bytes"]
    assert ["weight", "weight,", "masked", "4x3", "float32", "83.33%", "2", "48"] in lines
    assert ["all", "weights", "2", "60", "15", "4", "73.33%"] in lines
    assert lines[-1][:2] == ["all", "files:"]


def test_a_folder_without_a_model_is_an_error(tmp_path):
    result = _run(tmp_path)
    assert result.exit_code == 1
    assert "expected saved_model.pb in that folder, found nothing" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_model_of_tensorflow_1(tmp_path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None, 2], name="x")
        weight = tf.compat.v1.get_variable("weight", initializer=tf.constant([[1.0], [0.0]]), use_resource=True)
        y = x @ weight
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "model"), {"x": x}, {"y": y})
    (variable,) = _found(tmp_path / "model")["variables"]
    assert (variable["name"], variable["shape"], variable["nonzeros"]) == ("weight", [2, 1], 1)


@pytest.mark.parametrize(
    ("path", "message"),
    [("model[1]", "takes brackets and backslashes in a path for a pattern"), ("foo://model", "does not know")],
)
def test_paths_that_tensorflow_cannot_read_are_refused(path, message, masked, tmp_path):
    if "://" not in path:
        path = shutil.copytree(masked, tmp_path / path)
    result = _run(path)
    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
