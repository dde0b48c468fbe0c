"""Budgets: how they are written, and what of them a model takes."""

import dataclasses
import json

import pytest

from tfx_pruning import PruningHParams
from tfx_pruning.budget import Budget, BudgetVerdict, Delivered, parsed_bytes, parsed_milliseconds
from tfx_pruning.call_times import CallTimes

FAST, SLOW = CallTimes(1.5, 1.4, 1.7, 100), CallTimes(2.5, 2.4, 2.7, 100)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ("1MB", 1_000_000),
        ("500kB", 500_000),
        ("500 KB", 500_000),
        ("1.5MiB", 1_572_864),
        ("64KiB", 65_536),
        ("2GB", 2_000_000_000),
        ("123", 123),
        ("10B", 10),
        (123, 123),
        (1e6, 1_000_000),
    ],
)
def test_sizes(value, count):
    assert parsed_bytes("max_bytes", value) == count


@pytest.mark.parametrize(
    ("value", "milliseconds"), [("2ms", 2.0), ("500us", 0.5), ("0.1s", 100.0), ("2", 2.0), (2, 2.0), (".5 ms", 0.5)]
)
def test_times(value, milliseconds):
    assert parsed_milliseconds("max_latency", value) == pytest.approx(milliseconds)


@pytest.mark.parametrize("value", ["1mb", "1 MBit", "MB", "-1MB", "1e6", "", "1MB 2MB", "2ms"])
def test_what_is_no_size_is_refused(value):
    with pytest.raises(ValueError, match=r"max_bytes must be a number of bytes, alone or with one of kB, MB, .*'1MB'"):
        parsed_bytes("max_bytes", value)


@pytest.mark.parametrize("value", ["2 m", "2min", "1MB", "", "ms"])
def test_what_is_no_time_is_refused(value):
    with pytest.raises(ValueError, match=r"max_latency must be a number of milliseconds, .*us, ms, s, got .*'2ms'"):
        parsed_milliseconds("max_latency", value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "needs max_bytes, max_latency or both, got neither"),
        ({"max_bytes": 0}, "max_bytes must be above 0, got 0"),
        ({"max_bytes": "0.5B"}, "max_bytes must be at least one byte"),
        ({"max_latency": "0ms"}, "max_latency must be above 0"),
        ({"max_bytes": 1, "format": "onnx"}, "format must be one of savedmodel, savedmodel_gz, tflite, tflite_int8"),
        ({"max_bytes": 1, "threads": 0}, "threads must be at least 1, got 0"),
        ({"max_bytes": 1, "batch_size": 0}, "batch_size must be at least 1, got 0"),
    ],
)
def test_a_wrong_budget_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Budget(**fields)


def test_a_budget_of_another_type_is_refused():
    with pytest.raises(TypeError, match="max_bytes must be a finite number"):
        Budget(max_bytes=[1])


def test_the_limit_that_binds_says_how_much_is_used():
    budget = Budget(max_bytes=1000, max_latency=2.0)
    assert budget.use(Delivered(900, FAST)) == 0.9
    assert budget.use(Delivered(900, SLOW)) == 1.25
    assert Budget(max_bytes=1000).use(Delivered(1100)) == 1.1


def test_failures_name_what_would_pass():
    budget = Budget(max_bytes="1kB", max_latency="2ms", format="tflite")
    assert budget.failures(Delivered(1000, FAST)) == ()
    size, time = budget.failures(Delivered(1001, SLOW))
    assert size == "the tflite takes 1,001 bytes, allowed are 1,000: max_bytes=1001 would take it"
    assert time == "one call takes 2.5 ms (2.4 to 2.7), allowed are 2 ms: max_latency=2.5ms would take it"
    assert budget.failures(Delivered(1)) == ("its latency was not measured",)


@pytest.mark.parametrize(
    ("delivered", "wasted"),
    [
        (Delivered(949, FAST), True),
        (Delivered(950, FAST), False),
        (Delivered(1001, FAST), False),  # that is over it
        (Delivered(800, CallTimes(1.9, 1.8, 2.0, 9)), False),  # the latency lets it be no larger
    ],
)
def test_a_model_that_is_needlessly_small(delivered, wasted):
    assert Budget(max_bytes=1000, max_latency=2.0).is_wasted(delivered) == wasted


def test_a_latency_has_no_least_use():
    assert not Budget(max_latency=2.0).is_wasted(Delivered(1, CallTimes(0.1, 0.1, 0.1, 9)))


@pytest.mark.parametrize(
    ("budget", "fields", "message"),
    [
        (Budget(max_bytes=1), {}, "max_bytes of the format 'savedmodel' needs granularity='channel', got 'element'"),
        (Budget(max_latency=1, format="savedmodel_gz"), {}, "max_latency needs granularity='channel'"),
        (Budget(max_bytes=1, format="savedmodel_gz"), {"n_of_m": "2:4"}, "A budget and n_of_m exclude each other"),
    ],
)
def test_zeros_that_make_nothing_smaller_are_refused(budget, fields, message):
    hparams = PruningHParams(target_sparsity=0.5, **fields)
    with pytest.raises(ValueError, match=message):
        budget.check_hparams(hparams)
    Budget(max_bytes=1, format="savedmodel_gz").check_hparams(PruningHParams())
    Budget(max_bytes=1).check_hparams(PruningHParams(granularity="channel"))


def test_a_verdict_is_read_as_it_was_written():
    verdict = BudgetVerdict(Budget(max_bytes=10, max_latency=2.0), Delivered(20, SLOW), Delivered(9, FAST))
    assert BudgetVerdict.from_dict(json.loads(json.dumps(dataclasses.asdict(verdict)))) == verdict
    assert verdict.failures == ()
    assert [row[0] for row in verdict.rows()] == [
        "bytes of the savedmodel",
        "a call of the savedmodel with 1 example on 1 thread",
    ]
    assert verdict.rows()[0][1:] == ("10", "20", "9")
