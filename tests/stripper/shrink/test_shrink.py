"""Shrinking: what is kept and reported, what is refused, and that nothing is left behind."""

import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from helpers.dead_channels import CHANNELS
from helpers.dead_layouts import LAYOUTS
from helpers.dead_units import ZOO
from helpers.specimen import Specimen, drawn, without
from tfx_pruning import leftovers, strip_saved_model
from tfx_pruning.saved_model import sizes
from tfx_pruning.stripper.check.relative_tolerance import RelativeTolerance
from tfx_pruning.stripper.check.verify import VerificationError
from tfx_pruning.stripper.export.model_export import export_model
from tfx_pruning.stripper.shrink import shrink
from tfx_pruning.stripper.shrink.shrink import shrink_in_place
from tfx_pruning.stripper.strip_and_export import strip_and_export

KEPT = "assets.extra/tfx_pruning_kept_indices.json"
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


@pytest.fixture
def saved(tmp_path):
    """Saves a specimen; returns its folder."""

    def save(specimen: Specimen | str) -> pathlib.Path:
        folder = tmp_path / "model"
        (ZOO[specimen] if isinstance(specimen, str) else specimen).save(str(folder))
        return folder

    return save


def _value(folder, key):
    return tf.train.load_checkpoint(str(folder / "variables" / "variables")).get_tensor(key + VALUE)


def _operations(folder):
    saved_model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    library = saved_model.meta_graphs[0].graph_def.library.function
    return sorted(node.op for each in library for node in each.node_def)


def test_shrink_reports_sizes_before_and_after(saved, tmp_path):
    strip_saved_model(saved("unread"), tmp_path / "stripped")
    folder = str(tmp_path / "stripped")
    size, gzipped = sizes.directory_bytes(folder), sizes.gzipped_bytes(folder)
    report = shrink_in_place(folder, None, RelativeTolerance(1e-5))
    assert (report.parameters_before, report.parameters_after) == (6 * 8 + 8 + 8 * 3, 6 * 6 + 6 + 6 * 3)
    assert (report.multiply_adds_before, report.multiply_adds_after) == (6 * 8 + 8 * 3, 6 * 6 + 6 * 3)
    assert (report.bytes_before, report.gzipped_bytes_before) == (size, gzipped)
    assert report.bytes_after == sizes.directory_bytes(folder)
    assert report.tolerance == 1e-5
    assert 0 <= report.largest_difference < 1e-5


def test_shrink_counts_the_multiply_adds_of_convolutions(saved, tmp_path):
    report = strip_saved_model(saved(CHANNELS["conv_valid"]), tmp_path / "shrunk", shrink=True).shrink
    before, after = (6 * 6 * 9 * 3 * each + 4 * 4 * 9 * each * 4 for each in (8, 5))
    assert (report.multiply_adds_before, report.multiply_adds_after) == (before, after)


def test_shrink_gzips_no_model_above_a_size(saved, tmp_path, monkeypatch):
    strip_saved_model(saved("unread"), tmp_path / "stripped")
    size, gzipped = sizes.directory_bytes(tmp_path / "stripped"), sizes.gzipped_bytes(tmp_path / "stripped")
    for most, pair in ((size, (gzipped, 7)), (size - 1, None)):
        shutil.copytree(tmp_path / "stripped", tmp_path / str(most))
        monkeypatch.setattr(shrink, "_MOST_GZIPPED", most)
        report = shrink_in_place(str(tmp_path / str(most)), None, RelativeTolerance(1e-5))
        assert len(report.variables) == 3
        assert report.gzipped_bytes(7) == pair


def test_shrink_of_a_model_without_dead_units_leaves_its_bytes(saved, tmp_path, snapshot):
    source = saved(Specimen({"a": drawn(6, 8), "b": drawn(8, 3)}, lambda w, x: x @ w["a"] @ w["b"], (None, 6), {}))
    strip_saved_model(source, tmp_path / "stripped")
    before = snapshot(tmp_path / "stripped")
    report = shrink_in_place(str(tmp_path / "stripped"), None, RelativeTolerance(1e-5))
    assert snapshot(tmp_path / "stripped") == before
    assert report.variables == ()
    assert report.gzipped_bytes_before is None
    assert report.parameters_before == report.parameters_after == 72
    assert report.largest_difference == 0.0
    assert sorted(os.listdir(tmp_path)) == ["model", "stripped"]
    assert strip_saved_model(source, tmp_path / "shrunk", shrink=True).shrink.variables == ()
    assert set(snapshot(tmp_path / "shrunk")) == set(before)


