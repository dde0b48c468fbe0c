import re

import hypothesis
import pytest
from hypothesis import strategies as st

from tfx_pruning.engine.name_pattern import NamePattern

_ATOMS = st.sampled_from(
    ["a", "b", "A", ".", "/", r"\d", r"\w", r"\W", r"\s", "[ab]", "[^a/]", "[a-c_1]"]
    + ["^", "$", r"\b", r"\B", r"\A", r"\Z", ""]
)


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    repeated = st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "+?", "{2}", "{0,2}", "{1,}", "{0}"]))
    wrappers = ["(?:{})", "({})", "(?={})", "(?!{})", "(?i:{})", "(?s:{})", "(?m:{})"]
    return st.one_of(
        repeated.map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
        st.lists(inner, min_size=2, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map("|".join),
        st.tuples(inner, st.sampled_from(wrappers)).map(lambda pair: pair[1].format(pair[0])),
    )


@pytest.mark.slow
@hypothesis.settings(derandomize=True, deadline=None, max_examples=2000)
@hypothesis.given(st.recursive(_ATOMS, _larger, max_leaves=6), st.text("abA/_1 \nßé", max_size=7))
def test_finds_what_pythons_search_finds(pattern, name):
    assert NamePattern(pattern).search(name) == (re.search(pattern, name) is not None)


@pytest.mark.parametrize(
    ("pattern", "name", "found"),
    [
        (r"(?i)DENSE_\d+/kernel$", "model/dense_12/kernel", True),
        (r"(?<=b)/kernel", "ab/kernel", True),
        (r"(?<!b)/kernel", "ab/kernel", False),
        (r"^(?!.*head).*kernel$", "model/head/kernel", False),
        (r"^(?!.*head).*kernel$", "model/body/kernel", True),
        (r"(?P<layer>a|b)+/", "abab/kernel", True),
    ],
)
def test_lookarounds_flags_and_groups(pattern, name, found):
    assert NamePattern(pattern).search(name) == found == (re.search(pattern, name) is not None)


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "^(a|a)*$", "(a*)*b", "(.*)(.*)(.*)(.*)(.*)(.*)x", "(?=(a+)+b)", "(a?){200}b"]
)
def test_what_takes_python_ages_takes_no_time(pattern):
    assert not NamePattern(pattern).search("a" * 300 + "c")


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(a)\1", "backreference"),
        (r"(a)?(?(1)b|c)", "condition"),
        ("(", "not a regular expression: missing"),
        ("a{99999999999}", "not a regular expression: the repetition number is too large"),
        ("(" * 3000 + "a" + ")" * 3000, "nested too deeply"),
        ("(a{100}){100}", "more than 5000 letters"),
        ("(?<=a*)b", "look-behind requires fixed-width pattern"),
    ],
)
def test_what_has_no_bound_is_refused(pattern, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        NamePattern(pattern)
