"""What converters look for in a SavedModel is in the stripped one as in its source."""

import pytest
import tensorflow as tf
from tensorflow.python.framework import convert_to_constants

from tfx_pruning import apply_mask, strip_saved_model
from tfx_pruning.saved_model.function_body import CALL_OPS
from tfx_pruning.saved_model.saved_objects import SavedObjects

_WORDS = ["a", "b", "c"]


class _Model(tf.Module):
    def __init__(self, masked):
        super().__init__()
        self.kernel = tf.Variable([1.0, -2.0, 3.0, -4.0], name="kernel")
        self.momentum = tf.Variable(tf.zeros(4))
        self.mask = masked
        initializer = tf.lookup.KeyValueTensorInitializer(_WORDS, tf.range(3, dtype=tf.int64))
        self.table = tf.lookup.StaticHashTable(initializer, 3)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="word")])
    def serve(self, word):
        kernel = apply_mask(self.kernel) if self.mask else self.kernel
        return {"y": tf.gather(kernel, self.table.lookup(word))}


@pytest.fixture(params=["plain", "masked"])
def folders(request, tmp_path):
    model = _Model(request.param == "masked")
    tf.saved_model.save(model, str(tmp_path / "source"), signatures=model.serve)
    strip_saved_model(str(tmp_path / "source"), str(tmp_path / "stripped"))
    strip_saved_model(str(tmp_path / "stripped"), str(tmp_path / "twice"))
    return tmp_path


@pytest.mark.parametrize("name", ["stripped", "twice"])
def test_a_table_keeps_its_class_and_the_operation_that_makes_it(folders, name):
    read = SavedObjects.read(str(folders / name))
    node = read.graph.at(("table",))
    assert read.meta_graph.object_graph_def.nodes[node].registered_name == "tf.StaticHashTable"
    creator = read.graph.at(("table", "_create_resource"))
    (function,) = (read.library.functions[each] for each in read.graph.concrete_functions(creator))
    (table,) = (node for node in function.node_def if node.op == "HashTableV2")
    assert table.attr["shared_name"].s
    classes = [type(tf.saved_model.load(str(folders / each)).table).__name__ for each in ("source", name)]
    assert classes[0] == classes[1] != "RestoredResource"


@pytest.mark.parametrize("name", ["stripped", "twice"])
def test_a_lookup_in_the_frozen_graph_reads_the_table_itself(folders, name):
    """tf2onnx finds the keys of a table where the lookup's input is the placeholder of a captured resource."""
    model = tf.saved_model.load(str(folders / name))
    function = model.signatures["serving_default"]
    assert function(word=tf.constant(["b", "nobody", "a"]))["y"].numpy().tolist() == [-2.0, -4.0, 1.0]
    captures = function.graph.function_captures
    tables = {key: captures.by_val_internal[key].name for key in captures.by_val_external}
    frozen = convert_to_constants.convert_variables_to_constants_v2(function).graph.as_graph_def()
    (lookup,) = (node for node in frozen.node if node.op == "LookupTableFindV2")
    assert f"{lookup.input[0]}:0" in tables.values()


def test_signatures_are_no_deeper_each_time(folders):
    depths = [_depth(SavedObjects.read(str(folders / name))) for name in ("source", "stripped", "twice")]
    assert depths[0] >= depths[1] == depths[2] == 0


def _depth(read):
    (name,) = read.graph.concrete_functions(read.graph.signatures["serving_default"])
    depth = 0
    while calls := [node for node in read.library.functions[name].node_def if node.op in CALL_OPS]:
        name, depth = calls[0].attr["f"].func.name, depth + 1
    return depth
