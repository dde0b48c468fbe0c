"""SavedModels of TensorFlow 1 lose what only training needs, keep all else, and answer as before."""

import ctypes
import glob
import os
import re

import numpy as np
import pytest
import tensorflow as tf

from helpers.graph_models import (
    KINDS,
    X,
    graph,
    layer,
    masked,
    meta_graphs,
    run,
    save,
    save_model,
    signature_def,
    tf1,
    trained,
    variables,
)
from tfx_pruning import strip_saved_model

_TRAINING = re.compile(rb"masked_weight|mask|threshold|gradient|old_weight|Adam|beta1_power|global_step|train_op")


@pytest.fixture(scope="module", params=[(kind, resource) for kind in KINDS for resource in (True, False)], ids=str)
def stripped(request, tmp_path_factory):
    """A source, what it answered to X, the stripped model, and the report."""
    kind, use_resource = request.param
    folder = tmp_path_factory.mktemp("tf1")
    expected = save_model(folder / "in", kind, use_resource, strip_default_attrs=use_resource)
    return folder / "in", expected, folder / "out", strip_saved_model(folder / "in", folder / "out")


def test_strip_answers_as_the_session_before(stripped):
    _, expected, path, report = stripped
    assert report.signatures_checked == ("serving_default",)
    np.testing.assert_array_equal(run(path, {"x": X})["y"], expected)
    np.testing.assert_array_equal(run(path, {"x": -X})["y"], run(stripped[0], {"x": -X})["y"])


def test_strip_writes_what_tensorflow_2_loads(stripped):
    _, expected, path, _ = stripped
    loaded = tf.saved_model.load(path)
    np.testing.assert_array_equal(loaded.signatures["serving_default"](x=tf.constant(X))["y"], expected)


def test_strip_leaves_nothing_of_pruning_and_training(stripped):
    source, _, path, report = stripped
    content = (path / "saved_model.pb").read_bytes()
    assert _TRAINING.search((source / "saved_model.pb").read_bytes())
    assert _TRAINING.findall(content) == []
    kept = variables(path)
    assert sorted(kept) == list(report.variables_kept)
    assert all(key.endswith("/weights") for key in kept)
    assert len(kept) == 2
    assert sorted(variables(source)) == sorted((*report.variables_kept, *report.variables_removed))


def test_strip_folds_the_masks_into_the_weights(stripped):
    source, _, path, _ = stripped
    before, after = variables(source), variables(path)
    for key, weight in after.items():
        mask = before[key.removesuffix("weights") + "mask"]
        assert 0 < mask.sum() < mask.size
        np.testing.assert_array_equal(weight, np.where(mask == 1, before[key], 0))
        assert not np.signbit(weight[mask == 0]).any()


def test_strip_keeps_the_kind_of_model(stripped):
    source, _, path, _ = stripped
    (before,), (after,) = meta_graphs(source), meta_graphs(path)
    for field in ("tags", "tensorflow_version", "stripped_default_attrs"):
        assert getattr(after.meta_info_def, field) == getattr(before.meta_info_def, field)
    assert after.signature_def == before.signature_def
    assert after.graph_def.versions == before.graph_def.versions
    assert {node.op for node in after.graph_def.node} & {"VariableV2", "VarHandleOp"}
    assert set(after.collection_def) <= {"variables", "trainable_variables", "while_context", "cond_context"}


def test_strip_again_changes_nothing(stripped, tmp_path, snapshot):
    _, _, path, _ = stripped
    report = strip_saved_model(path, tmp_path / "again")
    assert report.variables_removed == ()
    assert snapshot(tmp_path / "again").keys() == snapshot(path).keys()
    assert meta_graphs(tmp_path / "again")[0].signature_def == meta_graphs(path)[0].signature_def
    assert len(meta_graphs(tmp_path / "again")[0].graph_def.node) == len(meta_graphs(path)[0].graph_def.node)


def test_strip_writes_what_the_c_loader_loads(stripped):
    """The loader that TensorFlow Serving has: it restores the variables and runs what initializes the model."""
    (library,) = glob.glob(os.path.join(os.path.dirname(tf.__file__), "libtensorflow_cc.so.*"))
    c_api = ctypes.CDLL(library)
    for name in ("TF_NewStatus", "TF_NewGraph", "TF_NewSessionOptions", "TF_LoadSessionFromSavedModel"):
        getattr(c_api, name).restype = ctypes.c_void_p
    c_api.TF_Message.restype = ctypes.c_char_p
    status, loaded, options = (
        ctypes.c_void_p(make()) for make in (c_api.TF_NewStatus, c_api.TF_NewGraph, c_api.TF_NewSessionOptions)
    )
    path, tags = str(stripped[2]).encode(), (ctypes.c_char_p * 1)(b"serve")
    session = c_api.TF_LoadSessionFromSavedModel(options, None, path, tags, 1, loaded, None, status)
    assert c_api.TF_GetCode(status) == 0, c_api.TF_Message(status)
    c_api.TF_CloseSession(ctypes.c_void_p(session), status)
    c_api.TF_DeleteSession(ctypes.c_void_p(session), status)


