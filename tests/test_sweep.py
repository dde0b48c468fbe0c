"""Which of several pruned models is chosen."""

import dataclasses
import json
import math

import pytest

from tfx_pruning.budget import Budget, BudgetVerdict, Delivered
from tfx_pruning.sweep import MetricGoal, Sweep, SweepBaseline, SweepCandidate

DENSE = 0.9


def _candidate(name, sparsity, metric, gzipped=100):
    return SweepCandidate(name, sparsity, metric, stripped_bytes=1000, gzipped_bytes=gzipped)


def _sweep(*candidates, tolerance=0.1, direction="higher", bound=None, dense=DENSE):
    return Sweep(MetricGoal("auc", tolerance, direction, bound), SweepBaseline(dense), candidates)


def _chosen(*candidates, **goal):
    chosen = _sweep(*candidates, **goal).chosen
    return chosen and chosen.name


def test_the_sparsest_within_the_tolerance_is_chosen():
    assert _chosen(_candidate("a", 0.5, 0.95), _candidate("b", 0.9, 0.81), _candidate("c", 0.95, 0.79)) == "b"


@pytest.mark.parametrize(
    ("dense", "tolerance", "direction", "value", "within"),
    [
        (0.8, 0.1, "higher", 0.7, True),  # 0.8 - 0.1 is above 0.7 in binary
        (0.8, 0.1, "higher", math.nextafter(0.7, 0), False),
        (0.3, 0.1, "lower", 0.4, True),
        (0.1, 0.2, "lower", 0.3, True),
        (0.1, 0.2, "lower", math.nextafter(0.3, 1), False),
        (0.5, 0.0, "higher", 0.5, True),
        (0.5, 0.0, "lower", 0.5, True),
        (0.5, 0.0, "higher", math.nextafter(0.5, 0), False),
        (0.5, 9.0, "higher", math.nan, False),
        (0.5, 9.0, "lower", math.nan, False),
        (-3, 1, "higher", -4, True),
    ],
)
def test_the_tolerance_is_exact(dense, tolerance, direction, value, within):
    assert MetricGoal("m", tolerance, direction).allows(value, dense) is within


@pytest.mark.parametrize(
    ("direction", "bound", "limit"),
    [("higher", 0.85, 0.85), ("higher", 0.1, 0.8), ("lower", 0.95, 0.95), ("lower", 7, 1.0)],
)
def test_the_stricter_of_tolerance_and_bound_holds(direction, bound, limit):
    assert MetricGoal("m", 0.1, direction, bound).limit(DENSE) == limit


def test_none_is_chosen_if_none_is_within():
    assert _chosen(_candidate("a", 0.5, 0.7), _candidate("b", 0.9, math.nan)) is None


def test_lower_is_better():
    candidates = _candidate("a", 0.5, 0.8), _candidate("b", 0.9, 1.0), _candidate("c", 0.95, 1.1)
    assert _chosen(*candidates, direction="lower") == "b"


def test_of_equally_sparse_ones_the_best_then_the_smallest_then_the_first():
    one_weight_less = 0.9 - 1e-6
    assert _chosen(_candidate("a", 0.9, 0.85), _candidate("b", one_weight_less, 0.86)) == "b"
    assert _chosen(_candidate("a", 0.9, 0.86), _candidate("b", 0.901, 0.85)) == "b"
    assert _chosen(_candidate("a", 0.9, 0.85, 200), _candidate("b", 0.9, 0.85, 100)) == "b"
    assert _chosen(_candidate("a", 0.9, 0.85), _candidate("b", 0.9, 0.85)) == "a"
    assert _chosen(_candidate("a", 0.9, 0.95), _candidate("b", 0.9, 0.93), direction="lower") == "b"


def test_the_front_is_what_nothing_smaller_is_as_good_as():
    sweep = _sweep(
        _candidate("large, best", 0.5, 0.9, 300),
        _candidate("small", 0.9, 0.8, 100),
        _candidate("larger than small and worse", 0.8, 0.7, 150),
        _candidate("as large as the middle, worse", 0.7, 0.82, 200),
        _candidate("middle", 0.75, 0.85, 200),
        _candidate("as good as the middle, larger", 0.6, 0.85, 250),
        _candidate("smallest, without a metric", 0.99, math.nan, 50),
    )
    assert [each.name for each in sweep.front] == ["small", "middle", "large, best"]


def test_the_front_of_losses():
    sweep = _sweep(
        _candidate("a", 0.5, 0.1, 300),
        _candidate("b", 0.9, 0.2, 100),
        _candidate("c", 0.8, 0.3, 200),
        direction="lower",
    )
    assert [each.name for each in sweep.front] == ["b", "a"]


