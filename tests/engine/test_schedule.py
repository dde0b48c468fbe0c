import hypothesis
import pytest
from hypothesis import strategies as st

from tfx_pruning.engine.schedule import PolynomialSchedule, kept_count


@pytest.mark.parametrize(
    ("step", "sparsity"),
    [(0, 0.1), (100, 0.1), (150, 0.9 - 0.8 * 0.75**3), (200, 0.8), (300, 0.9), (301, 0.9), (10**9, 0.9)],
)
def test_cubic_ramp(step, sparsity):
    schedule = PolynomialSchedule(0.1, 0.9, begin_step=100, end_step=300, exponent=3.0)
    assert float(schedule(step)) == pytest.approx(sparsity, abs=1e-15)


def test_target_is_exact_at_the_end():
    assert float(PolynomialSchedule(0.3, 0.1 + 0.2, 0, 7, 1.7)(7)) == 0.1 + 0.2


@hypothesis.settings(derandomize=True, deadline=None, max_examples=50)
@hypothesis.given(
    st.floats(0, 0.99),
    st.floats(0, 0.99),
    st.integers(0, 100),
    st.integers(1, 100),
    st.floats(0.2, 9),
    st.integers(0, 250),
)
def test_is_monotone_and_stays_between_its_ends(initial, target, begin, length, exponent, step):
    schedule = PolynomialSchedule(initial, target, begin, begin + length, exponent)
    now, later = float(schedule(step)), float(schedule(step + 1))
    assert min(initial, target) - 1e-12 <= now <= max(initial, target) + 1e-12
    assert (later - now) * (target - initial) >= -1e-12


@hypothesis.settings(derandomize=True, deadline=None, max_examples=200)
@hypothesis.given(st.integers(1, 2**40), st.floats(0, 1, exclude_max=True))
def test_kept_count_is_pythons_round(size, sparsity):
    assert int(kept_count(size, sparsity)) == round(size * (1.0 - sparsity))
