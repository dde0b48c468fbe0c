"""The command strip_pruning_vars."""

import importlib.metadata
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from tensorflow.core.framework import graph_pb2

from helpers.graph_models import X, graph, run_graph, save_checkpoint, tf1
from tfx_pruning.cli.strip_pruning_vars import main
from tfx_pruning.stripper.tf1 import frozen_checkpoint


def _run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="strip_pruning_vars")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A folder with a checkpoint, and its answer to X."""
    folder = tmp_path_factory.mktemp("checkpoint")
    return folder, save_checkpoint(folder)


def test_command_writes_the_graph_and_says_so(checkpoint, tmp_path):
    folder, expected = checkpoint
    result = _run(
        f"--checkpoint_dir={folder}",
        "--output_node_names=first/MatMul, y",
        f"--output_dir={tmp_path / 'new' / 'folder'}",
        "--filename=stripped.pb",
    )
    assert result.exit_code == 0, result.output
    path = tmp_path / "new" / "folder" / "stripped.pb"
    assert f"{path}: " in result.stdout
    assert "first/weights/masked_weight: " in result.stdout
    assert "% zeros" in result.stdout
    graph_def = graph_pb2.GraphDef.FromString(path.read_bytes())
    np.testing.assert_array_equal(run_graph(graph_def, {"x:0": X}, "y:0"), expected)
    assert "first/MatMul" in {node.name for node in graph_def.node}
    assert os.listdir(path.parent) == ["stripped.pb"]


def test_command_replaces_a_file(checkpoint, tmp_path):
    (tmp_path / "pruning_stripped.pb").write_bytes(b"old")
    result = _run("--checkpoint_dir", checkpoint[0], "--output_node_names", "y", "--output_dir", tmp_path)
    assert result.exit_code == 0, result.output
    assert graph_pb2.GraphDef.FromString((tmp_path / "pruning_stripped.pb").read_bytes()).node
    assert os.listdir(tmp_path) == ["pruning_stripped.pb"]


def test_command_defaults_are_the_references():
    defaults = {option.name: option.default for option in main.params}
    assert defaults["checkpoint_dir"] == ""
    assert defaults["output_dir"] == "/tmp"
    assert defaults["filename"] == "pruning_stripped.pb"


def test_command_takes_the_current_folder_by_default(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(checkpoint[0])
    result = _run("--output_node_names=y", f"--output_dir={tmp_path}")
    assert result.exit_code == 0, result.output
    assert os.listdir(tmp_path) == ["pruning_stripped.pb"]


def test_command_freezes_a_dense_checkpoint_and_says_so(tmp_path):
    with graph(), tf1.Session() as session:
        tf1.identity(tf1.get_variable("value", [2]), name="y")
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    result = _run(f"--checkpoint_dir={tmp_path}", "--output_node_names=y", f"--output_dir={tmp_path / 'out'}")
    assert result.exit_code == 0, result.output
    assert "has no masked weights: its graph was frozen, nothing was stripped" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing option '--output_node_names'"),
        (["--output_node_names="], "'' has an empty name"),
        (["--output_node_names=a,,b"], "'a,,b' has an empty name"),
        (["--output_node_names=y", "--filename=folder/"], "'folder/' names no file"),
        (["--output_node_names=y", "--checkpoint=/tmp"], "No such option '--checkpoint'"),
        (["--output_node_names=y", "more"], "unexpected extra argument"),
    ],
)
def test_command_exits_with_2_on_wrong_usage(arguments, message):
    result = _run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Usage: strip_pruning_vars" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--checkpoint_dir=/nowhere", "--output_node_names=y"], "Error: There is no checkpoint in '/nowhere'"),
        (["--output_node_names=second/MatMull"], "did you mean"),
    ],
)
def test_command_exits_with_1_and_one_line_on_a_failure(arguments, message, checkpoint, tmp_path):
    result = _run(f"--checkpoint_dir={checkpoint[0]}", f"--output_dir={tmp_path}", *arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_command_does_nothing_where_it_cannot_write(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(frozen_checkpoint, "freeze_checkpoint", None)
    (tmp_path / "file").write_text("in the way")
    result = _run(f"--checkpoint_dir={checkpoint[0]}", "--output_node_names=y", f"--output_dir={tmp_path / 'file'}")
    assert result.exit_code == 1
    assert "cannot be written: the folder" in result.stderr
    assert os.listdir(tmp_path) == ["file"]


def test_interrupted_command_leaves_nothing(checkpoint, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(tf.io.gfile, "rename", interrupted)
    result = _run(f"--checkpoint_dir={checkpoint[0]}", "--output_node_names=y", f"--output_dir={tmp_path}")
    assert result.exit_code == 130
    assert result.stderr == "Interrupted: nothing half done is left. Call the command again to begin anew.\n"
    assert os.listdir(tmp_path) == []


def test_help_has_an_example_and_needs_no_tensorflow():
    program = "import sys; from tfx_pruning.cli.strip_pruning_vars import main\n"
    program += "try: main(['--help'])\nfinally: assert 'tensorflow' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "--checkpoint_dir=/tmp/model_ckpts --output_node_names=softmax" in result.stdout


def test_command_is_installed():
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="strip_pruning_vars")
    assert script.load() is main
