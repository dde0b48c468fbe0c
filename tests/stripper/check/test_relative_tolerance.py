"""By how much the answers of a shrunk model may differ."""

import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning.stripper.check.relative_tolerance import RelativeTolerance, checked_shrink_tolerance


@pytest.mark.parametrize(
    ("dtype", "allowed"), [(tf.float32, 1e-5), (tf.float64, 1e-5), (tf.float16, 1e-2), (tf.bfloat16, 5e-2)]
)
def test_the_limit_grows_with_the_answer_and_falls_with_the_digits_of_its_dtype(dtype, allowed):
    before = np.array([[0.0], [0.0], [1.0], [1.0]]).astype(dtype.as_numpy_dtype)
    gaps = np.array([[0.5], [2.0], [1.5], [4.0]]) * allowed
    after = (before.astype(np.float64) + gaps).astype(dtype.as_numpy_dtype)
    assert RelativeTolerance(1e-5).exceeded(before, after).tolist() == [False, True, False, True]


def test_numbers_that_are_not_finite_must_equal_themselves():
    before = np.array([[np.nan], [np.inf], [-np.inf], [np.inf], [1.0]], np.float32)
    after = np.array([[np.nan], [np.inf], [np.inf], [1.0], [np.nan]], np.float32)
    assert RelativeTolerance(1e-5).exceeded(before, after).tolist() == [False, False, True, True, True]


def test_one_number_of_a_row_that_differs_too_much_is_enough():
    before, after = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)
    after[1, 2] = 1e-3
    assert RelativeTolerance(1e-5).exceeded(before, after).tolist() == [False, True]


def test_a_model_that_is_not_shrunk_has_no_such_tolerance():
    assert checked_shrink_tolerance(False, None) is None
    assert checked_shrink_tolerance(True, None) == 1e-5
    assert checked_shrink_tolerance(True, 2) == 2.0
