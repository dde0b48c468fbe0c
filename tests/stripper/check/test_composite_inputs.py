"""Inputs that are the parts of one SparseTensor or RaggedTensor fit each other."""

import os

import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning import strip_saved_model
from tfx_pruning.stripper.check.composite_inputs import RaggedParts, SparseParts, composites
from tfx_pruning.stripper.check.parsed_features import ParsedFeatures
from tfx_pruning.stripper.check.signature_inputs import synthetic_batches
from tfx_pruning.stripper.check.verify import VerificationError

_INDICES, _SHAPE = tf.TensorSpec([None, 2], tf.int64), tf.TensorSpec([2], tf.int64)
_FLOATS, _INTS, _SHORT = (tf.TensorSpec([None], dtype) for dtype in (tf.float32, tf.int64, tf.int32))
_SPARSE = {"x": _INDICES, "x_1": _FLOATS, "x_2": _SHAPE}


@pytest.mark.parametrize(
    ("specs", "expected"),
    [
        (_SPARSE, [SparseParts("x", "x_1", "x_2", 2)]),
        ({"x_2": _SHAPE, "x": _INDICES, "x_1": _FLOATS}, [SparseParts("x", "x_1", "x_2", 2)]),
        ({"x": _FLOATS, "x_1": _INTS}, [RaggedParts("x", (("x_1", tf.int64),))]),
        (
            {"x": tf.TensorSpec([None, 4]), "x_1": _SHORT, "x_2": _SHORT},
            [RaggedParts("x", (("x_1", tf.int32), ("x_2", tf.int32)))],
        ),
        (
            {"d": _SHORT, "d_1": _SHORT, "d_2": _INDICES, "d_3": _INTS, "d_4": _SHAPE, "y": _FLOATS},
            [RaggedParts("d", (("d_1", tf.int32),)), SparseParts("d_2", "d_3", "d_4", 2)],
        ),
        (
            {"a/indices": _INDICES, "a/values": _FLOATS, "a/dense_shape": _SHAPE},
            [SparseParts("a/indices", "a/values", "a/dense_shape", 2)],
        ),
        ({"flat_values": _FLOATS, "row_splits": _INTS}, [RaggedParts("flat_values", (("row_splits", tf.int64),))]),
        ({"x": _FLOATS, "y": _INTS}, []),
        ({"x": _FLOATS, "x_1": _FLOATS}, []),
        ({"x": _INDICES, "x_1": _FLOATS, "x_2": tf.TensorSpec([3], tf.int64)}, []),
        ({"x": tf.TensorSpec([5]), "x_1": _INTS}, []),
    ],
)
def test_parts_are_known_by_their_names_and_specs(specs, expected):
    assert list(composites(specs)) == expected


def test_several_ragged_tensors_may_follow_each_other():
    specs = {"d": _FLOATS, "d_1": _INTS, "d_2": _INTS, "d_3": _INTS}
    assert [len(each.splits) for each in composites(specs)] == [3]
    assert [(each.values, each.splits[0][0]) for each in composites(specs, most_splits=1)] == [
        ("d", "d_1"),
        ("d_2", "d_3"),
    ]


def _first(specs, sizes=()):
    return [next(tries) for tries in synthetic_batches(specs, ParsedFeatures((), False, sizes), ())]


def test_drawn_sparse_tensors_are_valid_and_ordered():
    for inputs, rows in zip(_first(_SPARSE), (1, 2, 61), strict=True):
        tensor = tf.SparseTensor(inputs["x"], inputs["x_1"], inputs["x_2"])
        assert tensor.dense_shape.numpy().tolist() == [rows, 8]
        np.testing.assert_array_equal(tf.sparse.reorder(tensor).indices, tensor.indices)
        assert np.count_nonzero(tf.sparse.to_dense(tensor)) == len(tensor.values) > 0


def test_drawn_sparse_tensors_have_the_weights_sizes_too():
    tries = next(synthetic_batches(_SPARSE, ParsedFeatures((), False, (7, 1_000_000)), ()))
    widths = [inputs["x_2"].numpy().tolist()[1] for inputs in tries]
    assert set(widths[:5]) == {8, 32, 1, 7, 1_000_000}


def test_drawn_ragged_tensors_are_valid():
    specs = {"x": tf.TensorSpec([None, 4]), "x_1": _INTS, "x_2": _INTS}
    for inputs, rows in zip(_first(specs), (1, 2, 61), strict=True):
        tensor = tf.RaggedTensor.from_nested_row_splits(inputs["x"], [inputs["x_1"], inputs["x_2"]], validate=True)
        assert tensor.nrows() == rows
        assert tensor.flat_values.shape[1:] == [4]


class _Model(tf.Module):
    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(tf.random.stateless_normal([7, 3], (1, 2)), name="kernel")
        self.table = tf.Variable(tf.random.stateless_normal([9], (3, 4)), name="table")
        self.unused = tf.Variable(1.0, name="unused")

    @tf.function(input_signature=[tf.SparseTensorSpec([None, 7], tf.float32)])
    def sparse(self, x):
        return {"y": tf.sparse.sparse_dense_matmul(x, self.kernel)}

    @tf.function(input_signature=[tf.RaggedTensorSpec([None, None], tf.int64)])
    def ragged(self, x):
        return {"y": tf.reduce_sum(tf.gather(self.table, x), axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None]), tf.TensorSpec([None], tf.int64)])
    def plain(self, x, x_1):
        return {"y": x * tf.cast(x_1, tf.float32) * self.table[0]}

    @tf.function(input_signature=[tf.TensorSpec([None, None])])
    def wide(self, x):
        return {"y": x @ self.kernel}

    @tf.function(input_signature=[tf.TensorSpec([None])])
    def python(self, x):
        added = tf.py_function(lambda value: value + 1.0, [x], tf.float32)
        return {"y": tf.ensure_shape(added, [None]) * self.table[0]}


def test_signatures_of_parts_are_stripped_and_so_are_those_that_only_look_so(tmp_path):
    model = _Model()
    signatures = {name: getattr(model, name) for name in ("sparse", "ragged", "plain", "wide")}
    tf.saved_model.save(model, tmp_path / "in", signatures=signatures)
    report = strip_saved_model(tmp_path / "in", tmp_path / "out")
    assert set(report.signatures_checked) == set(signatures)
    assert report.variables_removed == ("unused",)


def test_a_signature_that_calls_python_is_refused_at_once(tmp_path):
    model = _Model()
    tf.saved_model.save(model, tmp_path / "in", signatures={"python": model.python, "wide": model.wide})
    with pytest.raises(VerificationError, match=r"Signature 'python' calls Python code, as tf\.py_function"):
        strip_saved_model(tmp_path / "in", tmp_path / "out")
    assert os.listdir(tmp_path) == ["in"]
