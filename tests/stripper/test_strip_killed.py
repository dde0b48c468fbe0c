"""A strip that is killed or ended, in a process of its own; that also shows what it needs to be imported."""

import json
import os
import signal
import subprocess
import sys

import pytest
import tensorflow as tf

from tfx_pruning import strip_saved_model
from tfx_pruning.staging import checked_destination

_KILL = """
import os, pathlib, random, shutil, signal, sys, time
from tfx_pruning.stripper.strip import strip_saved_model

source, folder = sys.argv[1], pathlib.Path(sys.argv[2])


def child(destination):
    # Forked before TensorFlow has run anything, which spares each child the import.
    pid = os.fork()
    if not pid:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            strip_saved_model(source, destination)
            os._exit(0)
        except BaseException:
            os._exit(1)
    return pid


start = time.monotonic()
assert os.waitpid(child(folder / "whole"), 0)[1] == 0
seconds = time.monotonic() - start
moments = random.Random(7)
for number in range(50):
    pid = child(folder / f"out{number}")
    time.sleep(moments.uniform(0.2, 1.1) * seconds)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    status = os.waitpid(pid, 0)[1]
    print(number, "killed" if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), flush=True)
"""

_STRIP = """
import json, signal, sys, time
from tfx_pruning.cli.main import cli
from tfx_pruning.stripper import strip
from tfx_pruning.stripper.check import verify

print(json.dumps(sorted(sys.modules)), flush=True)

def stop(*unused):
    print("stopped", flush=True)
    time.sleep(600)

verify.verify = stop
# A process that a shell has begun in the background ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)
# What TensorFlow prints when it is imported, the command would have hidden.
print("called", file=sys.stderr, flush=True)
cli(["strip", *sys.argv[1:]])
"""


def _end_while_it_verifies(arguments, number):
    """Runs `tfx-pruning strip`, sends it a signal; returns its exit status, the modules it had loaded, and stderr."""
    command = [sys.executable, "-c", _STRIP, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        loaded = json.loads(child.stdout.readline())
        assert child.stdout.readline() == "stopped\n"
        child.send_signal(number)
        _, errors = child.communicate(timeout=60)
    return child.returncode, loaded, errors.partition("called\n")[2]


@pytest.fixture
def model(tmp_path):
    module = tf.Module()
    module.weight = tf.Variable(2.0, name="weight")
    module.unused = tf.Variable(2.0, name="unused")
    serve = tf.function(lambda x: {"y": x * module.weight}, input_signature=[tf.TensorSpec([None], name="x")])
    tf.saved_model.save(module, tmp_path / "in", signatures=serve)
    return tmp_path / "in"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "said"),
    [
        (signal.SIGTERM, 143, ""),
        (signal.SIGINT, 130, "Interrupted: nothing half done is left. Call the command again to begin anew.\n"),
    ],
)
def test_strip_that_is_ended_by_a_signal_cleans_up(number, status, said, model, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    arguments = [model, tmp_path / "out", "--overwrite", "--export", "frozen_graph"]
    returned, _, errors = _end_while_it_verifies(arguments, number)
    assert (returned, errors) == (status, said)
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]
    assert os.listdir(tmp_path / "out") == ["old"]


@pytest.mark.slow
def test_strip_killed_while_it_verifies_leaves_no_destination_and_can_be_repeated(model, tmp_path, snapshot):
    before = snapshot(model)
    returned, loaded, _ = _end_while_it_verifies([model, tmp_path / "out"], signal.SIGKILL)
    assert returned == -signal.SIGKILL

    (leftover,) = set(os.listdir(tmp_path)) - {"in"}
    assert leftover.startswith(".out.")
    assert leftover.endswith(".stripping")
    assert (tmp_path / leftover / "saved_model.pb").exists()
    assert snapshot(model) == before
    assert strip_saved_model(model, tmp_path / "out").variables_removed == ("unused",)
    assert set(os.listdir(tmp_path)) == {"in", "out"}

    assert not {name.partition(".")[0] for name in loaded} & {"tfx", "keras", "ml_metadata", "apache_beam"}
    assert "tfx_pruning.pruning_trainer" not in loaded


@pytest.mark.slow
def test_strip_killed_at_random_moments_leaves_a_whole_model_or_none(dense_model, tmp_path, snapshot):
    before = snapshot(dense_model)
    command = [sys.executable, "-c", _KILL, str(dense_model), str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stderr[-2000:]
    ends = [line.split()[1] for line in run.stdout.splitlines() if line[:1].isdigit()]
    assert len(ends) == 50
    assert set(ends) <= {"0", "killed"}
    assert ends.count("killed") >= 25
    assert snapshot(dense_model) == before
    whole = snapshot(tmp_path / "whole")
    for number, end in enumerate(ends):
        stripped = tmp_path / f"out{number}"
        assert stripped.exists() or end == "killed"
        if stripped.exists():
            assert snapshot(stripped).keys() == whole.keys()
            assert (
                snapshot(stripped)["variables/variables.data-00000-of-00001"]
                == whole["variables/variables.data-00000-of-00001"]
            )
            tf.saved_model.load(stripped)
    numbered = [f"out{number}" for number in range(50)]
    for left in set(os.listdir(tmp_path)) - {"whole", *numbered}:
        assert left.startswith(".out")
        assert left.endswith(".stripping")
    for name in numbered:
        checked_destination(tmp_path / name, overwrite=True)
    assert set(os.listdir(tmp_path)) <= {"whole", *numbered}
