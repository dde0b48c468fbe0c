"""`tfx-pruning strip`, called as a user calls it."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from tfx_pruning.cli.main import cli


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A model with a variable that no signature uses."""
    module = tf.Module()
    module.weight = tf.Variable(np.eye(4, dtype=np.float32), name="weight")
    module.unused = tf.Variable(tf.zeros([100]), name="unused")

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def serve(x):
        return {"y": x @ module.weight}

    path = tmp_path_factory.mktemp("source") / "model"
    tf.saved_model.save(module, path, signatures={"serving_default": serve})
    return path


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments):
        return CliRunner().invoke(cli, ["strip", *map(str, arguments)])

    return invoke


def _write(path, count, compression=""):
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for index in range(count):
            example = tf.train.Example()
            example.features.feature["x"].float_list.value.extend([float(index), 1.0, -1.0, 0.5])
            writer.write(example.SerializeToString())


def test_strip_writes_a_stripped_model(source, run):
    result = run(source, "out")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("1 of 2 variables removed; checked: serving_default\n")
    assert result.stderr == ""
    assert os.listdir() == ["out"]
    answer = tf.saved_model.load("out").signatures["serving_default"](x=tf.ones([1, 4]))
    assert answer["y"].numpy().tolist() == [[1.0, 1.0, 1.0, 1.0]]


def test_strip_prints_json_for_machines(source, run):
    result = run(source, "out", "--json", "--export", "frozen_graph", "--export", "tflite")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["variables_removed"] == ["unused"]
    assert found["variables_kept"] == ["weight"]
    assert found["source_bytes"] > found["stripped_bytes"] > found["gzipped_bytes"] > 0
    assert [each["format"] for each in found["exports"]] == ["frozen_graph", "tflite"]
    for each in found["exports"]:
        assert each["path"].startswith("out_exports/")
        assert each["bytes"] == os.path.getsize(each["path"])
        assert each["checked_on"] == "drawn inputs"


def test_strip_measures_exports_by_a_metric(source, run, tmp_path):
    _write(tmp_path / "a.tfrecord", 20)
    chosen = ["--export", "frozen_graph", "--verify", "a.tfrecord", "--metric", "MeanAbsoluteError", "--label", "x"]
    result = run(source, "out", *chosen)
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    # The model answers its input, which is the label.
    assert lines[1][-1] == "metric"
    assert [line[-1] for line in lines[3:5]] == ["0.0000", "0.0000"]
    assert lines[4][0] == "out_exports/frozen_graph.pb"


