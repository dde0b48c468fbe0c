"""strip_saved_model on files that are cut short or have wrong bits: a documented error, or the right model."""

import random
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfx_pruning import strip_saved_model
from tfx_pruning.stripper.check.verify import VerificationError

_GRAPH = "saved_model.pb"
_INDEX, _VALUES = "variables/variables.index", "variables/variables.data-00000-of-00001"
_X = np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A SavedModel with a weight that stays and one that goes."""
    module = tf.Module()
    module.weight = tf.Variable(tf.random.stateless_normal([8, 4], (1, 2)), name="weight")
    module.momentum = tf.Variable(tf.zeros([8, 4]), name="momentum")
    spec = [tf.TensorSpec([None, 8], name="x")]
    path = tmp_path_factory.mktemp("model") / "in"
    tf.saved_model.save(module, path, signatures=tf.function(lambda x: {"y": x @ module.weight}, input_signature=spec))
    return path


def _answer(path):
    return tf.saved_model.load(str(path)).signatures["serving_default"](x=tf.constant(_X))["y"].numpy().tobytes()


def _stripped(model, folder, file, content):
    """What the strip of a model answers whose file has another content; None if that is refused."""
    source, destination = folder / "source", folder / "out"
    for each in (source, destination):
        shutil.rmtree(each, ignore_errors=True)
    shutil.copytree(model, source)
    (source / file).write_bytes(content)
    try:
        strip_saved_model(source, destination)
    except (ValueError, VerificationError) as error:
        message = str(error)
    else:
        return _answer(destination)
    assert str(source) in message
    assert not destination.exists()
    return None


@pytest.mark.parametrize("file", [_GRAPH, _INDEX, _VALUES])
def test_a_file_that_is_cut_short_is_refused(file, model, tmp_path):
    content = (model / file).read_bytes()
    for part in range(0, 100, 3):
        assert _stripped(model, tmp_path, file, content[: len(content) * part // 100]) is None, f"{part} % of {file}"


@pytest.mark.parametrize("file", [_INDEX, _VALUES])
def test_a_wrong_bit_among_the_values_is_found_or_without_effect(file, model, tmp_path):
    content, draws, right = (model / file).read_bytes(), random.Random(7), _answer(model)
    refused = 0
    for bit in draws.sample(range(len(content) * 8), 60):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        answer = _stripped(model, tmp_path, file, bytes(damaged))
        assert answer in (None, right), f"bit {bit} of {file}"
        refused += answer is None
    assert refused > 10


def _no_such_object(objects):
    objects.nodes[0].children[0].node_id = 999


def _no_such_slot(objects):
    objects.nodes[0].slot_variables.add(original_variable_node_id=998, slot_variable_node_id=1, slot_name="m")


def _variable_of_nothing(objects):
    objects.nodes.add().variable.name = "lost"


def _signatures_of_another_kind(objects):
    (signatures,) = (each.node_id for each in objects.nodes[0].children if each.local_name == "signatures")
    objects.nodes[signatures].user_object.identifier = "signature_mao"


def _no_such_function(objects):
    for node in objects.nodes:
        if node.WhichOneof("kind") == "bare_concrete_function":
            node.bare_concrete_function.concrete_function_name += "?"


def _no_such_capture(objects):
    for function in objects.concrete_functions.values():
        function.bound_inputs.append(997)


@pytest.mark.parametrize(
    "damage",
    [
        _no_such_object,
        _no_such_slot,
        _variable_of_nothing,
        _signatures_of_another_kind,
        _no_such_function,
        _no_such_capture,
    ],
)
def test_objects_that_do_not_fit_together_are_refused(damage, model, tmp_path):
    proto = saved_model_pb2.SavedModel.FromString((model / _GRAPH).read_bytes())
    damage(proto.meta_graphs[0].object_graph_def)
    assert _stripped(model, tmp_path, _GRAPH, proto.SerializeToString()) is None