def test_strip_keeps_signatures_tables_assets_and_what_initializes_them(tmp_path, snapshot):
    vocabulary = tmp_path / "words.txt"
    vocabulary.write_text("cab\nbus\ntram\n")
    with graph(), tf1.Session() as session:
        word = tf1.placeholder(tf.string, [None], name="word")
        path = tf.constant(str(vocabulary))
        tf1.add_to_collection(tf1.GraphKeys.ASSET_FILEPATHS, path)
        table = tf.lookup.StaticVocabularyTable(
            tf.lookup.TextFileInitializer(
                path, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
            ),
            num_oov_buckets=1,
        )
        unused = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [7]), -1)
        tf1.add_to_collection("of_a_user", word)
        identifier = table.lookup(word)
        score = layer(tf.one_hot(identifier, 4), "score")
        trained(session)
        session.run(tf1.tables_initializer())
        signatures = {
            "identify": ({"word": word}, {"identifier": identifier}),
            "score": ({"word": word}, {"score": score}),
        }
        save(tmp_path / "in", session, signatures, main_op=tf1.tables_initializer(), assets_collection=[path])
        expected = session.run(score, {word: [b"bus", b"boat"]})
    extra = tmp_path / "in" / "assets.extra"
    extra.mkdir()
    (extra / "tf_serving_warmup_requests").write_bytes(b"warm up")
    vocabulary.unlink()

    before = snapshot(tmp_path / "in")
    report = strip_saved_model(tmp_path / "in", tmp_path / "out")
    assert snapshot(tmp_path / "in") == before
    assert sorted(report.signatures_checked) == ["identify", "score"]
    assert run(tmp_path / "out", {"word": [b"tram", b"boat"]}, "identify")["identifier"].tolist() == [2, 3]
    np.testing.assert_array_equal(run(tmp_path / "out", {"word": [b"bus", b"boat"]}, "score")["score"], expected)
    for kind in ("assets", "assets.extra"):
        files = {name: content for name, content in before.items() if name.startswith(f"{kind}/")}
        assert files
        assert {name: each for name, each in snapshot(tmp_path / "out").items() if name.startswith(f"{kind}/")} == files
    (meta_graph,) = meta_graphs(tmp_path / "out")
    assert len(meta_graph.collection_def["table_initializer"].node_list.value) == 2
    assert meta_graph.collection_def["of_a_user"].node_list.value == ["word:0"]
    assert unused.name


def test_strip_takes_out_training_meta_graphs_and_keeps_the_others(tmp_path):
    with graph(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        y = layer(x, "only")
        total = tf1.get_variable("total", [], initializer=tf1.zeros_initializer(), collections=["local_variables"])
        value, update = total.read_value(), tf1.assign_add(total, tf.reduce_sum(y))
        train = tf1.train.AdamOptimizer().minimize(tf.reduce_mean(y**2))
        trained(session)
        builder = tf1.saved_model.Builder(str(tmp_path / "in"))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature_def({"x": x}, {"y": y})})
        initialize = tf1.local_variables_initializer()
        metrics = signature_def({"x": x}, {"update": update, "value": value, "y": y})
        builder.add_meta_graph(["eval"], {"eval": metrics}, main_op=initialize)
        step = tf1.get_default_graph().as_graph_element(train)
        with tf.control_dependencies([step]):
            builder.add_meta_graph(["train"], {"train": signature_def({"x": x}, {"done": tf.constant(True)})})
        builder.save()
    report = strip_saved_model(tmp_path / "in", tmp_path / "out")
    assert report.variables_kept == ("only/weights",)
    assert [list(each.meta_info_def.tags) for each in meta_graphs(tmp_path / "out")] == [["serve"], ["eval"]]
    assert sorted(report.signatures_checked) == ["eval", "serving_default"]
    after = run(tmp_path / "out", {"x": X}, "eval", ["eval"])
    np.testing.assert_array_equal(after["y"], run(tmp_path / "in", {"x": X})["y"])
    np.testing.assert_array_equal(after["update"], run(tmp_path / "in", {"x": X}, "eval", ["eval"])["update"])


