import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_pruning.pipelines.sweep.bisection import Bisection

SETTINGS = settings(derandomize=True, max_examples=300, deadline=None)


def _search(values, passes):
    """Runs a search; returns it and the values that were tried."""
    bisection, tried = Bisection(values), []
    while (value := bisection.next) is not None:
        tried.append(value)
        bisection.record(passes(value))
    return bisection, tried


@SETTINGS
@given(size=st.integers(0, 300), data=st.data())
def test_the_last_of_those_that_pass_is_found(size, data):
    passing = data.draw(st.integers(0, size))
    bisection, tried = _search(range(size), lambda value: value < passing)
    assert bisection.found == (passing - 1 if passing else None)
    assert len(tried) == len(set(tried))
    assert len(tried) <= math.ceil(math.log2(size + 1))


@SETTINGS
@given(outcomes=st.lists(st.booleans(), max_size=100))
def test_where_outcomes_take_turns_a_passing_value_before_a_failing_one_is_found(outcomes):
    bisection, tried = _search(range(len(outcomes)), outcomes.__getitem__)
    assert len(tried) <= math.ceil(math.log2(len(outcomes) + 1))
    passed = [value for value in tried if outcomes[value]]
    assert bisection.found == (max(passed) if passed else None)
    after = -1 if bisection.found is None else bisection.found
    assert after + 1 == len(outcomes) or not outcomes[after + 1]


def test_values_are_tried_from_the_middle_on():
    _, tried = _search("abcdefg", lambda letter: letter <= "e")
    assert tried == ["d", "f", "e"]


def test_a_search_that_is_over_takes_no_more():
    bisection, _ = _search([1], lambda value: True)
    assert (bisection.found, bisection.next) == (1, None)
    with pytest.raises(ValueError, match="got None: the search is over"):
        bisection.record(True)