@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_strip_verifies_on_files_of_examples(compression, source, run, tmp_path):
    for name in ("a.tfrecord", "b.tfrecord"):
        _write(tmp_path / name, 20, compression)
    result = run(source, "out", "--export", "tflite_int8", "--export-dir", "lite", "--verify", "*.tfrecord")
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stdout.splitlines() if "model_int8.tflite" in line]
    assert line.startswith("lite/model_int8.tflite")
    assert line.rstrip().endswith(" examples")
    assert sorted(os.listdir()) == ["a.tfrecord", "b.tfrecord", "lite", "out"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--export", "tflight"], "Unknown export 'tflight'. Did you mean"),
        (["--export-dir", "x"], "--export-dir needs --export"),
        (["--metric", "AUC", "--label", "y"], "--metric needs --export"),
        (["--export", "tflite", "--metric", "AUC"], "--metric, --label and --verify go together"),
        (["--export", "tflite_int8"], "--export tflite_int8 needs examples"),
        (["--export", "tflite", "--tolerance", "0"], "0.0 is not in the range x>0"),
        (["--num-examples", "0"], "0 is not in the range x>=1"),
    ],
)
def test_strip_called_wrongly_exits_with_2(arguments, message, source, run):
    result = run(source, "out", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert os.listdir() == []


def test_an_error_is_one_line_and_status_1(run):
    result = run("nowhere", "out")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == "Error: There is no SavedModel at 'nowhere': no such folder.\n"


def test_debug_shows_the_error_itself(run):
    result = run("nowhere", "out", "--debug")
    assert result.exit_code == 1
    assert isinstance(result.exception, FileNotFoundError)


def test_nothing_appears_if_an_export_fails(source, run):
    result = run(source, "out", "--export", "frozen_graph", "--export", "keras_weights")
    assert result.exit_code == 1
    assert "is not that of a Keras model" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert os.listdir() == []


def test_strip_replaces_nothing_unless_told_to(source, run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    result = run(source, "out", "--export", "frozen_graph")
    assert (result.exit_code, os.listdir("out")) == (1, ["mine"])
    result = run(source, "out", "--export", "frozen_graph", "--overwrite")
    assert result.exit_code == 0, result.output
    assert "saved_model.pb" in os.listdir("out")
    assert os.listdir("out_exports") == ["frozen_graph.pb"]


@pytest.mark.parametrize("place", ["out/exports", ".", "out"])
def test_strip_refuses_exports_inside_of_the_model(place, source, run):
    result = run(source, "out", "--export", "frozen_graph", "--export-dir", place)
    assert result.exit_code == 1
    assert "lie one within the other" in result.stderr
    assert os.listdir() == []


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "There is no file 'data'"), (b"this is text, not records", "no file of TFRecords"), (b"", "hold no")],
)
def test_strip_refuses_data_without_examples(content, message, source, run, tmp_path):
    if content is not None:
        (tmp_path / "data").write_bytes(content)
    result = run(source, "out", "--verify", "data")
    assert result.exit_code == 1
    assert message in result.stderr
    assert not os.path.exists("out")


@pytest.fixture(scope="module")
def dead_source(tmp_path_factory):
    """A model of which one of four hidden units is not read."""
    module = tf.Module()
    module.a = tf.Variable(tf.ones([4, 4]))
    module.b = tf.Variable([[1.0], [1.0], [0.0], [1.0]])

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def serve(x):
        return {"y": tf.nn.relu(x @ module.a) @ module.b}

    path = tmp_path_factory.mktemp("dead") / "model"
    tf.saved_model.save(module, path, signatures={"serving_default": serve})
    return path


def test_strip_shrinks(dead_source, run):
    result = run(dead_source, "out", "--shrink")
    assert result.exit_code == 0, result.output
    shown = [line.split() for line in result.stdout.splitlines()]
    assert ["parameters", "20", "15"] in shown
    assert ["multiply-adds", "an", "example", "20", "15"] in shown
    assert ["a", "4x4", "4x3"] in shown
    assert ["b", "4x1", "3x1"] in shown


def test_strip_shrinks_and_prints_json(dead_source, run):
    result = run(dead_source, "out", "--shrink", "--shrink-tolerance", "0.001", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["shrink"]
    assert found["variables"] == [
        {"key": "a", "shape_before": [4, 4], "shape_after": [4, 3]},
        {"key": "b", "shape_before": [4, 1], "shape_after": [3, 1]},
    ]
    assert (found["tolerance"], found["parameters_after"]) == (0.001, 15)


def test_strip_shows_no_gzipped_size_that_was_not_measured(dead_source, run, monkeypatch):
    monkeypatch.setattr("tfx_pruning.stripper.shrink.shrink._MOST_GZIPPED", 100)
    result = run(dead_source, "out", "--shrink")
    assert result.exit_code == 0, result.output
    named = [line.split()[0] for line in result.stdout.splitlines() if line.strip()]
    assert "parameters" in named
    assert "gzipped" not in named


def test_strip_says_that_nothing_is_dead(source, run):
    result = run(source, "out", "--shrink")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == "No unit is dead, so that nothing was cut."


def test_strip_refuses_a_tolerance_of_nothing(source, run):
    result = run(source, "out", "--shrink-tolerance", "0.1")
    assert result.exit_code == 2
    assert "--shrink-tolerance needs --shrink: give both, or neither." in result.output
