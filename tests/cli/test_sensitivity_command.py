"""`tfx-pruning sensitivity`, called as a user calls it."""

import json

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from tfx_pruning import PruningHParams, Sensitivity
from tfx_pruning.cli.sensitivity_command import command


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    module = tf.Module()
    module.weight = tf.Variable([[1.0, 0.0], [0.0, 2.0]], name="dense/kernel")
    module.other = tf.Variable([[3.0, 4.0], [5.0, 6.0]], name="other/kernel")

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def serve(x):
        return {"y": (x @ module.weight) @ module.other}

    folder = tmp_path_factory.mktemp("source")
    tf.saved_model.save(module, folder / "model", signatures={"serving_default": serve})
    with tf.io.TFRecordWriter(str(folder / "examples")) as writer:
        for index in range(20):
            example = tf.train.Example()
            x = np.array([1.0 + index % 3, 1.0])
            example.features.feature["x"].float_list.value.extend(x)
            answer = x * [1, 2] @ [[3, 4], [5, 6]]
            example.features.feature["y"].float_list.value.extend(answer)
            writer.write(example.SerializeToString())
    return folder


@pytest.fixture
def run(source):
    def invoke(*arguments):
        return CliRunner().invoke(command, [str(source / "model"), *map(str, arguments)])

    return invoke


def test_the_table_has_a_row_a_layer_and_ends_with_hyperparameters(source, run):
    result = run(
        *("--examples", source / "examples", "--label", "y", "--sparsities", "0.25,0.5", "--target-sparsity", 0.375),
        "--no-repair",
    )
    assert result.exit_code == 0, result.output
    first, header, *rows, empty, hparams = result.stdout.splitlines()
    assert first == "squared_error, dense 0; 20 examples"
    assert header.split() == ["weight", "shape", "bytes", "multiply-adds", "at", "0.25", "at", "0.5", "of", "0.375"]
    # Two zeros of the first layer are there already. Its loss is that of no change.
    assert rows[0].split() == ["dense/kernel", "(not", "repaired)", "2x2", "16", "4", "0", "0", "50.00%"]
    assert rows[1].split()[3:6] == ["2x2", "16", "4"]
    assert rows[1].split()[-1] == "25.00%"
    assert empty == ""
    parsed = PruningHParams.parse(hparams)
    assert (parsed.allocation, parsed.sensitivity_map[0]) == ("sensitivity", "^dense/kernel$:0.25=0;0.5=0")


def test_json_is_that_of_sensitivity_and_more(source, run):
    result = run(
        "--examples",
        source / "examples",
        "--label",
        "y",
        "--sparsities",
        "0.5",
        "--num-examples",
        3,
        "--json",
        "--no-repair",
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    read = Sensitivity.from_json(result.stdout)
    assert (read.num_examples, read.measure, found["layer_sparsities"]) == (3, "squared_error", None)
    # The two smaller weights of the other layer go: 3 and 4, by which the first input is multiplied.
    x = np.array([1.0, 2.0, 3.0])
    assert read.layers[1].measured[0][1] == pytest.approx(np.mean(x**2) * (9 + 16) / 2)
    assert PruningHParams.parse(found["hparams"]).sensitivity_map == read.fields["sensitivity_map"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--sparsities", "half"], 2, "numbers with commas between them"),
        (["--sparsities", "1.5"], 1, "sparsities must be fractions in (0, 1), got [1.5]"),
        (["--hparams", "include=[third]"], 1, "'third', which matches none of the variables"),
        (["--sparsities", "0.5", "--target-sparsity", "0.9"], 1, "or measure the sensitivity at higher sparsities"),
        (["--label", "z"], 1, "['z'] is missing"),
    ],
)
def test_bad_input_is_refused(source, run, arguments, status, message):
    result = run("--examples", source / "examples", *arguments)
    assert (result.exit_code, message in result.stderr) == (status, True), result.stderr
