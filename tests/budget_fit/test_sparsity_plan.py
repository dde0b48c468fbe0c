"""Which sparsity is next, from sizes that are made up."""

import json

import pytest

from tfx_pruning import PruningHParams
from tfx_pruning.budget import Budget, Delivered
from tfx_pruning.budget_fit.sparsity_plan import Measured, SparsityPlan
from tfx_pruning.call_times import CallTimes

# 100 bytes stay whatever goes.
CURVE = tuple(Measured(sparsity, Delivered(round(1100 - 1000 * sparsity))) for sparsity in (0.0, 0.4, 0.8, 1.0))


def _plan(max_bytes, candidates=CURVE, trained=()):
    plan = SparsityPlan(Budget(max_bytes=max_bytes), candidates)
    for sparsity, size in trained:
        plan = plan.with_trained(sparsity, Delivered(size))
    return plan


def test_the_first_sparsity_is_read_off_the_candidates():
    assert _plan(600).next_sparsity() == pytest.approx(1.1 - 0.975 * 0.6)


def test_a_candidate_that_is_right_is_taken_as_it_is():
    assert _plan(1000, (*CURVE[:1], Measured(0.123, Delivered(976)), *CURVE[1:])).next_sparsity() == 0.123


def test_a_dense_model_within_the_budget_is_left_dense():
    plan = _plan(1100)
    assert plan.dense_meets
    assert plan.next_sparsity() == 0.0
    assert plan.with_trained(0.0, Delivered(500)).is_met


def test_a_trained_model_that_is_larger_scales_the_candidates():
    # A quarter larger than the candidate of its sparsity: the next one must be as the candidate of 468 bytes.
    plan = _plan(600, trained=[(0.5, 750)])
    assert not plan.is_met
    assert plan.next_sparsity() == pytest.approx(1.1 - 0.975 * 0.6 / 1.25)


def test_between_too_large_and_too_small_is_interpolated():
    plan = _plan(600, trained=[(0.5, 685), (0.6, 485)])
    assert not plan.is_met
    assert plan.next_sparsity() == pytest.approx(0.55)


@pytest.mark.parametrize(("size", "met"), [(601, False), (600, True), (570, True), (569, False)])
def test_met_is_at_most_five_percent_less(size, met):
    assert _plan(600, trained=[(0.5, size)]).is_met == met


def test_a_step_of_sizes_that_jumps_over_the_budget_takes_no_further_training():
    lumps = tuple(Measured(sparsity, Delivered(size)) for sparsity, size in ((0.0, 2000), (0.4, 700), (0.41, 500)))
    assert _plan(600, lumps, [(0.41, 497)]).is_met
    assert not _plan(600, lumps, [(0.41, 480)]).is_met
    assert not _plan(600, lumps, [(0.41, 601)]).is_met


def test_what_no_candidate_meets_is_told_with_the_smallest():
    _plan(100).check_reachable()
    with pytest.raises(ValueError, match=r"sparsity 1, is over it, for .* 100 bytes, allowed are 99: max_bytes=100 .*"):
        _plan(99).check_reachable()


def test_a_latency_that_falls_late_gives_the_least_sparsity_that_meets_it():
    times = [2.0, 1.9, 0.9, 1.0, 0.8]
    candidates = tuple(
        Measured(index / 5, Delivered(100, CallTimes(time, time, time, 9))) for index, time in enumerate(times)
    )
    plan = SparsityPlan(Budget(max_latency=1.0), candidates)
    # 0.9 is aimed at, which the third is at but the fourth is over: only what follows is sure.
    assert plan.next_sparsity() == 0.4
    slower = SparsityPlan(Budget(max_latency=0.95), candidates)
    assert 0.6 < slower.next_sparsity() < 0.8


def test_pruning_trainer_reads_the_sparsity_and_the_plan_is_read_again():
    plan = _plan(600, trained=[(0.5, 750)])
    text = plan.to_json(0.25)
    assert PruningHParams().tuned(json.loads(text)["values"]).target_sparsity == 0.25
    assert SparsityPlan.from_json(text) == plan
    with pytest.raises(ValueError, match="not of BudgetSearch"):
        SparsityPlan.from_json('{"values": {}}')
