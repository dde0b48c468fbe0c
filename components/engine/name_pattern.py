"""NamePattern: a regular expression of variable names whose search takes a bounded time, whatever the expression."""

import functools

import re2

_SYNTAX = (
    "RE2 has Python's syntax without lookarounds, backreferences and possessive repetition: say with include and "
    "exclude together what a lookaround would"
)


class NamePattern:
    """A regular expression in RE2's syntax, whose search takes steps in proportion to the name's length.

    Python's own search tries one way after the other, which takes 2^n steps for `(a+)+$` in a name of n letters. RE2's
    `\\w`, `\\d`, `\\s` and `\\b` know ASCII only, its `$` is the end of the name alone.

    Attributes:
        pattern: The expression.
    """

    def __init__(self, pattern: str) -> None:
        """Reads an expression.

        Raises:
            ValueError: It is not a regular expression, is too large, or has what RE2 does not know, as lookaheads.
        """
        self.pattern = pattern
        options = re2.Options()
        options.log_errors = False
        try:
            # As bytes, since names may hold lone surrogates. Alone first, so that an error shows what was given.
            re2.compile(_utf8(pattern), options)
            # RE2's own search may begin between the bytes of a letter, where it finds `\B`; `.` takes whole letters.
            self._regexp = re2.compile(b"(?s:.*?)(?:" + _utf8(pattern) + b")", options)
        except re2.error as error:
            reason = error.args[0].decode(errors="replace")
            raise ValueError(f"it is not a regular expression of RE2: {reason}. {_SYNTAX}") from error

    def search(self, name: str) -> bool:
        """Whether the expression matches somewhere in `name`."""
        return self._regexp.match(_utf8(name)) is not None


@functools.lru_cache(maxsize=1024)
def name_pattern(pattern: str) -> NamePattern:
    """The NamePattern of an expression.

    Raises:
        ValueError: See NamePattern.
    """
    return NamePattern(pattern)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
