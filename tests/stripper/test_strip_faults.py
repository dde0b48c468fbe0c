"""strip_saved_model on damaged files and a full disk: a clear error, and nothing at the destination."""

import os
import subprocess

import pytest
import tensorflow as tf

from tfx_pruning import apply_mask, strip_saved_model

_VALUES = "variables/variables.data-00000-of-00001"


@pytest.fixture(params=["plain", "masked"])
def model(request, tmp_path):
    """A SavedModel with one weight, whose forward pass has a mask or not."""
    module = tf.Module()
    module.weight = tf.Variable(tf.random.stateless_normal([64, 4], (1, 2)), name="weight")
    read = apply_mask if request.param == "masked" else tf.convert_to_tensor

    @tf.function(input_signature=[tf.TensorSpec([None, 64], name="x")])
    def serve(x):
        return {"y": x @ read(module.weight)}

    serve(tf.ones([1, 64]))
    tf.saved_model.save(module, tmp_path / "in", signatures=serve)
    return tmp_path / "in"


def test_strip_refuses_values_that_are_damaged(model, tmp_path):
    content = bytearray((model / _VALUES).read_bytes())
    content[100] ^= 0xFF
    (model / _VALUES).write_bytes(content)
    with pytest.raises(
        ValueError, match=r"(?s)in' cannot be (loaded|read): .*[Cc]hecksum.*damaged, save the model again"
    ):
        strip_saved_model(model, tmp_path / "out")
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.parametrize("lost", [_VALUES, "variables/variables.index"])
def test_strip_refuses_values_that_are_lost(lost, model, tmp_path):
    (model / lost).unlink()
    with pytest.raises(ValueError, match=r"(?s)in' cannot be (loaded|read): .*save the model again"):
        strip_saved_model(model, tmp_path / "out")
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_strip_refuses_a_saved_model_file_that_is_cut_short(part, model, tmp_path):
    content = (model / "saved_model.pb").read_bytes()
    (model / "saved_model.pb").write_bytes(content[: int(len(content) * part)])
    with pytest.raises(ValueError, match=r"saved_model\.pb' is not a SavedModel: its \d+ bytes cannot be parsed"):
        strip_saved_model(model, tmp_path / "out")
    assert os.listdir(tmp_path) == ["in"]


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 16 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"A file system cannot be mounted here: {mounted.stderr.decode()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
def test_strip_to_a_full_disk_leaves_nothing(model, small_disk):
    with pytest.raises(OSError, match=r"cannot be written to '.*disk': .*No space left on device.*with room"):
        strip_saved_model(model, small_disk / "out")
    assert os.listdir(small_disk) == []
