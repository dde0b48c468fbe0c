"""A damaged report is refused, or is a report."""

import json
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from tfx_pruning.report.document import ReportDocument
from tfx_pruning.sweep import MetricGoal, Sweep, SweepBaseline, SweepCandidate

SETTINGS = hypothesis.settings(derandomize=True, deadline=None, max_examples=2000)

_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([10**400, -1, "nan"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The keys of a value and of all that it holds."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(found for key, each in items for found in places(each, (*place, key)))]


def replaced(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[place[0]] = replaced(value[place[0]], place[1:], new)
    return copied


def fields_of(document: ReportDocument) -> dict[str, Any]:
    """A report with all its parts."""
    sweep = Sweep(MetricGoal("auc", 0.1), SweepBaseline(0.9), (SweepCandidate("a", 0.5, 0.8, 10, 5),))
    whole = json.loads(document.to_json())
    return {**whole, "sweep": sweep.to_dict(), "evaluation": {"baseline": {"auc": 0.9}, "pruned": {"auc": 0.8}}}


@pytest.fixture(scope="module")
def fields(trained):
    return fields_of(trained.document)


def value_anywhere(fields: dict[str, Any]) -> Callable[[], None]:
    """A property test: a wrong value at any place."""

    @SETTINGS
    @hypothesis.given(st.sampled_from(places(fields)), _VALUES)
    def check(place, new):
        text = json.dumps(replaced(fields, place, new))
        try:
            document = ReportDocument.from_json(text, "here.json")
        except ValueError as error:
            assert str(error).startswith("here.json ")  # noqa: PT017
        else:
            assert ReportDocument.from_json(document.to_json()) == document

    return check


@pytest.mark.slow
def test_a_value_anywhere(fields):
    assert len(places(fields)) > 100
    value_anywhere(fields)()


@pytest.mark.slow
@SETTINGS
@hypothesis.given(st.text() | _VALUES.map(json.dumps))
def test_any_text(text):
    with pytest.raises(ValueError, match=r"^here\.json "):
        ReportDocument.from_json(text, "here.json")


@pytest.mark.parametrize("share", range(0, 100, 2))
def test_what_is_cut_short(fields, share):
    text = json.dumps(fields)
    with pytest.raises(ValueError, match=r"here\.json is no JSON"):
        ReportDocument.from_json(text[: len(text) * share // 100], "here.json")


@pytest.mark.parametrize(
    ("key", "new", "message"),
    [
        ("title", 5, "title must be a string, got 5"),
        ("total_parameters", "many", "total_parameters must be a whole number, got 'many'"),
        ("sizes", {"model": True}, r"sizes\['model'\] must be a whole number, got True"),
        ("lineage", ["a"], r"lineage must be Mapping, got \['a'\]"),
        ("weights", [{"path": "a", "shape": [2.5], "nonzero": 1, "pruned": True}], r"weights\[0\].shape\[0\] must be"),
    ],
)
def test_the_place_is_named(fields, key, new, message):
    with pytest.raises(ValueError, match=message):
        ReportDocument.from_json(json.dumps({**fields, key: new}), "here.json")


def test_deep_json_is_refused():
    with pytest.raises(ValueError, match=r"here\.json is no JSON"):
        ReportDocument.from_json("[" * 100_000, "here.json")
