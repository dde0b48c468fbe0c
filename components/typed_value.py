"""checked_value: the value of a setting as a plain Python type, or an error that names the setting."""

import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

_WANTED = {bool: "True or False", int: "a whole number", float: "a finite number", str: "a string"}


def checked_value(name: str, kind: Any, value: Any) -> Any:
    """Checks the type of a value and makes it a plain Python one.

    Args:
        name: Name of the setting, for the error.
        kind: bool, int, float, str or `tuple[str, ...]`.
        value: The value. NumPy's scalars are taken for numbers, an int for a float, and any iterable of strings but a
            string for a tuple of them; strings are never read as something else.

    Returns:
        The value as `kind`.

    Raises:
        TypeError: The value is of another type.
        ValueError: It is infinite or NaN.

    Example:
        >>> checked_value("steps", int, 3), checked_value("sparsity", float, 1), checked_value("include", tuple, ["a"])
        (3, 1.0, ('a',))
        >>> checked_value("steps", int, "3")
        Traceback (most recent call last):
        TypeError: steps must be a whole number, got '3' of type str.
    """
    if kind is bool:
        if isinstance(value, bool):
            return value
    elif kind is int:
        if isinstance(value, numbers.Integral) and not isinstance(value, bool):
            return int(value)
    elif kind is float:
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            if not math.isfinite(value):
                raise ValueError(f"{name} must be {_WANTED[float]}, got {value}.")
            return float(value)
    elif kind is str:
        if isinstance(value, str):
            return value
    elif isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping)):
        items = tuple(value)
        if all(isinstance(item, str) for item in items):
            return items
    raise TypeError(
        f"{name} must be {_WANTED.get(kind, 'a list of strings')}, got {value!r} of type {type(value).__name__}."
    )
