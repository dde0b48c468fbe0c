"""What strip_saved_model refuses, and that nothing is left behind then."""

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfx_pruning import strip_saved_model
from tfx_pruning.saved_model.value_copy import ValueCopy
from tfx_pruning.stripper.check import verify
from tfx_pruning.stripper.tf2.writer import Writer


def test_strip_refuses_a_random_signature(tmp_path):
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], name="x")])
    def noise(x):
        # Not tf.random.normal, which a seed set elsewhere would make repeatable.
        return {"y": x + tf.raw_ops.RandomStandardNormal(shape=tf.shape(x), dtype=tf.float32, seed=0, seed2=0)}

    tf.saved_model.save(module, tmp_path / "in", signatures={"noise": noise})
    with pytest.raises(
        verify.VerificationError, match=r"Signature 'noise' cannot be checked.*differs from call to call"
    ):
        strip_saved_model(tmp_path / "in", tmp_path / "out")
    assert os.listdir(tmp_path) == ["in"]


def test_strip_refuses_a_signature_that_takes_no_input_it_can_draw(tmp_path):
    module = tf.Module()
    decode = tf.function(
        lambda secret: {"y": tf.io.decode_base64(tf.strings.join([secret, "!"]))},
        input_signature=[tf.TensorSpec([None], tf.string, name="secret")],
    )
    tf.saved_model.save(module, tmp_path / "in", signatures={"decode": decode})
    with pytest.raises(
        verify.VerificationError,
        match=r"Signature 'decode' cannot be checked: .*'secret' \(string, shape \(None,\)\).*64",
    ):
        strip_saved_model(tmp_path / "in", tmp_path / "out")
    assert os.listdir(tmp_path) == ["in"]


def test_strip_publishes_nothing_if_an_answer_changes_by_one_bit(small_model, tmp_path, monkeypatch):
    save = Writer.save

    def save_off_by_one_bit(self, model, objects):
        objects[("weight",)].assign(np.nextafter(np.float32([1.0, 0.0, -2.0]), np.float32(9)))
        save(self, model, objects)
        objects[("weight",)].assign([1.0, 0.0, -2.0])

    monkeypatch.setattr(ValueCopy, "of", lambda *_: None)
    monkeypatch.setattr(Writer, "save", save_off_by_one_bit)
    with pytest.raises(verify.VerificationError, match=r"Signature 'double' of the stripped model differs.*'y"):
        strip_saved_model(small_model, tmp_path / "out")
    assert os.listdir(tmp_path) == ["source"]


@pytest.mark.parametrize("tolerance", [0.0, 1e-9])
def test_strip_publishes_what_differs_within_the_tolerance_only(tolerance, small_model, tmp_path, monkeypatch):
    save = Writer.save

    def save_a_little_more(self, model, objects):
        objects[("weight",)].assign(np.float32([1.0, 1e-6, -2.0]))
        save(self, model, objects)
        objects[("weight",)].assign([1.0, 0.0, -2.0])

    monkeypatch.setattr(ValueCopy, "of", lambda *_: None)
    monkeypatch.setattr(Writer, "save", save_a_little_more)
    with pytest.raises(verify.VerificationError, match="'y' differs, by up to"):
        strip_saved_model(small_model, tmp_path / "out", tolerance=tolerance)
    strip_saved_model(small_model, tmp_path / "out", tolerance=1e-4)
    assert sorted(os.listdir(tmp_path)) == ["out", "source"]


@pytest.mark.parametrize(("tolerance", "error"), [(-1.0, ValueError), (float("nan"), ValueError), ("0", TypeError)])
def test_strip_refuses_wrong_tolerances(tolerance, error, small_model, tmp_path):
    with pytest.raises(error, match="tolerance is"):
        strip_saved_model(small_model, tmp_path / "out", tolerance=tolerance)
    assert os.listdir(tmp_path) == ["source"]


def test_strip_publishes_nothing_if_the_further_check_fails(small_model, tmp_path):
    def check(folder):
        assert not (tmp_path / "out").exists()
        assert list(tf.saved_model.load(folder).signatures) == ["double"]
        raise LookupError("not this one")

    with pytest.raises(LookupError, match="not this one"):
        strip_saved_model(small_model, tmp_path / "out", check=check)
    assert os.listdir(tmp_path) == ["source"]


