#!/usr/bin/env bash
# TensorFlow 2.21.0, protobuf 6.33.0: to look up an attribute that a node leaves out breaks the model for TFLite.
#
# NodeDef.attr is a protobuf map of messages: node.attr["data_format"] adds an empty AttrValue if there is none, though the line
# only reads. tf.saved_model.load takes the file that is written then, and answers as before. TFLiteConverter refuses it with an
# error that names neither the node nor the attribute. node.attr.get("data_format") adds nothing.
#
# Seen:
#   attributes of BiasAdd: ['T', '_output_shapes'] -> ['T', '_output_shapes', 'data_format']
#   tf.saved_model.load: the same answer
#   TFLiteConverter: ValueError: Failed to bind all placeholders in <Unknown AttrValue type>
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow-cpu==2.21.0 protobuf==6.33.0
cd "$folder"
TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES= "$folder/venv/bin/python" - <<'PYTHON'
import pathlib

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

module = tf.Module()
module.bias = tf.Variable([1.0, 2.0])


@tf.function(input_signature=[tf.TensorSpec([None, 2], name="x")])
def serve(x):
    return {"y": tf.nn.bias_add(x, module.bias)}


tf.saved_model.save(module, "model", signatures=serve)
path = pathlib.Path("model/saved_model.pb")


def additions(saved_model):
    functions = saved_model.meta_graphs[0].graph_def.library.function
    return [node for function in functions for node in function.node_def if node.op == "BiasAdd"]


# The default is left out, as files may.
saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
for node in additions(saved_model):
    node.attr.pop("data_format", None)
path.write_bytes(saved_model.SerializeToString())
tf.lite.TFLiteConverter.from_saved_model("model").convert()
x = tf.constant(np.ones((1, 2), np.float32))
expected = tf.saved_model.load("model").signatures["serving_default"](x=x)["y"].numpy()

saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
for node in additions(saved_model):
    before = sorted(node.attr)
    assert node.attr.get("data_format") is None
    assert sorted(node.attr) == before
    assert node.attr["data_format"].s == b""  # reads only
    print("attributes of BiasAdd:", before, "->", sorted(node.attr))
    assert sorted(node.attr) == sorted([*before, "data_format"])
path.write_bytes(saved_model.SerializeToString())

answer = tf.saved_model.load("model").signatures["serving_default"](x=x)["y"].numpy()
assert (answer == expected).all()
print("tf.saved_model.load: the same answer")
try:
    tf.lite.TFLiteConverter.from_saved_model("model").convert()
except ValueError as error:
    print("TFLiteConverter: ValueError:", error)
    assert str(error) == "Failed to bind all placeholders in <Unknown AttrValue type>"
else:
    raise SystemExit("changed: TFLiteConverter takes an attribute without a value")
PYTHON
