"""Units, and what ties them together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_pruning.structure.groups import PINNED
from tfx_pruning.structure.units import Units


def test_units_of_two_axes_are_tied_index_by_index():
    units = Units()
    one, other, third = units.axis(3), units.axis(3), units.axis(2)
    units.tie(one, other)
    label = units.groups().label
    assert label[one].tolist() == label[other].tolist() == one.tolist()
    assert label[third].tolist() == third.tolist()


def test_an_axis_that_is_tied_to_none_is_pinned():
    units = Units()
    axis = units.axis(4)
    assert units.tie(axis, None) is None
    assert units.groups().of(axis).tolist() == [PINNED] * 4


@pytest.mark.parametrize("size", [None, 0, 1])
def test_an_axis_of_less_than_two_indices_is_never_cut(size):
    assert Units().axis(size) is None


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), max_size=40))
def test_groups_are_the_parts_that_ties_join(pairs):
    units = Units()
    assert units.axis(30).tolist() == list(range(1, 31))
    for one, other in pairs:
        units.tie(np.array([one]), np.array([other]))
    expected = list(range(31))
    for _ in range(31):
        for one, other in pairs:
            expected[one] = expected[other] = min(expected[one], expected[other])
    assert units.groups().label.tolist() == expected