def test_strip_interrupted_leaves_nothing(small_model, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(verify, "verify", interrupt)
    with pytest.raises(KeyboardInterrupt):
        strip_saved_model(small_model, tmp_path / "out")
    assert os.listdir(tmp_path) == ["source"]


@pytest.mark.parametrize(
    ("examples", "error", "message"),
    [
        ([], ValueError, "examples is empty"),
        ("data.tfrecord", TypeError, "examples is str, expected an iterable of serialized records"),
        (b"record", TypeError, "examples is bytes"),
        ([b"record", tf.train.Example()], TypeError, r"examples\[1\] is Example.*SerializeToString"),
    ],
)
def test_strip_refuses_wrong_examples(examples, error, message, small_model, tmp_path):
    with pytest.raises(error, match=message):
        strip_saved_model(small_model, tmp_path / "out", examples=examples)
    assert os.listdir(tmp_path) == ["source"]


def test_strip_refuses_a_missing_source(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no SavedModel at '.*nowhere': no such folder"):
        strip_saved_model(tmp_path / "nowhere", tmp_path / "out")


def test_strip_refuses_an_empty_source(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(FileNotFoundError, match=r"expected saved_model\.pb in that folder, found nothing"):
        strip_saved_model(tmp_path / "in", tmp_path / "out")


def test_strip_refuses_a_folder_with_other_files(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "model.keras").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"found model\.keras"):
        strip_saved_model(tmp_path / "in", tmp_path / "out")


def test_strip_refuses_a_file_that_is_no_saved_model(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "saved_model.pb").write_bytes(b"\xff not a proto")
    with pytest.raises(ValueError, match=r"is not a SavedModel: its 13 bytes cannot be parsed|has 0 MetaGraphs"):
        strip_saved_model(tmp_path / "in", tmp_path / "out")


def test_strip_refuses_a_model_without_signatures(tmp_path):
    tf.saved_model.save(tf.Module(), tmp_path / "in")
    with pytest.raises(ValueError, match=r"has no signatures.*signatures=\.\.\."):
        strip_saved_model(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda proto: proto.meta_graphs.add(), "has 2 MetaGraphs, expected 1"),
        (
            lambda proto: proto.meta_graphs[0].meta_info_def.tags.append("tpu"),
            r"tags \['serve', 'tpu'\], expected \['serve'\]",
        ),
        (lambda proto: proto.meta_graphs[0].ClearField("object_graph_def"), "saver is not one of TensorFlow 1"),
    ],
)
def test_strip_refuses_unusual_meta_graphs(change, message, small_model, tmp_path):
    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((small_model / "saved_model.pb").read_bytes())
    change(proto)
    (small_model / "saved_model.pb").write_bytes(proto.SerializeToString())
    with pytest.raises(ValueError, match=message):
        strip_saved_model(small_model, tmp_path / "out")
    assert os.listdir(tmp_path) == ["source"]


def test_strip_refuses_a_source_whose_variables_are_lost(small_model, tmp_path):
    shutil.rmtree(small_model / "variables")
    with pytest.raises(ValueError, match=r"(?s)cannot be loaded: .*save the model again"):
        strip_saved_model(small_model, tmp_path / "out")
    assert os.listdir(tmp_path) == ["source"]


def test_strip_refuses_a_source_that_lacks_the_value_of_one_variable(small_model, tmp_path):
    other = tf.Module()
    other.unused = tf.Variable(3.0)
    tf.saved_model.save(other, tmp_path / "other")
    shutil.rmtree(small_model / "variables")
    shutil.copytree(tmp_path / "other" / "variables", small_model / "variables")
    with pytest.raises(ValueError, match="has no value for its variable 'weight:0'"):
        strip_saved_model(small_model, tmp_path / "out")


def test_strip_refuses_an_occupied_destination(small_model, tmp_path, snapshot):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious.txt").write_text("keep me")
    with pytest.raises(FileExistsError, match=r"out' is not empty, it holds precious\.txt"):
        strip_saved_model(small_model, tmp_path / "out")
    assert snapshot(tmp_path / "out") == {"precious.txt": b"keep me"}


def test_strip_refuses_a_file_as_destination(small_model, tmp_path):
    (tmp_path / "out").write_text("keep me")
    with pytest.raises(FileExistsError, match="out' is a file"):
        strip_saved_model(small_model, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "keep me"


def test_strip_refuses_a_destination_that_cannot_be_written(small_model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"out' cannot be written: the folder .*file' cannot be made"):
        strip_saved_model(small_model, tmp_path / "file" / "out")


def test_strip_refuses_a_destination_within_the_source(small_model, snapshot):
    before = snapshot(small_model)
    with pytest.raises(ValueError, match="lies within the source"):
        strip_saved_model(small_model, small_model / "stripped")
    assert snapshot(small_model) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_strip_refuses_its_source_as_destination(overwrite, small_model, snapshot):
    before = snapshot(small_model)
    with pytest.raises(ValueError, match="is the source"):
        strip_saved_model(small_model, small_model, overwrite=overwrite)
    assert snapshot(small_model) == before


def test_strip_refuses_a_destination_that_holds_the_source(small_model, tmp_path, snapshot):
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match="holds the source"):
        strip_saved_model(small_model, tmp_path, overwrite=True)
    assert snapshot(tmp_path) == before
