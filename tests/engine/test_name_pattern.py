import re

import hypothesis
import pytest
from hypothesis import strategies as st

from tfx_pruning import PruningHParams
from tfx_pruning.engine.name_pattern import NamePattern

_ATOMS = st.sampled_from(
    ["a", "b", "A", ".", "/", r"\d", r"\w", r"\W", r"\s", "[ab]", "[^a/]", "[a-c_1]"]
    + ["^", "$", r"\b", r"\B", r"\A", ""]
)


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    repeated = st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "+?", "{2}", "{0,2}", "{1,}", "{0}"]))
    wrappers = ["(?:{})", "({})", "(?i:{})", "(?s:{})", "(?m:{})"]
    return st.one_of(
        repeated.map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
        st.lists(inner, min_size=2, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map("|".join),
        st.tuples(inner, st.sampled_from(wrappers)).map(lambda pair: pair[1].format(pair[0])),
    )


# Where RE2's answer is meant to be another: `$` before a last line break, `\B` in no letters at all.
_NAMES = st.text("abA/_1 \nßé", min_size=1, max_size=7).filter(lambda name: not name.endswith("\n"))


@pytest.mark.slow
@hypothesis.settings(derandomize=True, deadline=None, max_examples=2000)
@hypothesis.given(st.recursive(_ATOMS, _larger, max_leaves=6), _NAMES)
def test_finds_what_pythons_search_finds(pattern, name):
    assert NamePattern(pattern).search(name) == (re.search(pattern, name, re.ASCII) is not None)


@pytest.mark.parametrize(
    ("pattern", "name", "found"),
    [
        (r"(?i)DENSE_\d+/kernel$", "model/dense_12/kernel", True),
        (r"(?P<layer>a|b)+/", "abab/kernel", True),
        ("^a.b$", "a\ud800b", True),
        ("a\ud800", "xa\ud800b", True),
        ("a\ud800", "xa\ud801b", False),
        ("é+$", "caféé", True),
        (r"^1\B", "1ß1", False),
        (r"\B", "1ß1", False),
        ("^(a+)+$", "a" * 300, True),
    ],
)
def test_flags_groups_and_letters(pattern, name, found):
    assert NamePattern(pattern).search(name) == found


@pytest.mark.parametrize("pattern", ["(a+)+$", "^(a|a)*$", "(a*)*b", "(.*)(.*)(.*)(.*)(.*)(.*)x", "(a?){200}b"])
def test_what_takes_python_ages_takes_no_time(pattern):
    assert not NamePattern(pattern).search("a" * 300 + "c")


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(a)\1", r"escape sequence: \1."),
        ("(a)?(?(1)b|c)", "operator: (?(."),
        ("^(?!.*head)", "operator: (?!."),
        ("(?=a)b", "operator: (?=."),
        ("(?<=a)b", "operator: (?<=."),
        ("(?<!a)b", "operator: (?<!."),
        ("a*+", "repetition operator: *+."),
        (r"a\Z", r"escape sequence: \Z."),
        ("*a", "no argument for repetition operator: *."),
        ("(a{100}){100}", "repetition size: {100}."),
        (r"(\pL{500}){2}", "pattern too large"),
    ],
)
def test_what_re2_does_not_know_is_refused_with_the_remedy(pattern, reason):
    with pytest.raises(ValueError, match=r"^include holds .* not a regular expression of RE2") as caught:
        PruningHParams(include=["kernel", pattern])
    assert repr(pattern) in str(caught.value)
    assert reason in str(caught.value)
    assert "say with include and exclude together what a lookaround would." in str(caught.value)
