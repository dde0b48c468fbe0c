"""One dialect: the form of docstrings, and the verb of validators."""

import ast
import itertools
import pathlib
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FILES = [
    file
    for folder in ("components", "pipelines", "benchmarks", "tests")
    for file in sorted((ROOT / folder).rglob("*.py"))
    if ".venv" not in file.parts
]
# Examples of commands are for click, which has rules of its own.
SECTIONS = ("Args:", "Attributes:", "Example:", "Raises:", "Returns:", "Yields:")
INDENT = 4


def _docstrings(file: pathlib.Path) -> Iterator[tuple[int, str]]:
    """Line and text of each docstring, without the indentation of the code around it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text


def wrong_indents(text: str) -> list[str]:
    """The first lines of sections whose items are not indented by four."""
    lines = text.split("\n")
    return [
        following
        for line, following in itertools.pairwise(lines)
        if line in SECTIONS and len(following) - len(following.lstrip()) != INDENT
    ]


def test_the_lint_sees_an_indentation_of_two() -> None:
    assert wrong_indents("Does.\n\nArgs:\n  x: A number.\n\nReturns:\n    A number.") == ["  x: A number."]


@pytest.mark.parametrize("folder", ["components", "pipelines", "benchmarks", "tests"])
def test_sections_of_docstrings_are_indented_by_four(folder: str) -> None:
    files = [file for file in FILES if file.relative_to(ROOT).parts[0] == folder]
    assert files
    wrong = [
        f"{file.relative_to(ROOT)}:{line}: {found}"
        for file in files
        for line, text in _docstrings(file)
        for found in wrong_indents(text)
    ]
    assert wrong == []


# Functions that raise an error on bad input are check_..., or checked_... if they return the value.
OTHER_VERBS = ("refuse", "validate", "require", "ensure")


def test_validators_have_one_verb() -> None:
    defined = [
        (file.relative_to(ROOT), node.name)
        for file in FILES
        if file.relative_to(ROOT).parts[0] in ("components", "pipelines")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    ]
    assert any(name.startswith("check_") for _, name in defined)
    assert [pair for pair in defined if pair[1].lstrip("_").partition("_")[0] in OTHER_VERBS] == []
