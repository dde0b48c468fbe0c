import math

import hypothesis
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tfx_pruning import PruningHParams
from tfx_pruning.engine.ranking.schedule import (
    ConstantSchedule,
    CosineSchedule,
    ExternalSparsity,
    OneShotSchedule,
    PolynomialSchedule,
    kept_count,
    schedule_of,
)


@pytest.mark.parametrize(
    ("step", "sparsity"),
    [(0, 0.1), (100, 0.1), (150, 0.9 - 0.8 * 0.75**3), (200, 0.8), (300, 0.9), (301, 0.9), (10**9, 0.9)],
)
def test_cubic_ramp(step, sparsity):
    schedule = PolynomialSchedule(0.1, 0.9, begin_step=100, end_step=300, exponent=3.0)
    assert float(schedule(step)) == pytest.approx(sparsity, abs=1e-15)


@pytest.mark.parametrize(
    ("step", "sparsity"),
    [
        (0, 0.1),
        (100, 0.1),
        (150, 0.9 - 0.8 * (1 + math.sqrt(0.5)) / 2),
        (200, 0.5),
        (250, 0.9 - 0.8 * (1 - math.sqrt(0.5)) / 2),
        (300, 0.9),
        (10**9, 0.9),
    ],
)
def test_cosine_ramp(step, sparsity):
    assert float(CosineSchedule(0.1, 0.9, begin_step=100, end_step=300)(step)) == pytest.approx(sparsity, abs=1e-15)


@pytest.mark.parametrize(
    ("sparsity_function", "sparsities"),
    [
        ("polynomial", [0.2, 0.2, 0.4, 0.6, 0.6, 0.6]),
        ("cosine", [0.2, 0.2, 0.4, 0.6, 0.6, 0.6]),
        ("constant", [0.2, 0.6, 0.6, 0.6, 0.6, 0.6]),
        ("one_shot", [0.2, 0.2, 0.2, 0.6, 0.6, 0.6]),
    ],
)
def test_sparsity_function_chooses_the_schedule(sparsity_function, sparsities):
    hparams = PruningHParams(
        sparsity_function=sparsity_function,
        initial_sparsity=0.2,
        target_sparsity=0.9,
        sparsity_function_begin_step=10,
        sparsity_function_end_step=20,
        sparsity_function_exponent=1.0,
    )
    ramp = schedule_of(hparams, 0.6)
    assert (ramp.initial_sparsity, ramp.target_sparsity) == (0.2, 0.6)
    assert [float(ramp(step)) for step in (9, 10, 15, 20, 21, 10**9)] == pytest.approx(sparsities, abs=1e-15)
    assert ramp(9).dtype == tf.float64
    in_graph = tf.function(ramp, input_signature=[tf.TensorSpec([], tf.int64)])
    assert [float(in_graph(step)) for step in (9, 10, 15, 20, 21)] == pytest.approx(sparsities[:5], abs=1e-15)
    assert float(in_graph(hparams.target_step)) == 0.6
    assert float(in_graph(hparams.target_step - 1)) != 0.6


def test_one_step_is_exact_on_both_sides():
    for ramp in (ConstantSchedule(0.1 + 0.2, 0.7 + 0.1, 5, 9), OneShotSchedule(0.1 + 0.2, 0.7 + 0.1, 1, 5)):
        assert [float(ramp(step)) for step in (0, 4, 5, 6)] == [0.1 + 0.2] * 2 + [0.7 + 0.1] * 2


@pytest.mark.parametrize("ramp", [PolynomialSchedule(0.3, 0.1 + 0.2, 0, 7, 1.7), CosineSchedule(0.05, 0.1 + 0.2, 0, 7)])
def test_target_is_exact_at_the_end(ramp):
    assert [float(ramp(step)) for step in (7, 8, 10**12)] == [0.1 + 0.2] * 3


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
    for ramp in (
        PolynomialSchedule(initial, target, begin, begin + length, exponent),
        CosineSchedule(initial, target, begin, begin + length),
        ConstantSchedule(initial, target, begin, begin + length),
        OneShotSchedule(initial, target, begin, begin + length),
    ):
        now, later = float(ramp(step)), float(ramp(step + 1))
        assert min(initial, target) - 1e-12 <= now <= max(initial, target) + 1e-12
        assert (later - now) * (target - initial) >= -1e-12


def test_external_sparsity_is_read_at_every_step():
    ramp = ExternalSparsity(lambda step: tf.cast(step, tf.float32) / 8)
    assert [float(ramp(step)) for step in (0, 3, tf.constant(7))] == [0, 0.375, 0.875]
    assert ramp(3).dtype == tf.float64
    assert float(ExternalSparsity(lambda step: 0.9)(1)) == 0.9
    variable = tf.Variable(0.5)
    in_graph = tf.function(ExternalSparsity(lambda step: variable))
    assert float(in_graph(1)) == 0.5
    variable.assign(0.25)
    assert float(in_graph(1)) == 0.25


@pytest.mark.parametrize("value", [-1e-9, 1.0, 90.0, math.nan, math.inf])
def test_external_sparsity_outside_its_range_fails(value):
    ramp = ExternalSparsity(lambda step: tf.constant(value, tf.float64))
    for run in (ramp, tf.function(ramp)):
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"must be a fraction in \[0, 1\), got"):
            run(1)


@hypothesis.settings(derandomize=True, deadline=None, max_examples=200)
@hypothesis.given(st.integers(1, 2**40), st.floats(0, 1, exclude_max=True))
def test_kept_count_is_pythons_round(size, sparsity):
    assert int(kept_count(size, sparsity)) == round(size * (1.0 - sparsity))
