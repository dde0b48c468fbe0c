"""Whatever is given as hyperparameters: hyperparameters, or an error of a documented type that names a field."""

import dataclasses
import fractions
import json
import re

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tfx_pruning import Pruning, PruningHParams

FIELDS = {field.name: field.type for field in dataclasses.fields(PruningHParams)}
NAMES = st.sampled_from(sorted(FIELDS))
SETTINGS = hypothesis.settings(
    derandomize=True, deadline=None, max_examples=2000, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)

_NUMBERS = st.one_of(
    st.integers(),
    st.integers(-3, 12),
    st.floats(),
    st.sampled_from([2**63, -(2**63), 10**400, -1, 0.5, 0.75, float("nan"), 1e308]),
)
_TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["", "[", "a{99999999999}", "2:4", "1:" + "9" * 5000, "a:0.5", "a:2x-1", "a:1e999", "(a+)+$", "weight"]
    ),
    st.sampled_from(
        ["first_order_gradient", "hutchinson", "global", "erk", "gradient", "channel", "os:x", "no.such:y"]
    ),
)
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), _NUMBERS, _TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXTS, inner, max_size=2)),
    max_leaves=4,
)
_VALUES = st.one_of(
    _JSON,
    st.lists(_TEXTS, max_size=3),
    st.sampled_from(
        [fractions.Fraction(10**400), np.array(0.5), np.float32(0.5), np.int64(3), b"a", {"a"}, 1j, object]
    ),
)


def check_message(error: Exception, *words: str) -> None:
    """An error names one of `words`."""
    assert any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", str(error)) for word in words), str(error)[:500]


@pytest.mark.slow
@SETTINGS
@hypothesis.given(st.dictionaries(NAMES, _VALUES, min_size=1, max_size=4))
def test_keywords(fields):
    try:
        hparams = PruningHParams(**fields)
    except (TypeError, ValueError) as error:
        check_message(error, *fields)
    else:
        assert PruningHParams.parse(hparams.to_string()) == hparams
        assert PruningHParams.from_json(hparams.to_json()) == hparams


@pytest.mark.slow
@SETTINGS
@hypothesis.given(st.integers(-3, 10**6) | _VALUES, st.dictionaries(NAMES, _VALUES, max_size=3))
def test_keywords_for_steps(steps, fields):
    try:
        PruningHParams.for_steps(steps, **fields)
    except (TypeError, ValueError) as error:
        check_message(error, "num_steps", "steps", *fields)


_WRITTEN = st.one_of(
    _TEXTS,
    st.floats().map(repr),
    st.integers(-(10**20), 10**20).map(str),
    st.lists(_TEXTS, max_size=3).map(lambda items: f"[{','.join(items)}]"),
)
_ITEMS = st.tuples(NAMES | _TEXTS, _WRITTEN).map("=".join)


@pytest.mark.slow
@SETTINGS
@hypothesis.given(st.lists(_ITEMS, max_size=4).map(",".join) | st.text())
def test_strings(string):
    try:
        hparams = PruningHParams.parse(string)
    except ValueError as error:
        check_message(error, "assignments", "opening bracket", "given twice", *FIELDS)
    else:
        assert PruningHParams.parse(hparams.to_string()) == hparams


@pytest.mark.slow
@SETTINGS
@hypothesis.given(st.dictionaries(NAMES, _JSON, max_size=3).map(json.dumps) | _JSON.map(json.dumps) | st.text())
def test_json(text):
    try:
        PruningHParams.from_json(text)
    except (TypeError, ValueError) as error:
        check_message(error, "JSON", *FIELDS)


def test_deep_json_and_what_is_no_text():
    with pytest.raises(ValueError, match="must be valid JSON"):
        PruningHParams.from_json("[" * 100_000)
    with pytest.raises(ValueError, match="must be valid JSON"):
        PruningHParams.from_json('{"seed": ' + "9" * 5000 + "}")
    with pytest.raises(TypeError, match=r"from_json reads a text, got \[1\] of type list"):
        PruningHParams.from_json([1])
    with pytest.raises(TypeError, match="from_dict takes a mapping from fields to values, got None"):
        PruningHParams.from_dict(None)


@pytest.mark.parametrize("field", ["seed", "pruning_frequency", "sparsity_function_end_step"])
def test_the_largest_numbers_that_are_taken_work(field):
    hparams = PruningHParams(**{"include": ["kernel"], field: 2**62 - 1})
    weight = tf.Variable([[1.0, 2.0]], name="kernel")
    Pruning(hparams, [weight]).conditional_mask_update(10)
    with pytest.raises(ValueError, match=f"{field} must be a whole number between"):
        PruningHParams(**{field: 2**62})
