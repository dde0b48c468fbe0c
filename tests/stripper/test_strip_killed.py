"""A strip that is killed, in a process of its own; that also shows what it needs to be imported."""

import json
import os
import signal
import subprocess
import sys

import pytest
import tensorflow as tf

from tfx_pruning import strip_saved_model

_STRIP = """
import json, sys, time
from tfx_pruning.stripper import strip, verify

print(json.dumps(sorted(sys.modules)), flush=True)

def stop(*unused):
    print("stopped", flush=True)
    time.sleep(600)

verify.verify = stop
strip.strip_saved_model(sys.argv[1], sys.argv[2])
"""


@pytest.mark.slow
def test_strip_killed_while_it_verifies_leaves_no_destination_and_can_be_repeated(tmp_path, snapshot):
    module = tf.Module()
    module.weight = tf.Variable(2.0, name="weight")
    module.unused = tf.Variable(2.0, name="unused")
    serve = tf.function(lambda x: {"y": x * module.weight}, input_signature=[tf.TensorSpec([None], name="x")])
    model = tmp_path / "in"
    tf.saved_model.save(module, model, signatures=serve)
    before = snapshot(model)

    command = [sys.executable, "-c", _STRIP, str(model), str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        loaded = json.loads(child.stdout.readline())
        assert child.stdout.readline() == b"stopped\n"
        child.send_signal(signal.SIGKILL)
        child.wait(30)
    assert child.returncode == -signal.SIGKILL

    (leftover,) = set(os.listdir(tmp_path)) - {"in"}
    assert leftover.startswith(".out.")
    assert leftover.endswith(".stripping")
    assert (tmp_path / leftover / "saved_model.pb").exists()
    assert snapshot(model) == before
    assert strip_saved_model(model, tmp_path / "out").variables_removed == ("unused",)
    assert set(os.listdir(tmp_path)) == {"in", leftover, "out"}

    assert not {name.partition(".")[0] for name in loaded} & {"tfx", "keras", "ml_metadata", "apache_beam"}
    assert "tfx_pruning.pruning_trainer" not in loaded
