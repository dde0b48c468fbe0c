"""Maps from regexes of variable paths to values, such as `weight_sparsity_map`."""

import math
import re
from collections.abc import Sequence
from typing import TypeVar

from ..typed_value import shown
from .name_pattern import NamePattern, name_pattern
from .sensitivity_curve import SensitivityCurve

T = TypeVar("T")


def checked_regex(name: str, pattern: str) -> NamePattern:
    """Reads a regex of the hyperparameter `name`.

    Raises:
        ValueError: It is not a regex of RE2, as one with a lookahead.
    """
    try:
        return name_pattern(pattern)
    except ValueError as error:
        raise ValueError(f"{name} holds {shown(pattern)}, which cannot be used: {error}.") from error


def sparsity_item(name: str, item: str) -> tuple[NamePattern, float]:
    """Reads an item `regex:sparsity` of the map `name`.

    Raises:
        ValueError: It is not of that form, or the sparsity is outside [0, 1).
    """
    pattern, colon, text = item.rpartition(":")
    try:
        sparsity = float(text)
    except ValueError:
        sparsity = math.nan
    if not colon or not pattern or not 0.0 <= sparsity < 1.0:
        raise ValueError(f"{name} items are 'regex:sparsity' with a sparsity in [0, 1), got {shown(item)}.")
    return checked_regex(name, pattern), sparsity


def block_item(name: str, item: str) -> tuple[NamePattern, tuple[int, int]]:
    """Reads an item `regex:HxW` of the map `name`.

    Raises:
        ValueError: It is not of that form, or a dimension is neither positive nor -1.
    """
    pattern, colon, text = item.rpartition(":")
    match = re.fullmatch(r"(-1|[1-9][0-9]{0,17})x(-1|[1-9][0-9]{0,17})", text)
    if not colon or not pattern or not match:
        raise ValueError(
            f"{name} items are 'regex:HxW' with a height and a width of at least 1, or -1 for the whole dimension, got "
            f"{shown(item)}."
        )
    return checked_regex(name, pattern), (int(match[1]), int(match[2]))


def curve_item(name: str, item: str) -> tuple[NamePattern, SensitivityCurve]:
    """Reads an item `regex:sparsity=rise;sparsity=rise` of the map `name`.

    Raises:
        ValueError: It is not of that form, or a point is wrong.
    """
    pattern, colon, text = item.rpartition(":")
    if not colon or not pattern:
        raise ValueError(
            f"{name} items are 'regex:sparsity=rise;sparsity=rise', such as '^dense/kernel$:0.5=0.001;0.9=0.2', got "
            f"{shown(item)}."
        )
    try:
        return checked_regex(name, pattern), SensitivityCurve.parse(text)
    except ValueError as error:
        raise ValueError(f"{name} holds {shown(item)}: {error}") from error


def matches(name: str, items: Sequence[tuple[NamePattern, T]], paths: Sequence[str]) -> dict[int, tuple[str, T]]:
    """Finds what the map `name` holds for each path.

    Args:
        name: Name of the map, for messages.
        items: Its regexes and their values.
        paths: The pruned weights' paths.

    Returns:
        By the index of each path that matches a regex (`re.search`): the regex and its value.

    Raises:
        ValueError: A regex matches no path, or two match one.
    """
    for pattern, _ in items:
        if not any(pattern.search(path) for path in paths):
            raise ValueError(
                f"{name} holds {pattern.pattern!r}, which matches none of the pruned weights {list(paths)}. Mend or "
                "remove it."
            )
    found = {}
    for index, path in enumerate(paths):
        own = [(pattern.pattern, value) for pattern, value in items if pattern.search(path)]
        if len(own) > 1:
            raise ValueError(
                f"{path} matches {len(own)} patterns of {name}: {', '.join(repr(pattern) for pattern, _ in own)}. Let "
                "one pattern match a weight."
            )
        if own:
            found[index] = own[0]
    return found
