"""Values that are copied from file to file: they are the source's, and what the models change of them stays theirs."""

import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning import strip_saved_model
from tfx_pruning.saved_model import tensor_bundle, value_copy
from tfx_pruning.saved_model.value_copy import ValueCopy
from tfx_pruning.stripper.check import verify
from tfx_pruning.stripper.tf2 import writer

_X = [tf.TensorSpec([None, 3], tf.float32, name="x")]


@pytest.fixture
def copies(monkeypatch):
    """The copies that were made, None where there was none."""
    made = []
    of = ValueCopy.of

    def noted(*arguments):
        made.append(of(*arguments))
        return made[-1]

    monkeypatch.setattr(ValueCopy, "of", noted)
    return made


def _save(path, values, function, options=None):
    """Saves a model with variables, some of them unused."""
    module = tf.Module()
    module.unused = tf.Variable(tf.ones([7]))
    module.values = {name: tf.Variable(value, name=name) for name, value in values.items()}
    serve = tf.function(lambda x: {"y": function(x, module.values)}, input_signature=_X)
    tf.saved_model.save(module, path, signatures=serve, options=options)
    return path


def _read(path):
    """Every variable of a SavedModel, as TensorFlow reads it."""
    reader = tf.train.load_checkpoint(str(pathlib.Path(path) / "variables" / "variables"))
    names = reader.get_variable_to_shape_map()
    return {name: reader.get_tensor(name) for name in names if name.endswith("VARIABLE_VALUE")}


def _total(x, values):
    casts = [tf.cast(value, tf.float32) for value in values.values()]
    return tf.reduce_sum(x, axis=1) + tf.add_n([tf.reduce_sum(each) for each in casts])


def test_copied_values_of_every_kind_are_those_of_the_source(copies, tmp_path):
    random = np.random.default_rng(3)
    dtypes = (tf.float16, tf.bfloat16, tf.float32, tf.float64, tf.int8, tf.uint16, tf.int64, tf.bool, tf.complex64)
    values = {
        f"{dtype.name}_{number}": tf.cast(random.integers(0, 2, shape), dtype)
        for dtype in dtypes
        for number, shape in enumerate([(), (0, 2), (3,), (16, 32), (5, 7)])
    }
    _save(tmp_path / "in", values, _total)
    report = strip_saved_model(tmp_path / "in", tmp_path / "out")
    assert copies != [None]
    assert report.variables_removed == ("unused",)
    before, after = _read(tmp_path / "in"), _read(tmp_path / "out")
    assert len(after) == len(values)
    for name, value in after.items():
        assert (value.dtype, value.shape) == (before[name].dtype, before[name].shape)
        assert value.tobytes() == before[name].tobytes()
    x = tf.constant(random.normal(size=(4, 3)), tf.float32)
    answers = [tf.saved_model.load(tmp_path / name).signatures["serving_default"](x=x)["y"] for name in ("in", "out")]
    np.testing.assert_array_equal(*answers)


def _split(path):
    """Writes the values of a SavedModel as a training on several machines does, to several files."""
    prefix = f"{path}/variables/variables"
    reader = tf.train.load_checkpoint(prefix)
    names = sorted(reader.get_variable_to_shape_map())
    parts = [f"{path}-part{number}" for number in range(len(names))]
    for part, name in zip(parts, names, strict=True):
        tf.raw_ops.SaveV2(prefix=part, tensor_names=[name], shape_and_slices=[""], tensors=[reader.get_tensor(name)])
    shutil.rmtree(path / "variables")
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=prefix)


def test_values_in_several_files_are_copied_to_one(copies, tmp_path):
    values = {name: tf.random.stateless_normal([100], (seed, 0)) for seed, name in enumerate("abc")}
    _split(_save(tmp_path / "in", values, _total))
    assert len(list((tmp_path / "in" / "variables").iterdir())) == 6
    strip_saved_model(tmp_path / "in", tmp_path / "out")
    assert copies != [None]
    assert sorted(file.name for file in (tmp_path / "out" / "variables").iterdir()) == [
        "variables.data-00000-of-00001",
        "variables.index",
    ]
    after = _read(tmp_path / "out")
    assert {name.split("/")[1]: value.tolist() for name, value in after.items()} == {
        name: value.numpy().tolist() for name, value in values.items()
    }


