"""strip_saved_model on pruned models: what goes, what stays, what it answers, and what it refuses."""

import importlib.util
import os
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.distribute import sharded_variable
from tensorflow.python.saved_model import fingerprinting_utils

from tfx_pruning import strip_saved_model
from tfx_pruning.stripper import strip, verify

_STATE = ("gradient", "mask", "old_old_weight", "old_weight", "threshold")


def _state_keys(*weights):
    return [f"{weight}/pruning/{kind}" for weight in weights for kind in _STATE]


def _adam_keys(trainable):
    slots = [f"optimizer/_variables/{index}" for index in range(2, 2 + 2 * trainable)]
    return ["optimizer/_iterations", "optimizer/_learning_rate", *slots]


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


@pytest.fixture(scope="module")
def stripped_taxi(taxi_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("stripped") / "model"
    return path, strip_saved_model(taxi_model.path, path, examples=taxi_model.examples)


@pytest.fixture
def small_model(tmp_path):
    """A tf.Module with a used and an unused variable and a pruning state, saved with one signature, 'double'."""
    module = tf.Module()
    module.weight = tf.Variable([1.0, 0.0, -2.0], name="weight")
    module.unused = tf.Variable(3.0, name="unused")

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def double(x):
        return {"y": x * module.weight}

    path = tmp_path / "source"
    tf.saved_model.save(module, path, signatures={"double": double})
    return path


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
        *_state_keys("_operations/1/_kernel", "_operations/4/_kernel"),
        *_adam_keys(trainable=6),
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
        *_state_keys("_operations/7/_kernel", "_operations/8/_kernel"),
        *_adam_keys(trainable=5),
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
        *_state_keys("variables/1"),
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
    save = strip._save

    def save_off_by_one_bit(source, model, meta_graph, objects, folder):
        objects[("weight",)].assign(np.nextafter(np.float32([1.0, 0.0, -2.0]), np.float32(9)))
        save(source, model, meta_graph, objects, folder)
        objects[("weight",)].assign([1.0, 0.0, -2.0])

    monkeypatch.setattr(strip, "_save", save_off_by_one_bit)
    with pytest.raises(verify.VerificationError, match=r"Signature 'double' of the stripped model differs.*'y"):
        strip_saved_model(small_model, tmp_path / "out")
    assert os.listdir(tmp_path) == ["source"]


def test_strip_interrupted_leaves_nothing(small_model, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(verify, "verify", interrupt)
    with pytest.raises(KeyboardInterrupt):
        strip_saved_model(small_model, tmp_path / "out")
    assert os.listdir(tmp_path) == ["source"]


@pytest.mark.slow
def test_strip_publishes_nothing_if_a_vocabulary_is_lost(taxi_model, tmp_path, monkeypatch):
    save = strip._save

    def save_with_other_words(source, model, meta_graph, objects, folder):
        save(source, model, meta_graph, objects, folder)
        with open(os.path.join(folder, "assets", "company"), "w") as stream:
            stream.write("Blue Ribbon\nFlash Cab\n")

    monkeypatch.setattr(strip, "_save", save_with_other_words)
    with pytest.raises(verify.VerificationError, match="differs from the source"):
        strip_saved_model(taxi_model.path, tmp_path / "out")
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_strip_falls_back_on_drawn_inputs_if_the_examples_are_of_another_kind(taxi_model, tmp_path):
    transformed = tf.train.Example()
    transformed.features.feature["fare_xf"].float_list.value.append(0.5)
    report = strip_saved_model(taxi_model.path, tmp_path / "out", examples=iter([transformed.SerializeToString()]))
    assert report.signatures_checked == ("serving_default", "transform_features")


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
        (lambda proto: proto.meta_graphs[0].ClearField("object_graph_def"), "no object graph.*TensorFlow 1"),
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
