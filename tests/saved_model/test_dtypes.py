"""Every dtype that TensorFlow saves, as a scalar and as a vector, is stripped, inspected and reported."""

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning import strip_saved_model
from tfx_pruning.cli.inventory import inventory
from tfx_pruning.report.page import page
from tfx_pruning.report.saved_weights import saved_model_report
from tfx_pruning.saved_model.variables import SavedVariables
from tfx_pruning.stripper.report import strip_document

_FLOATS = (
    tf.bfloat16,
    tf.float16,
    tf.float32,
    tf.float64,
    tf.dtypes.experimental.float8_e5m2,
    tf.dtypes.experimental.float8_e4m3fn,
    tf.as_dtype(ml_dtypes.float4_e2m1fn),
)
_OTHERS = (
    tf.bool,
    tf.complex64,
    tf.complex128,
    tf.int8,
    tf.int16,
    tf.int32,
    tf.int64,
    tf.uint8,
    tf.uint16,
    tf.uint32,
    tf.uint64,
    tf.as_dtype(ml_dtypes.int2),
    tf.as_dtype(ml_dtypes.int4),
    tf.as_dtype(ml_dtypes.uint2),
    tf.as_dtype(ml_dtypes.uint4),
    tf.qint8,
    tf.quint8,
    tf.qint32,
)


def _saved(module, path):
    variables = [module.scalar, module.vector]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def serve(x):
        # Strings and narrow numbers cannot be computed with everywhere; they are captured all the same.
        read = [tf.identity(variable) for variable in variables]
        return {"y": x, "size": tf.add_n([tf.size(each) for each in read])}

    tf.saved_model.save(module, path, signatures=serve)


def _stripped(source, tmp_path):
    """Strips, and calls all that shows a model; returns what shows its variables."""
    report = strip_saved_model(source, tmp_path / "stripped")
    assert report.variables_removed == ("unused",)
    page(strip_document(source, tmp_path / "stripped", report))
    return tmp_path / "stripped"


def _module(scalar, vector):
    module = tf.Module()
    module.scalar, module.vector = tf.Variable(scalar, name="scalar"), tf.Variable(vector, name="vector")
    module.unused = tf.Variable(1.0, name="unused")
    return module


@pytest.mark.parametrize("dtype", [*_FLOATS, *_OTHERS], ids=lambda dtype: dtype.name)
def test_numbers_of_every_dtype_are_stripped_and_shown(dtype, tmp_path):
    values = np.array([1, 0, 1]).astype(dtype.as_numpy_dtype)
    _saved(_module(tf.constant(values[0], dtype), tf.constant(values, dtype)), tmp_path / "in")
    for folder in (tmp_path / "in", _stripped(tmp_path / "in", tmp_path)):
        saved = SavedVariables(folder)
        numbers = {each.name: saved.value(each).tolist() for each in saved if each.name != "unused"}
        assert numbers == {"scalar": 1, "vector": [1, 0, 1]}
        found = {each.name: each for each in inventory(str(folder)).variables}
        assert (found["scalar"].nonzeros, found["scalar"].parameters) == (1, 1)
        assert (found["vector"].nonzeros, found["vector"].parameters) == (2, 3)
        weights = {weight.path: weight.nonzero for weight in saved_model_report(folder).weights}
        assert [weights.get(name) for name in ("scalar", "vector")] == ([1, 2] if dtype in _FLOATS else [None, None])


def test_strings_are_stripped_and_shown(tmp_path):
    _saved(_module("v1", ["a", "", "bc"]), tmp_path / "in")
    for folder in (tmp_path / "in", _stripped(tmp_path / "in", tmp_path)):
        saved = SavedVariables(folder)
        values = {each.name: saved.value(each) for each in saved if each.name != "unused"}
        assert {name: (value.shape, value.tolist()) for name, value in values.items()} == {
            "scalar": ((), b"v1"),
            "vector": ((3,), [b"a", b"", b"bc"]),
        }
        found = {each.name: each for each in inventory(str(folder)).variables}
        assert (found["scalar"].dtype, found["scalar"].shape, found["scalar"].bytes) == ("string", (), 2)
        assert (found["vector"].bytes, found["vector"].nonzeros) == (3, None)
        assert {weight.path for weight in saved_model_report(folder).weights} <= {"unused"}


def test_a_scalar_string_of_tensorflow_1_is_stripped_and_shown(tmp_path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None], name="x")
        weight = tf.compat.v1.get_variable("weight", initializer=2.0, use_resource=True)
        version = tf.compat.v1.get_variable("version", initializer="v1", use_resource=True)
        outputs = {"y": x * weight, "version": tf.identity(version)}
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "in"), {"x": x}, outputs)
    report = strip_saved_model(tmp_path / "in", tmp_path / "stripped")
    document = strip_document(tmp_path / "in", tmp_path / "stripped", report)
    assert [(each.path, each.shape, each.nonzero) for each in document.weights] == [("weight", (), 1)]
    for folder in (tmp_path / "in", tmp_path / "stripped"):
        found = {each.name: (each.dtype, each.bytes) for each in inventory(str(folder)).variables}
        assert found == {"version": ("string", 2), "weight": ("float32", 4)}