def test_without_shrink_nothing_is_cut(saved, tmp_path):
    report = strip_saved_model(saved("unread"), tmp_path / "stripped")
    assert report.shrink is None
    assert _value(tmp_path / "stripped", "a").shape == (6, 8)
    assert not (tmp_path / "stripped" / KEPT).exists()


def test_what_is_left_of_a_variable_has_its_bits(saved, tmp_path):
    strip_saved_model(saved("unread"), tmp_path / "shrunk", shrink=True)
    kept = [0, 2, 3, 5, 6, 7]
    a, b = (ZOO["unread"].weights[name] for name in "ab")
    assert _value(tmp_path / "shrunk", "a").tobytes() == np.ascontiguousarray(a[:, kept]).tobytes()
    assert _value(tmp_path / "shrunk", "b").tobytes() == np.ascontiguousarray(b[kept]).tobytes()


def test_kept_indices_stand_in_the_extra_assets(saved, tmp_path):
    strip_saved_model(saved("unread"), tmp_path / "shrunk", shrink=True)
    assert json.loads((tmp_path / "shrunk" / KEPT).read_text()) == {
        "version": 2,
        "indices": [[0, 2, 3, 5, 6, 7]],
        "variables": {
            "a": {"shape": [6, 8], "kept": {"1": 0}},
            "b": {"shape": [8, 3], "kept": {"0": 0}},
            "ba": {"shape": [8], "kept": {"0": 0}},
        },
    }


def test_a_model_that_was_shrunk_is_shrunk_again_only_by_what_died_since(saved, tmp_path):
    strip_saved_model(saved("unread"), tmp_path / "once", shrink=True)
    again = strip_saved_model(tmp_path / "once", tmp_path / "twice", shrink=True)
    assert again.shrink.variables == ()
    assert (tmp_path / "twice" / KEPT).read_bytes() == (tmp_path / "once" / KEPT).read_bytes()


def test_a_constant_goes_into_the_bias_behind_it_and_adds_no_operation(saved, tmp_path):
    name = "bias_behind_takes_the_constant"
    source = saved(name)
    strip_saved_model(source, tmp_path / "stripped")
    report = strip_saved_model(source, tmp_path / "shrunk", shrink=True)
    weights = ZOO[name].weights
    constant = 1 / (1 + np.exp(-weights["ba"][2]))
    np.testing.assert_allclose(
        _value(tmp_path / "shrunk", "bb"), weights["bb"] + constant * weights["b"][2], rtol=1e-6, atol=1e-6
    )
    assert _operations(tmp_path / "shrunk") == _operations(tmp_path / "stripped")
    assert "bb" not in {each.key for each in report.shrink.variables}


def test_a_bias_is_added_where_there_is_none(saved, tmp_path):
    source = saved("constant_after_sigmoid")
    strip_saved_model(source, tmp_path / "stripped")
    strip_saved_model(source, tmp_path / "shrunk", shrink=True)
    before, after = _operations(tmp_path / "stripped"), _operations(tmp_path / "shrunk")
    assert sorted([*before, "AddV2", "Const"]) == after


def test_a_bias_that_is_used_twice_stays_as_it_is(saved, tmp_path):
    def call(w, x):
        return tf.sigmoid(x @ w["a"]) @ w["b"] + w["bias"] + tf.tanh(w["bias"])

    specimen = Specimen(
        {"a": without(drawn(6, 8), 1, 1), "b": drawn(8, 3), "bias": drawn(3)},
        call,
        (None, 6),
        {"a": (6, 7), "b": (7, 3)},
    )
    strip_saved_model(saved(specimen), tmp_path / "shrunk", shrink=True)
    assert _value(tmp_path / "shrunk", "bias").tobytes() == specimen.weights["bias"].tobytes()


def _save_two_signatures(path, one, two):
    """One hidden layer with two heads, each in a signature; `one` and `two` are the rows of the heads that are 0."""
    module = tf.Module()
    module.a = tf.Variable(drawn(6, 8))
    module.b = tf.Variable(without(drawn(8, 3), 0, *one))
    module.c = tf.Variable(without(drawn(8, 2), 0, *two))

    @tf.function(input_signature=[tf.TensorSpec([None, 6], name="x")])
    def first(x):
        return {"y": tf.nn.relu(x @ module.a) @ module.b}

    @tf.function(input_signature=[tf.TensorSpec([None, 6], name="x")])
    def second(x):
        return {"z": tf.nn.relu(x @ module.a) @ module.c}

    tf.saved_model.save(module, path, signatures={"first": first, "second": second})


