"""One form of error messages: what was given, what is expected, how to mend it."""

import ast
import pathlib
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# What stands between the parts of a message. A value put in, {}, may be a part by itself.
SEPARATORS = (". ", "; ", ": ", ", expected", ", got", "{}")


def _text(node: ast.expr) -> str | None:
    """The text of a string, with {} for each value that is put in; None for what is no such string."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join("{}" if isinstance(each, ast.FormattedValue) else _text(each) for each in node.values)
    if isinstance(node, ast.BinOp):
        parts = _text(node.left), _text(node.right)
        return None if None in parts else "".join(parts)
    return None


def _messages(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each error that is raised with a text of its own."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            text = _text(node.exc.args[-1])
            if text not in (None, "", "{}"):
                yield node.lineno, text


def is_of_the_form(message: str) -> bool:
    """Whether a message has parts; or is a reason, in lower case and without a full stop, for another to quote."""
    if message.endswith((".", "?", "{}")):
        return any(separator in message[:-1] for separator in SEPARATORS)
    return message[0].islower() or message.startswith("{}")


@pytest.mark.parametrize(
    ("source", "right"),
    [
        ("raise ValueError(f'steps must be positive, got {steps}. Train for at least one step.')", True),
        ("raise ValueError('it is cut short')", True),
        ("raise ValueError('Wrong value.')", False),
        ("raise ValueError('Wrong value')", False),
    ],
)
def test_the_lint_tells_a_message_of_the_form(source: str, right: bool) -> None:
    ((_, message),) = _messages(source)
    assert is_of_the_form(message) == right


@pytest.mark.parametrize("folder", ["components", "pipelines"])
def test_messages_say_what_was_given_and_how_to_mend_it(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    found = [(file, *each) for file in files for each in _messages(file.read_text(encoding="utf-8"))]
    assert len(found) > 50
    assert [f"{file.relative_to(ROOT)}:{line}: {text}" for file, line, text in found if not is_of_the_form(text)] == []
