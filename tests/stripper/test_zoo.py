"""strip_saved_model on every kind of model: answers, what is left, sparsity, size, and both of TensorFlow's loaders."""

import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

from helpers import graph_models
from helpers.zoo import ZOO
from tfx_pruning import strip_saved_model

_QUICK = ("magnitude", "lookup_table", "tensorflow_1_plain", "masked_forward_pass")
_LEFT_OVER = re.compile(rb"pruning|masked_weight|/threshold|old_weight|optimizer", re.IGNORECASE)


def test_the_zoo_is_large():
    assert len(ZOO) >= 25


def _answers(path, inputs):
    loaded = tf.saved_model.load(path)
    return {
        name: {key: value.numpy() for key, value in loaded.signatures[name](**_tensors(each)).items()}
        for name, each in inputs.items()
    }


def _tensors(inputs):
    return {name: tf.constant(value) for name, value in inputs.items()}


def _assert_same_bits(before, after):
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert value.dtype == after[name].dtype
        assert value.shape == after[name].shape
        assert value.tobytes() == after[name].tobytes()


@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=pytest.mark.numerical if each in _QUICK else pytest.mark.slow) for each in ZOO],
)
def test_strip(name, tmp_path, snapshot):
    source, stripped = tmp_path / "source", tmp_path / "stripped"
    specimen = ZOO[name](str(source))
    files = snapshot(source)
    expected = _answers(str(source), specimen.inputs)
    report = strip_saved_model(source, stripped)

    assert snapshot(source) == files
    for signature, answer in _answers(str(stripped), specimen.inputs).items():
        _assert_same_bits(expected[signature], answer)
    for signature, inputs in specimen.inputs.items():
        # As the C++ loader of TensorFlow Serving sees it, whose graph optimizations may change last bits. Not so the
        # source: what Keras 3 saves with an optimizer, that loader finds no variables in.
        for key, value in graph_models.run(stripped, inputs, signature).items():
            np.testing.assert_allclose(value, expected[signature][key], rtol=1e-5, atol=1e-6)
    assert sorted(report.signatures_checked) == sorted(specimen.inputs)

    kept = graph_models.variables(stripped)
    assert not [key for key in kept if _LEFT_OVER.search(key.encode())]
    assert not _LEFT_OVER.findall((stripped / "saved_model.pb").read_bytes())
    weights = [value for value in kept.values() if getattr(value, "ndim", 0) >= 2]
    assert sum(int(np.sum(value == 0)) for value in weights) == specimen.zeros
    assert not any(np.signbit(value[value == 0]).any() for value in weights)

    data = sum(file.stat().st_size for file in pathlib.Path(stripped, "variables").glob("*.data-*"))
    values = sum(value.nbytes for key, value in kept.items() if key != "_CHECKPOINTABLE_OBJECT_GRAPH")
    assert data <= 1.05 * values + 20_000
