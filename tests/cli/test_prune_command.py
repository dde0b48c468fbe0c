"""`tfx-pruning prune`, called as a user calls it."""

import json

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from tfx_pruning.cli.main import cli

WEIGHT = np.arange(1, 9, dtype=np.float32).reshape(4, 2)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    module = tf.Module()
    module.weight = tf.Variable(WEIGHT, name="dense/kernel")

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def serve(x):
        return {"y": x @ module.weight}

    folder = tmp_path_factory.mktemp("source")
    tf.saved_model.save(module, folder / "model", signatures={"serving_default": serve})
    with tf.io.TFRecordWriter(str(folder / "examples")) as writer:
        for index in range(20):
            example = tf.train.Example()
            example.features.feature["x"].float_list.value.extend([100.0 + index % 7, 1.0 + index % 5, -1.0, 0.5])
            example.features.feature["y"].float_list.value.extend([0.0, 1.0])
            writer.write(example.SerializeToString())
    return folder


@pytest.fixture
def run(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments):
        return CliRunner().invoke(cli, ["prune", str(source / "model"), "out", *map(str, arguments)])

    return invoke


def _kernel():
    return tf.train.load_checkpoint("out/variables/variables").get_tensor("weight/.ATTRIBUTES/VARIABLE_VALUE")


def test_magnitude_needs_no_examples(run):
    result = run("--hparams", "target_sparsity=0.5")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("out: 50.00% of the pruned weights are zero\n")
    assert "dense/kernel" in result.stdout
    np.testing.assert_array_equal(_kernel(), np.where(WEIGHT > 4, WEIGHT, 0))


def test_wanda_prints_json_for_machines(source, run):
    result = run("--examples", source / "examples", "--hparams", "prune_option=wanda,target_sparsity=0.75", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["signature"], found["num_examples"], found["sparsity"]) == ("serving_default", 20, 0.75)
    assert found["weights"] == [
        {"path": "dense/kernel", "shape": [4, 2], "nonzero": 2, "pruned": True, "sparsity": 0.75}
    ]
    np.testing.assert_array_equal(_kernel(), [[1, 2], [0, 0], [0, 0], [0, 0]])


def test_as_many_examples_are_read_as_asked_for(source, run):
    result = run("--examples", source / "examples", "--num-examples", 3, "--hparams", "prune_option=obc", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["num_examples"] == 3


def test_gradients_need_a_label(source, run):
    hparams = "prune_option=second_order_gradient,gradient_estimator=block_fisher,target_sparsity=0.75"
    assert "give label" in run("--examples", source / "examples", "--hparams", hparams).stderr
    result = run(
        *("--examples", source / "examples", "--hparams", hparams, "--label", "y"),
        *("--loss", "squared_error", "--no-update", "--damping", 0.5, "--json"),
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["weights"][0]["nonzero"] == 2
    kernel = _kernel()
    np.testing.assert_array_equal(kernel[kernel != 0], WEIGHT[kernel != 0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hparams", "prune_option=wanda"], "looks at the inputs of the layers: give it examples"),
        (["--hparams", "sparsity=0.5"], "Unknown pruning hyperparameter 'sparsity'"),
        (["--hparams", "prune_option=wanda", "--examples", "nowhere"], "There is no file 'nowhere' with examples"),
    ],
)
def test_errors_are_one_line(run, arguments, message):
    result = run(*arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
