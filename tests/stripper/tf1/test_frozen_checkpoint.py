"""Checkpoints of TensorFlow 1 become graphs of constants that answer as the session did."""

import os

import numpy as np
import pytest
import tensorflow as tf

from helpers.graph_models import KINDS, X, graph, layer, run_graph, save_checkpoint, tf1, trained
from tfx_pruning.stripper.tf1.frozen_checkpoint import freeze_checkpoint


@pytest.mark.parametrize("use_resource", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_freeze_answers_as_the_session_and_holds_nothing_of_pruning(kind, use_resource, tmp_path):
    expected = save_checkpoint(tmp_path, kind, use_resource)
    frozen = freeze_checkpoint(tmp_path, ["y"])
    for sign in (1, -1):
        answer = run_graph(frozen.graph_def, {"x:0": sign * X}, "y:0")
        assert sign < 0 or answer.tobytes() == expected.tobytes()
        assert np.isfinite(answer).all()
    names = [node.name for node in frozen.graph_def.node]
    pruning = ("/mask", "mask/read", "gradient", "threshold", "old_weight")
    assert not [name for name in names if name.endswith(pruning)]
    assert not {node.op for node in frozen.graph_def.node} & {"VariableV2", "VarHandleOp", "ReadVariableOp"}
    assert len(frozen.sparsities) == 2
    assert all(0 < sparsity < 1 for sparsity in frozen.sparsities.values())
    assert frozen.graph_def.versions.producer > 0


def test_freeze_makes_each_masked_weight_one_constant(tmp_path):
    save_checkpoint(tmp_path)
    nodes = {node.name: node for node in freeze_checkpoint(tmp_path, ["y"]).graph_def.node}
    reader = tf.train.load_checkpoint(str(tmp_path / "model.ckpt-7"))
    for name in ("first", "second"):
        node = nodes[f"{name}/weights/masked_weight"]
        product = reader.get_tensor(f"{name}/weights") * reader.get_tensor(f"{name}/mask")
        assert node.op == "Const"
        assert tf.make_ndarray(node.attr["value"].tensor).tobytes() == product.tobytes()
        assert f"{name}/weights" not in nodes


def test_freeze_takes_the_latest_checkpoint(tmp_path):
    with graph(), tf1.Session() as session:
        value = tf1.get_variable("value", [])
        tf.identity(value, name="y")
        saver = tf1.train.Saver()
        for number in (1, 2):
            session.run(value.assign(number))
            saver.save(session, str(tmp_path / "model.ckpt"), global_step=number)
    frozen = freeze_checkpoint(tmp_path, ["y"])
    assert frozen.checkpoint.endswith("model.ckpt-2")
    assert run_graph(frozen.graph_def, {}, "y:0") == 2
    assert frozen.sparsities == {}


def test_freeze_does_not_touch_the_graph_of_its_caller(tmp_path):
    save_checkpoint(tmp_path)
    with tf.Graph().as_default() as mine:
        freeze_checkpoint(tmp_path, ["y"])
        assert mine.get_operations() == []


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([], "output_node_names is empty"),
        (["second/MatMull"], r"no node 'second/MatMull': did you mean .*'second/MatMul'"),
        (["y:0"], "no node 'y:0': it is a tensor's name; give the node's, 'y'"),
        (["y", "zzzzzzzz"], r"no node 'zzzzzzzz': the last of its \d+ nodes is"),
    ],
)
def test_freeze_refuses_wrong_outputs(outputs, message, tmp_path):
    save_checkpoint(tmp_path)
    with pytest.raises(ValueError, match=message):
        freeze_checkpoint(tmp_path, outputs)


def test_freeze_refuses_a_folder_without_a_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint in '.*nowhere': no such folder"):
        freeze_checkpoint(tmp_path / "nowhere", ["y"])
    with pytest.raises(FileNotFoundError, match="found no file 'checkpoint' that names one"):
        freeze_checkpoint(tmp_path, ["y"])


def test_freeze_refuses_a_checkpoint_without_a_meta_graph(tmp_path):
    save_checkpoint(tmp_path)
    (tmp_path / "model.ckpt-7.meta").unlink()
    with pytest.raises(FileNotFoundError, match=r"no meta graph: there is no file '.*model\.ckpt-7\.meta'"):
        freeze_checkpoint(tmp_path, ["y"])


def test_freeze_refuses_a_meta_graph_that_is_cut_short(tmp_path):
    save_checkpoint(tmp_path)
    meta = tmp_path / "model.ckpt-7.meta"
    meta.write_bytes(meta.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"meta graph .* cannot be loaded"):
        freeze_checkpoint(tmp_path, ["y"])


def test_freeze_refuses_values_that_are_damaged(tmp_path):
    save_checkpoint(tmp_path)
    (name,) = [each for each in os.listdir(tmp_path) if ".data-" in each]
    values = tmp_path / name
    values.write_bytes(bytes(reversed(values.read_bytes())))
    with pytest.raises(ValueError, match="cannot be restored"):
        freeze_checkpoint(tmp_path, ["y"])


def test_freeze_refuses_a_masked_weight_that_is_fed(tmp_path):
    with graph(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [4, 3], name="x")
        y = layer(x, "only", multiply=lambda weights, scope: tf.multiply(x[:3], weights, name="masked_weight"))
        tf.identity(y, name="y")
        trained(session)
        tf1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    with pytest.raises(
        ValueError, match=r"'only/masked_weight' .* cannot become a constant: it depends on a placeholder"
    ):
        freeze_checkpoint(tmp_path, ["y"])


def test_freeze_refuses_a_masked_weight_in_a_function(tmp_path):
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        mask, weights = (tf1.get_variable(name, [4, 3]) for name in ("mask", "weights"))
        branches = [lambda: tf.matmul(x, tf.multiply(mask, weights, name="masked_weight")), lambda: x[:, :3]]
        y = tf1.cond(tf.reduce_sum(x) > 0, *branches)
        tf.identity(y, name="y")
        trained(session)
        tf1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    with pytest.raises(ValueError, match=r"masked_weight' .* is in a function.*disable_control_flow_v2"):
        freeze_checkpoint(tmp_path, ["y"])
