"""output_differences: which differences between two answers it sees, example by example."""

import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning.stripper.check.answers import checked_tolerance, in_words, output_differences

pytestmark = pytest.mark.numerical
_SPARSE = [[0.0, 1.0], [2.0, 0.0], [0.0, 0.0]]


def _one(before, after, examples=None, tolerance=0.0):
    """The only difference, as lists."""
    (difference,) = output_differences({"y": before}, {"y": after}, examples, tolerance).values()
    return difference.differing.tolist(), difference.exceeding.tolist(), difference.distance.tolist()


def test_differences_are_those_of_each_example():
    before = tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    after = tf.constant([[1.0, 2.0], [3.5, 4.25], [5.0, 8.0]])
    assert _one(before, after, examples=3) == ([False, True, True], [False, True, True], [0.0, 0.5, 2.0])


def test_differences_of_equal_answers_are_none():
    answer = {"a": tf.constant([np.nan, -0.0, np.inf]), "b": tf.constant([b"x\0", b""]), "c": tf.constant(True)}
    assert output_differences(answer, dict(answer), examples=3) == {}


def test_differences_are_named_by_output_in_order():
    before = {"b": tf.constant([1]), "a": tf.constant([1.0]), "c": tf.constant([1])}
    after = {"b": tf.constant([2]), "a": tf.constant([2.0]), "c": tf.constant([1])}
    assert list(output_differences(before, after, examples=1)) == ["a", "b"]


def test_difference_within_the_tolerance_does_not_exceed():
    before, after = tf.zeros([3]), tf.constant([0.25, 0.5, 0.75])
    assert _one(before, after, 3, tolerance=0.5) == ([True] * 3, [False, False, True], [0.25, 0.5, 0.75])


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float64, tf.complex64])
def test_tolerance_is_for_floating_point_numbers_of_every_size(dtype):
    before, after = tf.cast([1.0, 1.0], dtype), tf.cast([1.0, 1.5], dtype)
    assert _one(before, after, 2, tolerance=0.5) == ([False, True], [False, False], [0.0, 0.5])
    assert _one(before, after, 2, tolerance=0.25) == ([False, True], [False, True], [0.0, 0.5])


@pytest.mark.parametrize(
    ("before", "after", "distance"), [([1, 2], [1, 3], 1.0), ([True, True], [True, False], 1.0)], ids=["int", "bool"]
)
def test_tolerance_is_not_for_integers(before, after, distance):
    assert _one(tf.constant(before), tf.constant(after), 2, tolerance=9.0) == (
        [False, True],
        [False, True],
        [0.0, distance],
    )


def test_strings_are_compared_to_their_last_byte_and_have_no_distance():
    before, after = tf.constant([b"a", b"a\0"]), tf.constant([b"a", b"a"])
    assert _one(before, after, 2, tolerance=9.0) == ([False, True], [False, True], [0.0, 0.0])
    assert _one(tf.constant(b"a\0"), tf.constant(b"a")) == ([True], [True], [0.0])


def test_sign_of_zero_differs_unless_there_is_a_tolerance():
    before, after = tf.constant([0.0]), tf.constant([-0.0])
    assert _one(before, after, 1) == ([True], [True], [0.0])
    assert _one(before, after, 1, tolerance=1e-9) == ([True], [False], [0.0])


def test_nan_differs_from_another_nan_unless_there_is_a_tolerance():
    before, after = (tf.bitcast(tf.constant([bits], tf.uint32), tf.float32) for bits in (0x7FC00000, 0x7FC00001))
    assert _one(before, after, 1) == ([True], [True], [0.0])
    assert _one(before, after, 1, tolerance=1e-9) == ([True], [False], [0.0])


@pytest.mark.parametrize(("before", "after"), [(1.0, np.nan), (np.nan, 1.0), (1.0, np.inf), (np.inf, -np.inf)])
def test_number_that_is_lost_is_infinitely_far(before, after):
    before, after = tf.constant([before, 0.0]), tf.constant([after, 0.0])
    assert _one(before, after, 2, tolerance=1e30) == ([True, False], [True, False], [np.inf, 0.0])


def test_output_without_examples_is_compared_as_a_whole():
    assert _one(tf.constant(1.0), tf.constant(1.5), examples=3) == ([True] * 3, [True] * 3, [0.5] * 3)
    assert _one(tf.zeros([2]), tf.ones([2]), examples=3) == ([True] * 3, [True] * 3, [1.0] * 3)


def test_another_shape_is_a_difference_of_every_example():
    assert _one(tf.zeros([2, 1]), tf.zeros([2, 2]), 2, tolerance=9.0) == ([True] * 2, [True] * 2, [np.inf] * 2)
    assert output_differences({"y": tf.zeros([2, 0])}, {"y": tf.zeros([2, 0])}, 2) == {}


