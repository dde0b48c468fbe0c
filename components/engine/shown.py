"""What is only shown: text that may stand anywhere, and code that may fail nothing."""

import functools
import re
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from absl import logging

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

# What controls a terminal, turns the direction of writing, or is refused by XML or UTF-8.
_UNSHOWN = re.compile(
    "[\0-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)
_MAX_WARNINGS = 3  # of one function, so that a failure at every step does not fill the log


def escaped(text: str) -> str:
    r"""Escapes what XML, UTF-8 or a terminal does not take: the escape character becomes the four of '\x1b'."""
    return _UNSHOWN.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def only_shown(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result | None]:
    """Decorates a function that only records or shows something: an error in it is logged, three times at most."""
    failures = 0

    @functools.wraps(function)
    def safe(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result | None:
        nonlocal failures
        try:
            return function(*args, **kwargs)
        except Exception:
            failures += 1
            if failures <= _MAX_WARNINGS:
                logging.warning("%s failed; what it shows is missing.\n%s", function.__name__, traceback.format_exc())
            return None

    return safe
