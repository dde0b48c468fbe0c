"""NamePattern: a regular expression of variable names whose search takes a bounded time, whatever the expression."""

import functools
import re
import sys
from collections.abc import Callable
from typing import Any

if sys.version_info >= (3, 11):
    from re import _compiler, _constants, _parser
else:
    import sre_compile as _compiler
    import sre_constants as _constants
    import sre_parse as _parser

_MAX_STATES = 5000
_TYPE_FLAGS = re.ASCII | re.LOCALE | re.UNICODE

# Whether there is a match at a position of a text.
_Test = Callable[[str, int, dict[Any, bool]], bool]


class NamePattern:
    """A regular expression in Python's syntax, without backreferences, atomic groups and conditions.

    Python's own search tries one way after the other, which takes 2^n steps for `(a+)+$` in a name of n letters. This
    one follows all ways at once: states * letters steps at most, times letters for each lookahead inside another.

    Attributes:
        pattern: The expression.
    """

    def __init__(self, pattern: str) -> None:
        """Reads an expression.

        Raises:
            ValueError: It is not a regular expression, is too large, or has one of the parts above.
        """
        self.pattern = pattern
        try:
            re.compile(pattern)
            tree = _parser.parse(pattern)
            self._program = _Program(tree, tree.state.flags)
        except (re.error, OverflowError) as error:
            raise ValueError(f"it is not a regular expression: {error}") from error
        except RecursionError:
            raise ValueError("it is not a regular expression: its brackets are nested too deeply") from None

    def search(self, name: str) -> bool:
        """Whether the expression matches somewhere in `name`, as `re.search`."""
        return self._program.matches(name, 0, None, anywhere=True, known={})


@functools.lru_cache(maxsize=1024)
def name_pattern(pattern: str) -> NamePattern:
    """The NamePattern of an expression.

    Raises:
        ValueError: See NamePattern.
    """
    return NamePattern(pattern)


class _Program:
    """A nondeterministic automaton. Its states are what is left to be matched.

    A state is `(test, width, next states)`: it is left for the next states where the test holds, `width` letters on.
    """

    def __init__(self, tree: Any, flags: int) -> None:
        self._states: list[tuple[_Test | None, int, list[int]]] = [(None, 0, [])]  # the first: all is matched
        self._start = self._sequence(tree, flags, 0)

    def matches(self, text: str, start: int, end: int | None, *, anywhere: bool, known: dict[Any, bool]) -> bool:
        """Whether a match begins at `start`, or `anywhere` from there on; and ends at `end`, or anywhere if None.

        Args:
            text: The text.
            start: Position in it.
            end: Position in it.
            anywhere: Whether the match may begin after `start`.
            known: What lookaheads and lookbehinds were found to be, by state and position.
        """
        coming: set[int] = set()
        for position in range(start, len(text) + 1):
            if anywhere or position == start:
                coming.add(self._start)
            reached, waiting = set(), list(coming)
            coming = set()
            while waiting:
                state = waiting.pop()
                if state in reached:
                    continue
                reached.add(state)
                test, width, following = self._states[state]
                if test is not None and not test(text, position, known):
                    continue
                if width:
                    coming.update(following)
                else:
                    waiting.extend(following)
            if 0 in reached and end in (None, position):
                return True
            if position == end or not (coming or anywhere):
                return False
        return False

    def _add(self, test: _Test | None, width: int, following: list[int]) -> int:
        if len(self._states) >= _MAX_STATES:
            raise ValueError(f"it stands for more than {_MAX_STATES} letters and choices; repeat less in it")
        self._states.append((test, width, following))
        return len(self._states) - 1

    def _sequence(self, tree: Any, flags: int, following: int) -> int:
        """Adds the states of a sequence that goes on at a state. Returns the first of them."""
        for operation, argument in reversed(list(tree)):
            following = self._one(operation, argument, flags, following)
        return following

    def _one(self, operation: Any, argument: Any, flags: int, following: int) -> int:
        if operation in (_constants.MAX_REPEAT, _constants.MIN_REPEAT):
            return self._repeat(*argument, flags, following)
        if operation is _constants.BRANCH:
            return self._add(None, 0, [self._sequence(each, flags, following) for each in argument[1]])
        if operation is _constants.SUBPATTERN:
            _, added, removed, tree = argument
            kept = flags & ~_TYPE_FLAGS if added & _TYPE_FLAGS else flags
            return self._sequence(tree, (kept | added) & ~removed, following)
        if operation in (_constants.ASSERT, _constants.ASSERT_NOT):
            return self._add(_look(operation is _constants.ASSERT, *argument, flags), 0, [following])
        if operation is _constants.AT:
            return self._add(_at_position(operation, argument, flags), 0, [following])
        if operation is _constants.FAILURE:
            return self._add(lambda text, position, known: False, 0, [following])
        if operation is _constants.LITERAL and not flags & re.IGNORECASE:
            return self._add(_letter(chr(argument)), 1, [following])
        if operation in (_constants.LITERAL, _constants.NOT_LITERAL, _constants.ANY, _constants.IN):
            return self._add(_in_text(_at_position(operation, argument, flags)), 1, [following])
        raise ValueError(
            "it has a backreference, an atomic group or a condition, for which no bound of the time is known; write it "
            "without, or as several expressions"
        )

    def _repeat(self, least: int, most: int, tree: Any, flags: int, following: int) -> int:
        if most is _constants.MAXREPEAT:
            loop = self._add(None, 0, [following])
            self._states[loop][2].append(self._sequence(tree, flags, loop))
            first = loop
        else:
            first = following
            for _ in range(most - least):
                first = self._add(None, 0, [following, self._sequence(tree, flags, first)])
        for _ in range(least):
            before = len(self._states)
            first = self._sequence(tree, flags, first)
            if len(self._states) == before:  # of nothing at all
                break
        return first


def _letter(letter: str) -> _Test:
    return lambda text, position, known: text[position : position + 1] == letter


def _in_text(test: _Test) -> _Test:
    return lambda text, position, known: position < len(text) and test(text, position, known)


def _at_position(operation: Any, argument: Any, flags: int) -> _Test:
    """Python's own answer for one letter, or for a place such as `^`, for which it takes one step."""
    state = _parser.State()
    state.flags = flags
    pattern = _compiler.compile(_parser.SubPattern(state, [(operation, argument)]))
    return lambda text, position, known: pattern.match(text, position) is not None


def _look(wanted: bool, direction: int, tree: Any, flags: int) -> _Test:
    """A lookahead (direction 1) or lookbehind (-1)."""
    program = _Program(tree, flags)
    width = tree.getwidth()[0]

    def test(text: str, position: int, known: dict[Any, bool]) -> bool:
        key = id(program), position
        if key not in known:
            start, end = (position, None) if direction > 0 else (position - width, position)
            known[key] = start >= 0 and program.matches(text, start, end, anywhere=False, known=known)
        return known[key] == wanted

    return test
