"""FunctionBody: edits of a function that keep it whole."""

import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.framework import function_pb2

from tfx_pruning.saved_model.function_body import FunctionBody

_BODY = """
signature {
  name: "f"
  input_arg { name: "x" type: DT_FLOAT }
  input_arg { name: "mask" type: DT_RESOURCE }
  input_arg { name: "weight" type: DT_RESOURCE }
  output_arg { name: "y" type: DT_FLOAT }
  control_output: "mask_read"
  control_output: "weight_read"
}
arg_attr { key: 0 value { attr { key: "_user_specified_name" value { s: "x" } } } }
arg_attr { key: 2 value { attr { key: "_user_specified_name" value { s: "weight" } } } }
resource_arg_unique_id { key: 1 value: 5 }
resource_arg_unique_id { key: 2 value: 6 }
attr { key: "_input_shapes" value { list { shape { dim { size: 3 } } shape {} shape {} } } }
node_def { name: "before" op: "NoOp" }
node_def { name: "idle" op: "NoOp" }
node_def { name: "mask_read" op: "ReadVariableOp" input: "mask" input: "^before" }
node_def { name: "weight_read" op: "ReadVariableOp" input: "weight" }
node_def { name: "product" op: "Mul" input: "weight_read:value:0" input: "mask_read:value:0" }
node_def {
  name: "sum" op: "AddV2" input: "x" input: "product:z:0" input: "^product"
  attr { key: "_class" value { list { s: "loc:@product" s: "loc:@weight_read" } } }
}
node_def { name: "after" op: "NoOp" input: "^mask_read" input: "^sum" }
node_def { name: "identity" op: "Identity" input: "sum:z:0" input: "^after" }
ret { key: "y" value: "identity:output:0" }
control_ret { key: "mask_read" value: "mask_read" }
control_ret { key: "weight_read" value: "weight_read" }
"""


@pytest.fixture
def body():
    return FunctionBody(text_format.Parse(_BODY, function_pb2.FunctionDef()))


def _inputs(body):
    return {node.name: list(node.input) for node in body.nodes}


def test_remove_puts_substitutes_in_place_and_hands_control_dependencies_on(body):
    body.remove({"mask_read", "product"}, {"product": "weight_read:value:0"})
    assert _inputs(body) == {
        "before": [],
        "idle": [],
        "weight_read": ["weight"],
        "sum": ["x", "weight_read:value:0", "^weight_read", "^before"],
        "after": ["^sum", "^before"],
        "identity": ["sum:z:0", "^after"],
    }
    assert list(body.proto.signature.control_output) == ["weight_read"]
    assert dict(body.proto.control_ret) == {"weight_read": "weight_read"}
    assert list(body.node("sum").attr["_class"].list.s) == [b"loc:@weight_read"]


def test_remove_unread_takes_chains_of_reads_and_leaves_what_is_read(body):
    body.remove({"sum", "after", "identity"}, {"identity": "x", "sum": "x"})
    body.remove_unread(["product", "weight_read", "before"])
    assert set(_inputs(body)) == {"idle", "mask_read"}
    assert dict(body.proto.ret) == {"y": "x"}


def test_remove_unreached_keeps_what_outputs_need_and_what_has_side_effects(body):
    body.remove_unreached()
    assert "idle" not in _inputs(body)
    body.proto.ret["y"] = "x"
    body.remove_unreached()
    # A read of a variable counts as a side effect.
    assert set(_inputs(body)) == {"before", "mask_read", "weight_read"}


def test_drop_arguments_moves_up_what_is_known_of_those_behind(body):
    body.drop_arguments([1])
    assert [argument.name for argument in body.proto.signature.input_arg] == ["x", "weight"]
    names = {index: each.attr["_user_specified_name"].s for index, each in body.proto.arg_attr.items()}
    assert names == {0: b"x", 1: b"weight"}
    assert dict(body.proto.resource_arg_unique_id) == {1: 6}
    assert [len(shape.dim) for shape in body.proto.attr["_input_shapes"].list.shape] == [1, 0]
    assert body.argument("weight") == 1


def test_rename_changes_references_and_keeps_names_unique(body):
    body.rename(lambda name: name.replace("mask_read", "weight_read"))
    assert _inputs(body)["weight_read_1"] == ["mask", "^before"]
    assert _inputs(body)["product"] == ["weight_read:value:0", "weight_read_1:value:0"]
    assert _inputs(body)["after"] == ["^weight_read_1", "^sum"]
    assert dict(body.proto.control_ret) == {"weight_read": "weight_read", "weight_read_1": "weight_read_1"}
    assert list(body.proto.signature.control_output) == ["weight_read_1", "weight_read"]


def test_drop_call_arguments_of_a_loop_moves_up_its_outputs(body):
    loop = body.proto.node_def.add(name="loop", op="While", input=["x", "mask", "weight"])
    loop.attr["T"].list.type.extend([tf.float32.as_datatype_enum] + 2 * [tf.resource.as_datatype_enum])
    loop.attr["output_shapes"].list.shape.add().dim.add(size=3)
    loop.attr["output_shapes"].list.shape.add()
    loop.attr["output_shapes"].list.shape.add()
    loop.attr["_read_only_resource_inputs"].list.i.extend([1, 2])
    loop.attr["_num_original_outputs"].i = 3
    body.proto.node_def.add(name="use", op="ReadVariableOp", input=["loop:output:2", "^loop"])
    body.proto.ret["y"] = "loop:output:0"
    body = FunctionBody(body.proto)

    body.drop_call_arguments(body.node("loop"), [1])

    loop = body.node("loop")
    assert list(loop.input) == ["x", "weight"]
    assert list(loop.attr["T"].list.type) == [tf.float32.as_datatype_enum, tf.resource.as_datatype_enum]
    assert len(loop.attr["output_shapes"].list.shape) == 2
    assert list(loop.attr["_read_only_resource_inputs"].list.i) == [1]
    assert loop.attr["_num_original_outputs"].i == 2
    assert list(body.node("use").input) == ["loop:output:1", "^loop"]
    assert dict(body.proto.ret) == {"y": "loop:output:0"}


def test_drop_call_arguments_of_a_branch_counts_from_behind_its_index(body):
    branch = body.proto.node_def.add(name="branch", op="If", input=["x", "mask", "weight"])
    branch.attr["Tin"].list.type.extend(2 * [tf.resource.as_datatype_enum])
    branch.attr["_read_only_resource_inputs"].list.i.extend([1, 2])
    body = FunctionBody(body.proto)
    body.drop_call_arguments(body.node("branch"), [0])
    assert list(body.node("branch").input) == ["x", "weight"]
    assert list(body.node("branch").attr["_read_only_resource_inputs"].list.i) == [1]
    assert len(body.node("branch").attr["Tin"].list.type) == 1


def test_returned_argument_sees_through_identities(body):
    body.proto.ret["y"] = "same:output:0"
    body.proto.node_def.add(name="same", op="Identity", input=["weight"])
    assert FunctionBody(body.proto).returned_argument(0) == 2
    body.proto.ret["y"] = "identity:output:0"
    assert FunctionBody(body.proto).returned_argument(0) is None
