"""strip_saved_model on pruned models: what goes, what stays, what it answers, and what it refuses."""

import importlib.util
import os
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.distribute import sharded_variable
from tensorflow.python.saved_model import fingerprinting_utils

from helpers.training_keys import adam_keys, state_keys
from tfx_pruning import strip_saved_model


def _object_names(meta_graph):
    """Local names and variable names of the whole object graph."""
    nodes = meta_graph.object_graph_def.nodes
    children = {child.local_name for node in nodes for child in node.children}
    return children | {node.variable.name for node in nodes if node.WhichOneof("kind") == "variable"}


def _library_text(meta_graph):
    functions = [function.signature.name for function in meta_graph.graph_def.library.function]
    nodes = [node.name for node in meta_graph.graph_def.node]
    inner = [node.name for function in meta_graph.graph_def.library.function for node in function.node_def]
    return " ".join([*functions, *nodes, *inner])


def test_strip_keras_model_removes_exactly_the_training_variables(dense_model, tmp_path, variable_keys, snapshot):
    before = snapshot(dense_model)
    report = strip_saved_model(dense_model, tmp_path / "out")

    kept = [
        "_operations/1/_kernel",
        "_operations/1/bias",
        "_operations/2/beta",
        "_operations/2/gamma",
        "_operations/2/moving_mean",
        "_operations/2/moving_variance",
        "_operations/4/_kernel",
        "_operations/4/bias",
    ]
    removed = [
        *state_keys("_operations/1/_kernel", "_operations/4/_kernel"),
        *adam_keys(trainable=6),
        "pruning/last_mask_update_step",
    ]
    assert list(report.variables_kept) == variable_keys(tmp_path / "out") == kept
    assert list(report.variables_removed) == sorted(removed)
    assert sorted(kept + removed) == variable_keys(dense_model)
    assert report.signatures_checked == ("serving_default",)
    assert snapshot(dense_model) == before


def test_strip_keras_model_leaves_no_trace_in_object_graph_and_functions(dense_model, tmp_path, read_meta_graph):
    strip_saved_model(dense_model, tmp_path / "out")
    meta_graph = read_meta_graph(tmp_path / "out")

    assert _object_names(meta_graph) == {
        *("_operations", "1", "2", "4", "_kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance"),
        *("signatures", "serving_default"),
        *("hidden/kernel", "hidden/bias", "score/kernel", "score/bias"),
        *("norm/gamma", "norm/beta", "norm/moving_mean", "norm/moving_variance"),
    }
    assert not any(node.slot_variables for node in meta_graph.object_graph_def.nodes)
    text = _library_text(meta_graph)
    for trace in ("pruning", "mask", "threshold", "gradient", "grad_fn", "adam", "optimizer", "train", "momentum"):
        assert trace not in text.lower()
    # The source has the gradient of silu, so that the assertion above can fail.
    assert "grad_fn" in _library_text(read_meta_graph(dense_model))


def test_strip_keeps_the_values_of_variables_bit_for_bit(dense_model, tmp_path):
    report = strip_saved_model(dense_model, tmp_path / "out")
    before = tf.train.load_checkpoint(str(dense_model / "variables" / "variables"))
    after = tf.train.load_checkpoint(str(tmp_path / "out" / "variables" / "variables"))
    for key in report.variables_kept:
        name = f"{key}/.ATTRIBUTES/VARIABLE_VALUE"
        assert after.get_tensor(name).tobytes() == before.get_tensor(name).tobytes()


def test_strip_reports_the_sizes_of_both_models(dense_model, tmp_path, snapshot):
    report = strip_saved_model(dense_model, tmp_path / "out")
    assert report.source_bytes == sum(len(content) for content in snapshot(dense_model).values())
    assert report.stripped_bytes == sum(len(content) for content in snapshot(tmp_path / "out").values())
    assert report.gzipped_bytes < report.stripped_bytes < report.source_bytes


