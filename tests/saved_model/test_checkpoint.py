"""The reader of a SavedModel's values."""

import re

import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning.saved_model.checkpoint import Checkpoint, prefix

_KEY = "weight/.ATTRIBUTES/VARIABLE_VALUE"


@pytest.fixture
def folder(tmp_path):
    module = tf.Module()
    module.weight = tf.Variable([[1.0, -0.0]], name="weight")
    tf.saved_model.save(module, tmp_path / "model")
    return str(tmp_path / "model")


def test_checkpoint_reads_values_by_key_and_by_path(folder):
    checkpoint = Checkpoint(folder)
    assert _KEY in checkpoint
    assert checkpoint.shapes[_KEY] == (1, 2)
    assert checkpoint.dtypes[_KEY] == tf.float32
    assert list(checkpoint.shapes) == sorted(checkpoint.shapes)
    for value in (checkpoint.value(_KEY), checkpoint.variable("weight")):
        assert value.tobytes() == np.array([[1.0, -0.0]], np.float32).tobytes()
    assert checkpoint.variable("bias") is None


def test_checkpoint_names_the_model_whose_files_are_lost(folder):
    tf.io.gfile.remove(f"{prefix(folder)}.index")
    with pytest.raises(ValueError, match=re.escape(f"The variables of the SavedModel at {folder!r} cannot be read: ")):
        Checkpoint(folder)
    assert dict(Checkpoint(folder, optional=True).shapes) == {}


def test_checkpoint_refuses_damaged_values_when_they_are_read(folder):
    with open(f"{prefix(folder)}.data-00000-of-00001", "r+b") as stream:
        stream.write(b"\xff")
    with pytest.raises(ValueError, match=r"(?s)cannot be read: .*[Cc]hecksum.*save the model again\.$"):
        Checkpoint(folder).value(_KEY)
