import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfx_pruning.engine.history.histogram import BINS, Histogram

pytestmark = pytest.mark.numerical


def test_zeros_are_apart_and_every_other_value_is_in_a_bin():
    values = np.array([[0.0, -1.0, 1.0], [0.0, 0.51, np.nan]], np.float32)
    histogram = Histogram.of(values)
    assert (histogram.zeros, sum(histogram.counts), histogram.total) == (2, 3, 5)
    assert (histogram.low, histogram.high) == (-1.0, 1.0)
    assert histogram.counts[0] == histogram.counts[-1] == 1
    assert np.flatnonzero(histogram.counts)[1] == BINS * 3 // 4
    np.testing.assert_allclose(histogram.edges, np.linspace(-1, 1, BINS + 1))


def test_scores_are_counted_on_a_logarithmic_scale():
    histogram = Histogram.of_scores(np.array([1e-6, 1e-3, 1e-3, 1.0, 0.0, np.finfo(np.float32).smallest_normal]))
    assert histogram.zeros == 2
    # The float32 next to 1e-6; its logarithm is taken in float64, whatever the processor has for float32.
    assert histogram.low == pytest.approx(float(np.float32(1e-6)), rel=1e-12)
    assert histogram.high == pytest.approx(1.0, rel=1e-12)
    assert histogram.counts[0] == histogram.counts[-1] == 1
    assert sum(histogram.counts[BINS // 2 - 1 : BINS // 2 + 1]) == 2
    assert np.all(np.diff(np.log(histogram.edges)) == pytest.approx(np.log(10) * 6 / BINS))


@pytest.mark.parametrize("make", [Histogram.of, Histogram.of_scores])
def test_more_values_than_are_counted_at_once_are_all_counted(make):
    values = np.random.default_rng(0).lognormal(sigma=3.0, size=200_001).astype(np.float32)
    histogram = make(values)
    assert sum(histogram.counts) == values.size
    scaled = np.log(values.astype(float)) if histogram.logarithmic else values.astype(float)
    expected = np.histogram(scaled, BINS, (scaled.min(), scaled.max()))[0]
    # A value at an edge may fall to either side of it.
    assert np.abs(np.cumsum(histogram.counts) - np.cumsum(expected)).max() <= 1


@pytest.mark.parametrize("values", [[], [0.0, 0.0]])
def test_nothing_but_zeros_makes_no_bins(values):
    histogram = Histogram.of(np.array(values))
    assert (histogram.counts, histogram.zeros) == ((), len(values))
    assert len(histogram.edges) == 1


def test_equal_values_fall_into_one_bin():
    assert max(Histogram.of(np.full(7, 0.25)).counts) == 7


def test_json_gives_it_back():
    histogram = Histogram.of_scores(np.array([0.1, 0.2, 0.0]))
    assert Histogram.from_dict(json.loads(json.dumps(dataclasses.asdict(histogram)))) == histogram


_FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True, allow_subnormal=True)
_LARGEST, _TINIEST = np.finfo(np.float32).max, np.finfo(np.float32).smallest_subnormal


def _assert_all_are_counted(histogram, values):
    assert histogram.total == np.count_nonzero(np.isfinite(values))
    assert np.all(np.isfinite(histogram.edges))
    assert np.all(np.diff(histogram.edges) >= 0)
    assert Histogram.from_dict(json.loads(json.dumps(dataclasses.asdict(histogram), allow_nan=False))) == histogram


@settings(derandomize=True, deadline=None, max_examples=300)
@given(hnp.arrays(np.float32, st.integers(0, 20), elements=_FLOATS))
def test_every_finite_weight_is_counted(values):
    _assert_all_are_counted(Histogram.of(values), values)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(hnp.arrays(np.float32, st.integers(0, 20), elements=_FLOATS))
def test_every_finite_score_is_counted(values):
    _assert_all_are_counted(Histogram.of_scores(np.abs(values)), values)


@pytest.mark.parametrize("make", [Histogram.of, Histogram.of_scores])
@pytest.mark.parametrize(
    ("low", "high"), [(1.0, 1.0 + 1.2e-7), (1.0, 1.0 + 2e-6), (_TINIEST, 3 * _TINIEST), (_TINIEST, _LARGEST)]
)
def test_close_tiny_and_huge_values_are_counted(make, low, high):
    values = np.linspace(low, high, 80, dtype=np.float32)
    _assert_all_are_counted(make(values), values)


def test_the_widest_range_there_is_is_counted():
    values = np.array([-_LARGEST, 0.0, _LARGEST], np.float32)
    histogram = Histogram.of(values)
    _assert_all_are_counted(histogram, values)
    assert (histogram.counts[0], histogram.counts[-1]) == (1, 1)