def test_strip_writes_a_whole_saved_model_and_nothing_beside_it(dense_model, tmp_path, snapshot):
    strip_saved_model(dense_model, tmp_path / "out")
    assert os.listdir(tmp_path) == ["out"]
    written = snapshot(tmp_path / "out")
    assert set(written) == {
        "assets.extra/tf_serving_warmup_requests",
        "fingerprint.pb",
        "saved_model.pb",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    }
    assert written["assets.extra/tf_serving_warmup_requests"] == b"warm up"


def test_strip_writes_the_fingerprint_of_the_file_that_it_leaves(dense_model, tmp_path):
    strip_saved_model(dense_model, tmp_path / "out")
    written = tf.saved_model.experimental.read_fingerprint(str(tmp_path / "out"))
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    fingerprinting_utils.write_fingerprint(str(tmp_path / "copy"))
    fresh = tf.saved_model.experimental.read_fingerprint(str(tmp_path / "copy"))
    assert written.saved_model_checksum == fresh.saved_model_checksum
    source = tf.saved_model.experimental.read_fingerprint(str(dense_model))
    assert written.saved_model_checksum != source.saved_model_checksum


def test_strip_accepts_an_empty_folder_as_destination(small_model, tmp_path):
    (tmp_path / "out").mkdir()
    report = strip_saved_model(str(small_model), str(tmp_path / "out") + "/")
    assert report.variables_removed == ("unused",)
    assert sorted(os.listdir(tmp_path)) == ["out", "source"]


def test_strip_makes_missing_parents(small_model, tmp_path):
    strip_saved_model(small_model, tmp_path / "a" / "b" / "out")
    assert os.listdir(tmp_path / "a" / "b") == ["out"]


@pytest.mark.parametrize("which", ["pruned", "never pruned"])
def test_strip_again_changes_nothing_that_is_kept(which, dense_model, small_model, tmp_path, variable_keys, snapshot):
    source = dense_model if which == "pruned" else small_model
    first = strip_saved_model(source, tmp_path / "first")
    second = strip_saved_model(tmp_path / "first", tmp_path / "second")
    assert second.variables_removed == ()
    assert second.variables_kept == first.variables_kept
    assert second.signatures_checked == first.signatures_checked
    assert variable_keys(tmp_path / "second") == variable_keys(tmp_path / "first")
    values = "variables/variables.data-00000-of-00001"
    assert len(snapshot(tmp_path / "second")[values]) == len(snapshot(tmp_path / "first")[values])


def test_strip_subclassed_model_keeps_paths_that_avoid_the_optimizer(tmp_path, variable_keys, read_meta_graph):
    keras.utils.set_random_seed(5)

    class Text(keras.Model):
        def __init__(self):
            super().__init__()
            self.words = keras.layers.StringLookup(vocabulary=["red", "green", "blue"])
            self.net = keras.Sequential(
                [keras.layers.Embedding(4, 3), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(2)]
            )

        def build(self, shape):
            self.net.build(shape)

        def call(self, tokens):
            return self.net(tokens)

    model = Text()
    model.compile("adam", "mse")
    model.fit(np.ones((4, 6), np.int64), np.ones((4, 2)), verbose=0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def from_text(text):
        tokens = model.words(tf.strings.split(text).to_tensor(shape=[None, 6]))
        return {"score": model(tokens), "tokens": tokens}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32, name="tokens")])
    def from_tokens(tokens):
        return {"score": model(tokens)}

    tf.saved_model.save(model, tmp_path / "in", signatures={"text": from_text, "tokens": from_tokens})
    assert "optimizer/_trainable_variables/0" in variable_keys(tmp_path / "in")

    report = strip_saved_model(tmp_path / "in", tmp_path / "out")

    assert report.signatures_checked == ("text", "tokens")
    assert variable_keys(tmp_path / "out") == [
        "net/_layers/1/_embeddings",
        "net/_layers/3/_kernel",
        "net/_layers/3/bias",
    ]
    assert "optimizer" not in _object_names(read_meta_graph(tmp_path / "out"))
    answer = tf.saved_model.load(tmp_path / "out").signatures["text"](text=tf.constant(["blue red lost"]))
    assert answer["tokens"].numpy().tolist() == [[3, 1, 0, 0, 0, 0]]