def test_a_unit_goes_only_if_no_signature_reads_it(tmp_path):
    _save_two_signatures(tmp_path / "model", (1, 2, 3), (3, 4))
    report = strip_saved_model(tmp_path / "model", tmp_path / "shrunk", shrink=True)
    assert {each.key: each.shape_after for each in report.shrink.variables} == {"a": (6, 7), "b": (7, 3), "c": (7, 2)}
    assert report.signatures_checked == ("first", "second")
    kept = [0, 1, 2, 4, 5, 6, 7]
    np.testing.assert_array_equal(_value(tmp_path / "shrunk", "a"), drawn(6, 8)[:, kept])


def test_a_signature_that_answers_the_hidden_units_keeps_them(tmp_path):
    module = tf.Module()
    module.a, module.b = tf.Variable(without(drawn(6, 8), 1, 2)), tf.Variable(without(drawn(8, 3), 0, 1))

    @tf.function(input_signature=[tf.TensorSpec([None, 6], name="x")])
    def hidden(x):
        return {"hidden": tf.nn.relu(x @ module.a)}

    @tf.function(input_signature=[tf.TensorSpec([None, 6], name="x")])
    def score(x):
        return {"score": hidden(x)["hidden"] @ module.b}

    tf.saved_model.save(module, tmp_path / "model", signatures={"hidden": hidden, "score": score})
    report = strip_saved_model(tmp_path / "model", tmp_path / "shrunk", shrink=True)
    assert report.shrink.variables == ()
    loaded = tf.saved_model.load(tmp_path / "shrunk").signatures["hidden"](x=tf.ones([1, 6]))["hidden"]
    assert loaded.shape == (1, 8)


def test_a_variable_that_a_signature_changes_keeps_its_shape(tmp_path):
    module = tf.Module()
    module.a, module.b = tf.Variable(drawn(6, 8)), tf.Variable(without(drawn(8, 3), 0, 1))
    module.calls = tf.Variable(tf.zeros([8]))

    @tf.function(input_signature=[tf.TensorSpec([None, 6], name="x")])
    def serve(x):
        hidden = tf.nn.relu(x @ module.a)
        with tf.control_dependencies([module.calls.assign(tf.zeros([8]))]):
            return {"y": hidden @ module.b}

    tf.saved_model.save(module, tmp_path / "model", signatures={"serving_default": serve})
    report = strip_saved_model(tmp_path / "model", tmp_path / "shrunk", shrink=True)
    assert {each.key: each.shape_after for each in report.shrink.variables} == {"a": (6, 7), "b": (7, 3)}
    assert _value(tmp_path / "shrunk", "calls").shape == (8,)


def test_a_model_all_of_which_is_dead_is_refused(saved, tmp_path):
    specimen = Specimen(
        {"a": drawn(6, 8), "ba": drawn(8), "b": np.zeros((8, 3), np.float32), "bb": drawn(3)},
        lambda w, x: tf.nn.relu(x @ w["a"] + w["ba"]) @ w["b"] + w["bb"],
        (None, 6),
        {},
    )
    with pytest.raises(ValueError, match="no answer of its signature 'serving_default' depends on the input any more"):
        strip_saved_model(saved(specimen), tmp_path / "shrunk", shrink=True)
    assert os.listdir(tmp_path) == ["model"]


def test_a_model_that_differs_by_more_than_the_tolerance_is_not_published(saved, tmp_path):
    source = saved("chain_of_constants")
    with pytest.raises(VerificationError, match="output 'y' differs, by up to"):
        strip_saved_model(source, tmp_path / "shrunk", shrink=True, shrink_tolerance=1e-12)
    assert os.listdir(tmp_path) == ["model"]
    report = strip_saved_model(source, tmp_path / "shrunk", shrink=True, shrink_tolerance=1e-4).shrink
    assert report.tolerance == 1e-4
    assert 0 < report.largest_difference < 1e-4


def test_a_further_check_is_given_the_shrunk_model(saved, tmp_path):
    shapes = []

    def check(folder):
        shapes.append(_value(pathlib.Path(folder), "a").shape)

    strip_saved_model(saved("unread"), tmp_path / "shrunk", shrink=True, check=check)
    assert shapes == [(6, 6)]


def test_a_writer_keeps_the_lock_on_the_folder_that_is_shrunk(saved, tmp_path):
    destination = str(tmp_path / "shrunk")

    def another_writer_clears_up(folder):
        leftovers.clear(destination)
        assert os.path.isfile(os.path.join(folder, "saved_model.pb"))
        assert not os.path.exists(folder + leftovers.SHRUNK_SUFFIX)

    strip_saved_model(saved("unread"), destination, shrink=True, check=another_writer_clears_up)
    assert sorted(os.listdir(tmp_path)) == ["model", "shrunk"]


