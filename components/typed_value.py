"""checked_value: the value of a setting as a plain Python type, or an error that names the setting."""

import math
import numbers
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

_WANTED = {bool: "True or False", int: "a whole number", float: "a finite number", str: "a string"}
_MAX_INT = 2**62  # ML Metadata and TensorFlow have 64 bits, and two are added

_REPR = reprlib.Repr()
_REPR.maxlevel = 3
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = _REPR.maxset = _REPR.maxfrozenset = 10
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 200


def shown(value: Any) -> str:
    """A value as an error message shows it: its repr, shortened to a line or two.

    Example:
        >>> shown("steps"), shown([1, 2])
        ("'steps'", '[1, 2]')
        >>> shown(10**5000)
        '<int of 5001 digits or so>'
    """
    if isinstance(value, int) and abs(value) >= 10**200:
        return f"<int of {int(value.bit_length() * math.log10(2)) + 1} digits or so>"
    try:
        return _REPR.repr(value)
    except Exception:
        return f"<{type(value).__name__}>"


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
        ValueError: It is infinite or NaN, or an int of 2^62 and more or -2^62 and less.

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
            if abs(int(value)) >= _MAX_INT:
                raise ValueError(f"{name} must be a whole number between -2**62 and 2**62, got {shown(int(value))}.")
            return int(value)
    elif kind is float:
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            try:
                number = float(value)
            except OverflowError:
                number = math.inf
            if not math.isfinite(number):
                raise ValueError(f"{name} must be {_WANTED[float]}, got {shown(value)}.")
            return number
    elif kind is str:
        if isinstance(value, str):
            return value
    elif isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping)):
        try:
            items = tuple(value)
        except TypeError:  # an array without dimensions
            items = (None,)
        if all(isinstance(item, str) for item in items):
            return items
    raise TypeError(
        f"{name} must be {_WANTED.get(kind, 'a list of strings')}, got {shown(value)} of type {type(value).__name__}."
    )