def test_strip_keras_export_drops_its_second_copy_of_each_weight(tmp_path, variable_keys, attach_state):
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(2)])
    attach_state(model.layers[-1].kernel)
    model.export(tmp_path / "in", verbose=False)
    inputs = tf.constant([[1.0, 2.0, 3.0]])
    expected = tf.saved_model.load(tmp_path / "in").signatures["serving_default"](inputs)

    report = strip_saved_model(tmp_path / "in", tmp_path / "out")

    assert list(report.variables_kept) == variable_keys(tmp_path / "out") == ["variables/1", "variables/2"]
    assert report.variables_removed == (
        *("_all_variables/0", "_all_variables/1", "variables/0"),
        *state_keys("variables/1"),
    )
    assert report.signatures_checked == ("serve", "serving_default")
    loaded = tf.saved_model.load(tmp_path / "out")
    assert not hasattr(loaded, "serve")
    actual = loaded.signatures["serving_default"](inputs)
    assert {key: value.numpy().tobytes() for key, value in actual.items()} == {
        key: value.numpy().tobytes() for key, value in expected.items()
    }


def test_strip_module_keeps_tables_of_every_kind_and_assets_that_no_signature_reaches(tmp_path, variable_keys):
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    module = tf.Module()
    module.scale = tf.Variable(2.0, name="scale")
    module.step = tf.Variable(9, name="step")
    module.labels = tf.saved_model.Asset(str(tmp_path / "labels.txt"))
    strings = tf.constant(["a", "b"])
    numbers = tf.constant([5, 6], tf.int64)
    module.static = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(strings, numbers), -1)
    module.unreached = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(numbers, strings), "?")
    module.mutable = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
    module.mutable.insert(strings, numbers)
    module.dense = tf.lookup.experimental.DenseHashTable(tf.int64, tf.int64, -1, empty_key=-3, deleted_key=-4)
    module.dense.insert(numbers, numbers * 2)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="key"), tf.TensorSpec([], name="x")])
    def look_up(key, x):
        found = module.static.lookup(key)
        return {
            "static": found,
            "mutable": module.mutable.lookup(key),
            "dense": module.dense.lookup(found),
            "scaled": tf.cond(x > 0, lambda: x * module.scale, lambda: x),
        }

    tf.saved_model.save(module, tmp_path / "in", signatures=look_up)
    report = strip_saved_model(tmp_path / "in", tmp_path / "out")

    assert report.variables_removed == ("step",)
    assert variable_keys(tmp_path / "out") == ["scale"]
    assert (tmp_path / "out" / "assets" / "labels.txt").read_text() == "cat\ndog\n"
    loaded = tf.saved_model.load(tmp_path / "out")
    answer = loaded.signatures["serving_default"](key=tf.constant(["b", "z"]), x=tf.constant(1.5))
    assert {name: value.numpy().tolist() for name, value in answer.items()} == {
        "static": [6, -1],
        "mutable": [6, -1],
        "dense": [12, -1],
        "scaled": 3.0,
    }
    assert {"static", "mutable", "dense", "unreached"} <= set(vars(loaded))


def test_strip_asset_read_by_a_signature_and_signature_without_inputs(tmp_path):
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    module = tf.Module()
    module.labels = tf.saved_model.Asset(str(tmp_path / "labels.txt"))
    content = tf.function(lambda: {"content": tf.io.read_file(module.labels.asset_path)}, input_signature=[])
    tf.saved_model.save(module, tmp_path / "in", signatures={"labels": content})
    (tmp_path / "labels.txt").unlink()
    strip_saved_model(tmp_path / "in", tmp_path / "out")
    shutil.rmtree(tmp_path / "in")
    answer = tf.saved_model.load(tmp_path / "out").signatures["labels"]()
    assert answer["content"].numpy() == b"cat\ndog\n"


def test_strip_drops_a_table_that_no_signature_reaches_if_it_needs_a_variable(tmp_path, variable_keys):
    class Table(tf.lookup.StaticHashTable):
        pass

    module = tf.Module()
    module.weight = tf.Variable(2.0, name="weight")
    module.table = Table(tf.lookup.KeyValueTensorInitializer(tf.constant(["a"]), tf.constant([1.0])), 0.0)
    module.table._track_trackable(tf.Variable(4.0, name="table_state"), "state")
    serve = tf.function(lambda x: {"y": x * module.weight}, input_signature=[tf.TensorSpec([], name="x")])
    tf.saved_model.save(module, tmp_path / "in", signatures=serve)
    report = strip_saved_model(tmp_path / "in", tmp_path / "out")
    assert report.variables_removed == ("table/state",)
    assert variable_keys(tmp_path / "out") == ["weight"]


