"""The functions that save and restore a shrunk model's variables, and the shapes that functions tell of variables."""

import re

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from helpers.dead_units import ZOO
from helpers.specimen import drawn, without
from tfx_pruning import strip_saved_model

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_INPUTS = drawn(5, 6)


@pytest.fixture
def shrunk(tmp_path):
    """The folder of a specimen that was shrunk."""
    ZOO["unread"].save(str(tmp_path / "model"))
    strip_saved_model(tmp_path / "model", tmp_path / "shrunk", shrink=True)
    return tmp_path / "shrunk"


def _meta_graph(folder):
    return saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs[0]


def _functions(folder):
    return {each.signature.name: each for each in _meta_graph(folder).graph_def.library.function}


def _variables(folder):
    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    return {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map() if key.endswith(_VALUE)}


def _restored_and_saved(folder, prefix):
    """What a session of TensorFlow 1 answers with a model, and writes of it, both through the saver's operations."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], str(folder))
        signature, saver = meta_graph.signature_def["serving_default"], meta_graph.saver_def
        session.run(saver.save_tensor_name, {saver.filename_tensor_name: str(prefix)})
        return session.run(signature.outputs["y"].name, {signature.inputs["x"].name: _INPUTS})


def test_a_session_restores_a_shrunk_model_answers_and_saves_it(shrunk, tmp_path):
    answers = _restored_and_saved(shrunk, tmp_path / "again")
    loaded = tf.saved_model.load(str(shrunk)).signatures["serving_default"](x=tf.constant(_INPUTS))["y"]
    np.testing.assert_array_equal(answers, loaded)
    reader = tf.train.load_checkpoint(str(tmp_path / "again"))
    expected = _variables(shrunk)
    assert {key for key in reader.get_variable_to_shape_map() if key.endswith(_VALUE)} == set(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(reader.get_tensor(key), value)


def test_functions_of_the_saver_name_no_variable_and_tell_no_shape(shrunk):
    functions = _functions(shrunk)
    savers = [functions[name] for name in functions if "traced_save" in name or "traced_restore" in name]
    assert len(savers) == 2
    for function in savers:
        assert {argument.name[0] for argument in function.signature.input_arg} == {"n"}
        assert all(len(node.name) < 5 for node in function.node_def)
        assert not any(argument.handle_data for argument in function.signature.input_arg)
        assert not any("_output_shapes" in node.attr for node in function.node_def)


def test_signatures_tell_the_shapes_that_variables_have_now(shrunk, tmp_path):
    shapes = sorted(value.shape for value in _variables(shrunk).values())
    assert shapes == [(6,), (6, 3), (6, 6)]
    told = [
        [tuple(size.size for size in handle.shape.dim) for handle in argument.handle_data]
        for name, function in _functions(shrunk).items()
        for argument in function.signature.input_arg
        if "wrapper" in name and argument.handle_data
    ]
    assert sorted(told) == [[shape] for shape in shapes]


def test_functions_that_initialize_tables_stay_as_they_are(tmp_path):
    module = tf.Module()
    module.a, module.b = tf.Variable(drawn(2, 8)), tf.Variable(without(drawn(8, 3), 0, 1, 4))
    initializer = tf.lookup.KeyValueTensorInitializer(["word", "term"], [0, 1])
    module.table = tf.lookup.StaticHashTable(initializer, 0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="x")])
    def serve(x):
        return {"y": tf.nn.relu(tf.one_hot(module.table.lookup(x), 2) @ module.a) @ module.b}

    tf.saved_model.save(module, str(tmp_path / "model"), signatures=serve)
    report = strip_saved_model(tmp_path / "model", tmp_path / "shrunk", shrink=True)
    assert {each.shape_after for each in report.shrink.variables} == {(2, 6), (6, 3)}
    nodes = {
        name: [node.name for node in function.node_def]
        for name, function in _functions(tmp_path / "shrunk").items()
        if "initializer" in name or "destroyer" in name
    }
    assert len(nodes) >= 2
    assert not any(re.fullmatch(r"n\d+", each) for names in nodes.values() for each in names)
    served = tf.saved_model.load(str(tmp_path / "shrunk")).signatures["serving_default"]
    words = tf.constant(["term", "word", "unknown"])
    np.testing.assert_allclose(served(x=words)["y"], serve(words)["y"], rtol=1e-5, atol=1e-5)