def test_ragged_outputs_are_compared_by_example():
    before = tf.ragged.constant([[1.0], [2.0, 3.0], []])
    values = tf.ragged.constant([[1.0], [2.0, 3.5], []])
    lengths = tf.ragged.constant([[1.0], [2.0], [3.0]])
    assert _one(before, values, 3) == ([False, True, False], [False, True, False], [0.0, 0.5, 0.0])
    assert _one(before, lengths, 3)[0] == [False, True, True]
    assert output_differences({"y": before}, {"y": before}, 3) == {}


def test_sparse_outputs_are_compared_by_example():
    before = tf.sparse.from_dense(_SPARSE)
    values = tf.sparse.from_dense([[0.0, 1.0], [2.5, 0.0], [0.0, 0.0]])
    places = tf.sparse.from_dense([[0.0, 1.0], [2.0, 0.0], [0.0, 4.0]])
    assert _one(before, values, 3) == ([False, True, False], [False, True, False], [0.0, 0.5, 0.0])
    assert _one(before, places, 3) == ([False, False, True], [False, False, True], [0.0, 0.0, np.inf])


def _session_value(dense):
    """What a session gives for a sparse tensor."""
    sparse = tf.sparse.from_dense(dense)
    return tf.compat.v1.SparseTensorValue(
        *(np.array(each) for each in (sparse.indices, sparse.values, sparse.dense_shape))
    )


def test_arrays_of_a_session_are_compared_by_example():
    before, after = np.zeros((3, 2), np.float32), np.array([[0, 0], [0.25, -0.5], [0, -0.0]], np.float32)
    assert _one(before, after, 3) == ([False, True, True], [False, True, True], [0.0, 0.5, 0.0])
    assert _one(before, after, 3, tolerance=0.5) == ([False, True, True], [False] * 3, [0.0, 0.5, 0.0])
    assert output_differences({"y": before}, {"y": before.copy()}, 3) == {}


def test_strings_and_scalars_of_a_session_are_compared():
    before, after = np.array([b"a", b"a\0"], object), np.array([b"a", b"a"], object)
    assert _one(before, after, 2) == ([False, True], [False, True], [0.0, 0.0])
    assert _one(np.array(1.0), np.array(1.5), 3) == ([True] * 3, [True] * 3, [0.5] * 3)


def test_sparse_values_of_a_session_are_compared_by_example():
    before = _session_value(_SPARSE)
    assert output_differences({"y": before}, {"y": _session_value(_SPARSE)}, 3) == {}
    values = _session_value([[0.0, 1.0], [2.5, 0.0], [0.0, 0.0]])
    places = _session_value([[0.0, 1.0], [2.0, 0.0], [0.0, 4.0]])
    assert _one(before, values, 3) == ([False, True, False], [False, True, False], [0.0, 0.5, 0.0])
    assert _one(before, places, 3) == ([False, False, True], [False, False, True], [0.0, 0.0, np.inf])
    assert in_words(before, values, 1) == "[2.0] at [[0, 0]] became [2.5] at [[0, 0]]"


def test_words_on_arrays_of_a_session_are_those_on_tensors():
    assert in_words(np.array([1.0, 2.0]), np.array([1.0, 2.5]), 1) == "2.0 became 2.5"
    assert in_words(np.array([[1], [2]]), np.array([[1], [3]]), 1) == "[2] became [3]"
    assert in_words(np.array([b"a"], object), np.array([b"b\0"], object), 0) == r"b'a' became b'b\x00'"
    assert in_words([np.array([1.0]), np.array([0, 1])], [np.array([2.0]), np.array([0, 1])], 0) == (
        "[[1.0], [0, 1]] became [[2.0], [0, 1]]"
    )


def test_words_are_of_the_example_and_short():
    assert in_words(tf.constant([[1.0], [2.0]]), tf.constant([[1.0], [2.5]]), 1) == "[2.0] became [2.5]"
    assert in_words(tf.ragged.constant([[1], [2, 3]]), tf.ragged.constant([[1], [2]]), 1) == "[2, 3] became [2]"
    assert in_words(tf.constant([0.0]), tf.constant([-0.0])) == "[0.0] became [-0.0]"
    assert in_words(tf.constant([b"a"]), tf.constant([b"b\0"]), 0) == r"b'a' became b'b\x00'"
    assert len(in_words(tf.zeros([1, 10_000]), tf.ones([1, 10_000]), 0)) < 250


@pytest.mark.parametrize("value", [0, 0.0, 1e-6, np.float32(0.5)])
def test_tolerance_is_a_float(value):
    assert checked_tolerance(value) == value
    assert type(checked_tolerance(value)) is float


@pytest.mark.parametrize("value", [-1e-9, float("nan"), float("inf")])
def test_tolerance_is_finite_and_not_negative(value):
    with pytest.raises(ValueError, match=r"tolerance is .*, expected a finite number of at least 0.0"):
        checked_tolerance(value)


@pytest.mark.parametrize("value", ["0.1", None, True])
def test_tolerance_is_a_number(value):
    with pytest.raises(TypeError, match=r"tolerance is .* of type .*, expected a number"):
        checked_tolerance(value)