def test_strip_keeps_default_values_of_signature_inputs(tmp_path, read_meta_graph):
    module = tf.Module()
    module.weight = tf.Variable(2.0, name="weight")
    half = tf.constant(0.5)

    @tf.function(input_signature=[tf.TensorSpec([None], name="x"), tf.TensorSpec([], name="scale")])
    def serve(x, scale=half):
        return {"y": x * module.weight * scale}

    tf.saved_model.save(module, tmp_path / "in", signatures=serve)
    strip_saved_model(tmp_path / "in", tmp_path / "out")
    (default,) = read_meta_graph(tmp_path / "out").signature_def["serving_default"].defaults.items()
    assert default[0] == "scale"
    assert tf.make_ndarray(default[1]) == np.float32(0.5)


def test_strip_keeps_a_variable_that_a_signature_reaches_through_a_branch_or_changes(tmp_path, variable_keys):
    module = tf.Module()
    module.branch = tf.Variable(2.0, name="branch")
    module.counter = tf.Variable(0.0, name="counter")
    module.unused = tf.Variable(1.0, name="unused")

    @tf.function(input_signature=[tf.TensorSpec([], name="x")])
    def serve(x):
        counted = module.counter.assign_add(1.0)
        return {"y": tf.cond(x > 100.0, lambda: module.branch * x, lambda: x) + counted}

    tf.saved_model.save(module, tmp_path / "in", signatures=serve)
    report = strip_saved_model(tmp_path / "in", tmp_path / "out")
    assert report.variables_removed == ("unused",)
    assert variable_keys(tmp_path / "out") == ["branch", "counter"]
    # Checking called the signatures, but on other copies of the counter.
    assert tf.saved_model.load(tmp_path / "out").counter.numpy() == 0.0


def test_strip_replaces_what_is_at_the_destination_if_told_to(small_model, tmp_path, snapshot):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.txt").write_text("old")
    strip_saved_model(small_model, tmp_path / "out", overwrite=True)
    assert "saved_model.pb" in snapshot(tmp_path / "out")
    assert "old.txt" not in snapshot(tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["out", "source"]


@pytest.mark.slow
def test_strip_keras_model_that_tfx_ships_keeps_its_signature(tmp_path, variable_keys):
    (package,) = importlib.util.find_spec("tfx").submodule_search_locations
    source = os.path.join(package, "components", "testdata", "trainer", "keras", "Format-Serving")
    report = strip_saved_model(source, tmp_path / "out")
    assert report.signatures_checked == ("serving_default",)
    assert list(report.variables_kept) == variable_keys(tmp_path / "out")
    assert (len(report.variables_kept), len(report.variables_removed)) == (6, 21)


def test_strip_keeps_a_partitioned_variable(tmp_path, variable_keys):
    module = tf.Module()
    parts = [tf.Variable(tf.fill([2, 3], float(row)), name=f"weight/part_{row}") for row in range(2)]
    module.weight = sharded_variable.ShardedVariable(parts, name="weight")
    module.unused = tf.Variable(1.0)

    @tf.function(input_signature=[tf.TensorSpec([None, 4], name="x")])
    def serve(x):
        return {"y": x @ tf.convert_to_tensor(module.weight)}

    tf.saved_model.save(module, tmp_path / "in", signatures=serve)
    report = strip_saved_model(tmp_path / "in", tmp_path / "out")
    assert report.variables_removed == ("unused",)
    assert variable_keys(tmp_path / "out") == ["weight"]
    answer = tf.saved_model.load(tmp_path / "out").signatures["serving_default"](x=tf.eye(4))
    assert answer["y"].numpy().tolist() == [[0.0] * 3, [0.0] * 3, [1.0] * 3, [1.0] * 3]
