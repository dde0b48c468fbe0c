"""What is only shown is escaped, and fails nothing."""

import xml.etree.ElementTree as ET

import pytest
from absl import logging
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_pruning.engine.shown import escaped, only_shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\0b", r"a\x00b"),
        ("a\x1b[31m\n", r"a\x1b[31m\n"),
        ("a\x9b", r"a\x9b"),
        ("a\ud800", r"a\ud800"),
        ("a\ufffe\uffff\U0001ffff", r"a\ufffe\uffff\U0001ffff"),
        ("evil\u202egpj", r"evil\u202egpj"),
        ("dense/ü 層\xa0🙂", "dense/ü 層\xa0🙂"),
    ],
)
def test_what_cannot_be_shown_is_escaped(text, expected):
    assert escaped(text) == expected


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.text(st.characters(blacklist_categories=())))
def test_escaped_texts_are_xml_and_utf8_and_stay_as_they_are(text):
    shown = escaped(text)
    element = ET.Element("text")
    element.text = shown
    assert (ET.fromstring(ET.tostring(element, "utf-8")).text or "") == shown
    assert escaped(shown) == shown


@pytest.fixture
def warnings(monkeypatch):
    told = []
    monkeypatch.setattr(logging, "warning", lambda message, *args: told.append(message % args))
    return told


def test_a_failure_of_what_is_only_shown_is_told_and_ends_nothing(warnings):
    @only_shown
    def half(number):
        return 1 / number

    assert half(2) == 0.5
    for _ in range(10):
        assert half(0) is None
    assert len(warnings) == 3
    assert warnings[0].startswith("half failed; what it shows is missing.\nTraceback")
    assert "ZeroDivisionError" in warnings[0]


def test_an_interruption_is_no_failure():
    @only_shown
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