def test_strip_renames_an_output_that_is_a_masked_weight(tmp_path):
    with graph(use_resource=False), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        y = layer(x, "only")
        product = tf1.get_default_graph().get_tensor_by_name("only/weights/masked_weight:0")
        trained(session)
        save(tmp_path / "in", session, {"serving_default": ({"x": x}, {"y": y, "weight": product})})
        expected = session.run(product)
    strip_saved_model(tmp_path / "in", tmp_path / "out")
    assert b"masked_weight" not in (tmp_path / "out" / "saved_model.pb").read_bytes()
    np.testing.assert_array_equal(run(tmp_path / "out", {"x": X})["weight"], expected)


def test_strip_keeps_the_sign_of_a_pruned_weight_that_an_answer_shows(tmp_path):
    with graph(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        layer(x, "only")
        product = tf1.get_default_graph().get_tensor_by_name("only/weights/masked_weight:0")
        y = 1.0 / product + tf.reduce_sum(x)
        trained(session)
        save(tmp_path / "in", session, {"serving_default": ({"x": x}, {"y": y})})
    strip_saved_model(tmp_path / "in", tmp_path / "out")
    weight, before = variables(tmp_path / "out")["only/weights"], variables(tmp_path / "in")
    assert np.signbit(weight[before["only/mask"] == 0]).any()
    assert run(tmp_path / "out", {"x": X})["y"].tobytes() == run(tmp_path / "in", {"x": X})["y"].tobytes()


def test_strip_checks_sparse_inputs(tmp_path):
    with graph(), tf1.Session() as session:
        x = tf1.sparse_placeholder(tf.float32, [None, 4], name="x")
        y = layer(tf.ensure_shape(tf.sparse.to_dense(x), [None, 4]), "only")
        trained(session)
        save(tmp_path / "in", session, {"serving_default": ({"x": x}, {"y": y})})
    strip_saved_model(tmp_path / "in", tmp_path / "out")
    (meta_graph,) = meta_graphs(tmp_path / "out")
    assert meta_graph.signature_def["serving_default"].inputs["x"].WhichOneof("encoding") == "coo_sparse"


def test_strip_checks_on_the_given_examples(tmp_path):
    with graph(), tf1.Session() as session:
        serialized = tf1.placeholder(tf.string, [None], name="examples")
        features = tf1.parse_example(serialized, {"x": tf1.FixedLenFeature([4], tf.float32)})
        y = layer(features["x"], "only")
        trained(session)
        save(tmp_path / "in", session, {"serving_default": ({"examples": serialized}, {"y": y})})
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.extend([1, 2, 3, 4])
    records = [example.SerializeToString()] * 3
    report = strip_saved_model(tmp_path / "in", tmp_path / "out", examples=records)
    assert report.signatures_checked == ("serving_default",)
    np.testing.assert_array_equal(
        run(tmp_path / "out", {"examples": records})["y"], run(tmp_path / "in", {"examples": records})["y"]
    )


def test_strip_keeps_what_a_product_waits_for(tmp_path):
    def guarded(weights, scope):
        with tf.control_dependencies([tf1.assert_less(tf.reduce_max(x), 100.0, name="guard")]):
            return masked(weights, scope)

    # A read of a resource variable would wait, too.
    with graph(use_resource=False), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        y = layer(x, "only", multiply=guarded)
        trained(session)
        save(tmp_path / "in", session, {"serving_default": ({"x": x}, {"y": y})})
    strip_saved_model(tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(run(tmp_path / "out", {"x": X})["y"], run(tmp_path / "in", {"x": X})["y"])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"guard|assertion"):
        run(tmp_path / "out", {"x": 1000 * np.ones([1, 4])})


def test_strip_takes_a_model_without_variables(tmp_path):
    with graph(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        save(tmp_path / "in", session, {"serving_default": ({"x": x}, {"y": x + 1})})
    assert strip_saved_model(tmp_path / "in", tmp_path / "out").variables_kept == ()
    np.testing.assert_array_equal(run(tmp_path / "out", {"x": X})["y"], X + 1)


def test_strip_keeps_a_variable_that_is_named_like_one_of_pruning(tmp_path):
    with graph(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        with tf1.variable_scope("gate"):
            threshold = tf1.get_variable("threshold", [4])
            mask = tf1.get_variable("mask", [4])
        trained(session)
        save(
            tmp_path / "in", session, {"serving_default": ({"x": x}, {"y": tf.cast(x > threshold, tf.float32) * mask})}
        )
    assert strip_saved_model(tmp_path / "in", tmp_path / "out").variables_kept == ("gate/mask", "gate/threshold")