@pytest.mark.parametrize("kind", ["string", "slices"])
def test_values_that_cannot_be_copied_are_read_and_written(kind, copies, tmp_path):
    options = None
    values = {"word": tf.constant([b"red", b"green"])}
    if kind == "slices":
        policy = tf.train.experimental.MaxShardSizePolicy(max_shard_size=200)
        options = tf.saved_model.SaveOptions(experimental_sharding_callback=policy)
        values = {"long": tf.range(100.0)}
    _save(tmp_path / "in", values, lambda x, values: tf.fill([tf.shape(x)[0]], next(iter(values.values()))[1]), options)
    report = strip_saved_model(tmp_path / "in", tmp_path / "out")
    assert copies == [None]
    assert report.variables_removed == ("unused",)
    (value,) = _read(tmp_path / "out").values()
    assert value.tolist() == next(iter(values.values())).numpy().tolist()


def test_a_signature_that_counts_its_calls_changes_no_file(copies, tmp_path):
    def count(x, values):
        return tf.reduce_sum(x, axis=1) + values["count"].assign_add(tf.ones([16]))[0]

    _save(tmp_path / "in", {"count": tf.zeros([16])}, count)
    strip_saved_model(tmp_path / "in", tmp_path / "out")
    assert copies != [None]
    (value,) = _read(tmp_path / "out").values()
    assert value.tolist() == [0.0] * 16


def test_a_table_that_training_filled_keeps_what_it_holds(copies, tmp_path):
    module = tf.Module()
    module.scale = tf.Variable(2.0)
    module.table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, -1.0)
    module.table.insert(tf.constant([3, 5], tf.int64), [0.5, 0.25])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="x")])
    def serve(x):
        return {"y": module.table.lookup(x) * module.scale}

    tf.saved_model.save(module, tmp_path / "in", signatures=serve)
    strip_saved_model(tmp_path / "in", tmp_path / "out")
    assert copies != [None]
    stripped = tf.saved_model.load(tmp_path / "out").signatures["serving_default"]
    assert stripped(x=tf.constant([3, 4, 5], tf.int64))["y"].numpy().tolist() == [1.0, -2.0, 0.5]


def test_a_function_that_was_written_otherwise_is_found(copies, tmp_path, monkeypatch):
    _save(tmp_path / "in", {"weight": tf.fill([3], 3.0)}, lambda x, values: x * values["weight"])
    tidy = writer._tidy

    def tidy_and_change(meta_graph, folder):
        tidy(meta_graph, folder)
        file = pathlib.Path(folder, "saved_model.pb")
        file.write_bytes(file.read_bytes().replace(b"\x03Mul", b"\x03Sub"))

    monkeypatch.setattr(writer, "_tidy", tidy_and_change)
    with pytest.raises(verify.VerificationError, match=r"'serving_default' of the stripped model differs"):
        strip_saved_model(tmp_path / "in", tmp_path / "out")
    assert copies != [None]
    assert [file.name for file in tmp_path.iterdir()] == ["in"]


def test_values_that_change_on_their_way_are_found(tmp_path, monkeypatch):
    _save(tmp_path / "in", {"weight": tf.ones([3])}, lambda x, values: x * values["weight"])
    append = ValueCopy._append

    def append_and_damage(self, target, entry):
        append(self, target, entry)
        os.pwrite(target, b"damage", 5)

    monkeypatch.setattr(ValueCopy, "_append", append_and_damage)
    with pytest.raises(ValueError, match="checksum of the variable 'values/weight' differs"):
        strip_saved_model(tmp_path / "in", tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["in"]


def _misplaced(entries):
    """With the values of two variables in each other's place."""
    one, other = (entries[key] for key in sorted(entries) if key.startswith(b"values/"))
    one.offset, other.offset = other.offset, one.offset
    return entries


def _without_one(entries):
    return {key: entry for key, entry in entries.items() if not key.startswith(b"values/a")}


def _as_integers(entries):
    for key, entry in entries.items():
        if key.startswith(b"values/a"):
            entry.dtype = tf.int32.as_datatype_enum
    return entries


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (_misplaced, "TensorFlow cannot read 'values/a/"),
        (_without_one, "TensorFlow reads other variables"),
        (_as_integers, "TensorFlow reads other variables"),
    ],
)
def test_an_index_that_tensorflow_reads_otherwise_is_found(mistake, message, tmp_path, monkeypatch):
    values = {"a": tf.ones([3]), "b": tf.fill([3], 2.0)}
    _save(tmp_path / "in", values, lambda x, values: x * values["a"] * values["b"])
    write_index = value_copy.write_index

    def write_with_mistake(prefix, entries):
        copied = {key: tensor_bundle.Entry.FromString(entry.SerializeToString()) for key, entry in entries.items()}
        write_index(prefix, mistake(copied))

    monkeypatch.setattr(value_copy, "write_index", write_with_mistake)
    with pytest.raises(verify.VerificationError, match=message):
        strip_saved_model(tmp_path / "in", tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["in"]