def test_a_failing_check_leaves_nothing(saved, tmp_path):
    def check(folder):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        strip_saved_model(saved("unread"), tmp_path / "shrunk", shrink=True, check=check)
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"shrink": 1}, TypeError, "shrink is 1 of type int, expected True or False"),
        ({"shrink": True, "shrink_tolerance": "1e-5"}, TypeError, "expected a number such as 1e-5"),
        ({"shrink": True, "shrink_tolerance": True}, TypeError, "expected a number such as 1e-5"),
        ({"shrink": True, "shrink_tolerance": 0.0}, ValueError, "expected a finite number above 0.0"),
        ({"shrink": True, "shrink_tolerance": -1e-5}, ValueError, "expected a finite number above 0.0"),
        ({"shrink": True, "shrink_tolerance": float("nan")}, ValueError, "expected a finite number above 0.0"),
        ({"shrink_tolerance": 1e-5}, ValueError, "give shrink=True, too, or leave it out"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, error, message, saved, tmp_path):
    source = saved("unread")
    with pytest.raises(error, match=message):
        strip_saved_model(source, tmp_path / "shrunk", **arguments)
    assert os.listdir(tmp_path) == ["model"]


def test_a_model_of_tensorflow_1_is_refused(tmp_path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None, 2])
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "model"), {"x": x}, {"y": x + 1.0})
    with pytest.raises(ValueError, match="is one of TensorFlow 1, which cannot be shrunk"):
        strip_saved_model(tmp_path / "model", tmp_path / "shrunk", shrink=True)
    assert os.listdir(tmp_path) == ["model"]


def test_exports_are_made_of_the_shrunk_model(saved, tmp_path):
    source = saved("unread")
    _, whole = strip_and_export(str(source), str(tmp_path / "stripped"), ["frozen_graph", "tflite"])
    report, shrunk = strip_and_export(str(source), str(tmp_path / "shrunk"), ["frozen_graph", "tflite"], shrink=True)
    assert len(report.shrink.variables) == 3
    assert [one.bytes < other.bytes for one, other in zip(shrunk, whole, strict=True)] == [True, True]


def test_keras_weights_of_a_shrunk_model_are_refused(saved, tmp_path):
    source = saved("unread")
    with pytest.raises(ValueError, match="keras_weights cannot be exported of a shrunk model"):
        strip_and_export(str(source), str(tmp_path / "shrunk"), ["keras_weights"], shrink=True)
    assert os.listdir(tmp_path) == ["model"]
    strip_saved_model(source, tmp_path / "shrunk", shrink=True)
    with pytest.raises(ValueError, match="keras_weights cannot be exported of a shrunk model"):
        export_model(str(tmp_path / "shrunk"), str(tmp_path / "exports"), ["keras_weights"], source=str(source))


def test_the_graph_of_a_shrunk_model_is_one_that_tensorflow_1_loads(saved, tmp_path):
    strip_saved_model(saved(CHANNELS["dense_to_image"]), tmp_path / "shrunk", shrink=True)
    x = CHANNELS["dense_to_image"].inputs().numpy()
    expected = tf.saved_model.load(tmp_path / "model").signatures["serving_default"](x=tf.constant(x))["y"]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path / "shrunk"))
        signature = meta_graph.signature_def["serving_default"]
        actual = session.run(signature.outputs["y"].name, {signature.inputs["x"].name: x})
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_a_shrunk_model_can_be_loaded_and_saved_again(saved, tmp_path):
    strip_saved_model(saved(LAYOUTS["attention_by_einsum"]), tmp_path / "shrunk", shrink=True)
    loaded = tf.saved_model.load(tmp_path / "shrunk")
    tf.saved_model.save(loaded, tmp_path / "again", signatures=dict(loaded.signatures))
    x = LAYOUTS["attention_by_einsum"].inputs()
    again = tf.saved_model.load(tmp_path / "again").signatures["serving_default"](x=x)["y"]
    np.testing.assert_array_equal(again, loaded.signatures["serving_default"](x=x)["y"])


def test_attributes_that_a_file_leaves_out_stay_out(saved, tmp_path):
    """Files may leave out defaults; an attribute without a value is one that TFLite's converter refuses."""
    source = saved("bias_behind_takes_the_constant")
    path = source / "saved_model.pb"
    saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for function in saved_model.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            node.attr.pop("data_format", None)
    path.write_bytes(saved_model.SerializeToString())
    assert len(strip_saved_model(source, tmp_path / "shrunk", shrink=True).shrink.variables) == 3
    shrunk = saved_model_pb2.SavedModel.FromString((tmp_path / "shrunk" / "saved_model.pb").read_bytes())
    for function in shrunk.meta_graphs[0].graph_def.library.function:
        for attributes in (function.attr, *(node.attr for node in function.node_def)):
            assert [key for key, value in attributes.items() if value.WhichOneof("value") is None] == []
