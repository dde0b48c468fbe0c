"""The `name=value,name=[item,item]` form in which hyperparameters are written on one line."""

from collections.abc import Iterator, Mapping
from typing import Any

_PAIRS = {"[": "]", "(": ")", "{": "}"}


def split(string: str) -> Iterator[tuple[str, str]]:
    """Yields (name, text of the value) for each assignment of `string`, in order.

    Raises:
        ValueError: An assignment has no `=`, a name comes twice, or a bracket is left open.
    """
    seen = set()
    for part in _split_at_commas(string):
        if not part.strip():
            continue
        name, equals, text = part.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ValueError(f"Expected 'name=value' assignments separated by commas, got {part!r} in {string!r}.")
        if name in seen:
            raise ValueError(f"{name!r} is given twice in {string!r}. Leave out one of the two.")
        seen.add(name)
        yield name, text.strip()


def value_of(name: str, text: str, kind: Any) -> Any:
    """Reads one value as `kind`: int, float, bool, str or a tuple of strings.

    Raises:
        ValueError: The text is not of that kind.
    """
    if kind is str:
        return text
    if kind is bool:
        if text.lower() in ("true", "1"):
            return True
        if text.lower() in ("false", "0"):
            return False
        raise ValueError(f"{name} must be true or false, got {text!r}.")
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            wanted = "a whole number" if kind is int else "a number"
            raise ValueError(f"{name} must be {wanted}, got {text!r}.") from None
    if not (text.startswith("[") and text.endswith("]")):
        raise ValueError(f"{name} must be a list in brackets, such as {name}=[a,b], got {text!r}.")
    return tuple(item.strip() for item in _split_at_commas(text[1:-1], in_list=True) if item.strip())


def check_items(name: str, items: tuple[str, ...]) -> None:
    """Checks that a list can be written on one line and read back.

    Raises:
        ValueError: An item cannot, such as a regex with an unescaped bracket that stands for itself.
    """
    for item in items:
        # Another item follows, since what follows decides how an unescaped bracket is read.
        written = join({name: (item, "other"), "more": ()})
        try:
            read = {found: value_of(found, text, tuple) for found, text in split(written)}
        except ValueError:
            read = {}
        if read != {name: (item, "other"), "more": ()}:
            raise ValueError(
                f"{name} holds {item!r}, which cannot be written on one line and read back. Escape commas "
                "and brackets that stand for themselves with a backslash, and leave out surrounding spaces."
            )


def join(values: Mapping[str, Any]) -> str:
    """Writes names and values in the form that `split` and `value_of` read."""
    return ",".join(f"{name}={_text(value)}" for name, value in values.items())


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return f"[{','.join(value)}]"
    return repr(value) if isinstance(value, float) else str(value)


def _split_at_commas(string: str, in_list: bool = False) -> list[str]:
    """Splits at the commas outside brackets, with respect to escapes and character classes of regexes.

    Items of lists are regexes, in which `[` opens a character class. So it does in a list and inside any bracket.
    """
    parts, start, closers, index = [], 0, [], 0
    while index < len(string):
        character = string[index]
        if character == "\\":
            index += 1
        elif character == "[" and (in_list or closers):
            index = _end_of_character_class(string, index)
        elif character in _PAIRS:
            closers.append(_PAIRS[character])
        elif closers and character == closers[-1]:
            closers.pop()
        elif character == "," and not closers:
            parts.append(string[start:index])
            start = index + 1
        index += 1
    if closers:
        raise ValueError(f"{string!r} has an opening bracket without its {closers[-1]!r}.")
    return [*parts, string[start:]]


def _end_of_character_class(string: str, index: int) -> int:
    """Index of the `]` that closes the character class opened at `index`. A `]` that comes first is a literal."""
    position = index + 1
    if string[position : position + 1] == "^":
        position += 1
    if string[position : position + 1] == "]":
        position += 1
    while position < len(string) and string[position] != "]":
        position += 2 if string[position] == "\\" else 1
    if position >= len(string):
        raise ValueError(f"{string!r} has an opening bracket without its ']'.")
    return position