def test_json_gives_the_sweep_back_and_tells_the_choice():
    sweep = dataclasses.replace(
        _sweep(_candidate("a", 0.5, 0.85), _candidate("b", 0.9, 0.1)), baseline=SweepBaseline(0.9, 2000, 900)
    )
    fields = json.loads(json.dumps(sweep.to_dict()))
    assert Sweep.from_dict(fields) == sweep
    assert (fields["chosen"], fields["limit"]) == ("a", 0.8)
    assert [each["within"] for each in fields["candidates"]] == [True, False]


def test_json_of_a_metric_that_is_no_number():
    fields = json.loads(json.dumps(_sweep(_candidate("a", 0.5, math.nan)).to_dict(), allow_nan=False))
    assert (fields["candidates"][0]["metric"], fields["chosen"]) == (None, None)
    assert math.isnan(Sweep.from_dict(fields).candidates[0].metric)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"metric": ""}, ValueError, "metric must be the name of a metric, such as 'AUC', got ''"),
        ({"metric": None}, TypeError, "metric must be a string, got None"),
        ({"tolerance": -0.1}, ValueError, r"tolerance must be 0 or more, got -0\.1"),
        ({"tolerance": "0.1"}, TypeError, "tolerance must be a finite number, got '0.1'"),
        ({"tolerance": True}, TypeError, "tolerance must be a finite number, got True"),
        ({"tolerance": math.nan}, ValueError, "tolerance must be a finite number, got nan"),
        ({"direction": "up"}, ValueError, "direction must be 'higher' or 'lower', got 'up'"),
        ({"bound": math.inf}, ValueError, "bound must be a finite number, got inf"),
    ],
)
def test_a_wrong_goal_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        MetricGoal(**{"metric": "auc", "tolerance": 0.1, **arguments})


BUDGET = Budget(max_bytes=1000)


def _measured(name, sparsity, metric, size):
    check = BudgetVerdict(BUDGET, Delivered(4000), Delivered(size))
    return dataclasses.replace(_candidate(name, sparsity, metric), check=check)


def test_with_a_budget_the_best_that_keeps_to_it_is_chosen():
    over, sparse, good = (
        _measured("a", 0.5, 0.95, 1001),
        _measured("b", 0.9, 0.85, 900),
        _measured("c", 0.8, 0.88, 1000),
    )
    assert _chosen(over, sparse, good) == "c"
    sweep = _sweep(over, sparse, good)
    assert sweep.refusals == ()
    assert [sweep.passes(each) for each in sweep.candidates] == [False, True, True]
    assert [each["in_budget"] for each in sweep.to_dict()["candidates"]] == [False, True, True]


def test_a_budget_that_is_missed_is_told_with_what_would_pass():
    sweep = _sweep(_measured("a", 0.5, 0.95, 1200), _measured("b", 0.6, 0.85, 1100))
    assert sweep.chosen is None
    assert sweep.nearest.name == "b"
    assert sweep.refusals == ("the savedmodel takes 1,100 bytes, allowed are 1,000: max_bytes=1100 would take it",)


def test_a_metric_that_is_missed_within_the_budget_is_told_with_the_tolerance_that_would_take_it():
    sweep = _sweep(_measured("a", 0.9, 0.7, 900), _measured("b", 0.5, 0.9, 1200))
    (refusal,) = sweep.refusals
    assert refusal == "the auc is 0.7, allowed is at least 0.8: a tolerance of 0.2 would take it"
    bound = _sweep(_measured("a", 0.9, 0.85, 900), bound=0.87)
    assert bound.refusals == ("the auc is 0.85, allowed is at least 0.87: a bound of 0.85 would take it",)
    (both,) = _sweep(_measured("a", 0.9, 0.7, 900), bound=0.87).refusals
    assert both.endswith("a tolerance of 0.2 and a bound of 0.7 would take it")
    assert _sweep(_measured("a", 0.9, math.nan, 900)).refusals == ("the auc is nan, allowed is at least 0.8",)


def test_both_are_told_if_both_are_missed():
    size, metric = _sweep(_measured("a", 0.9, 0.7, 1100)).refusals
    assert "max_bytes=1100" in size
    assert "a tolerance of 0.2" in metric


def test_a_sweep_with_a_budget_is_read_as_it_was_written():
    sweep = _sweep(_measured("a", 0.9, 0.85, 900), _candidate("b", 0.5, 0.9))
    assert Sweep.from_dict(json.loads(json.dumps(sweep.to_dict()))) == sweep
