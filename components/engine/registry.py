"""Registry: what a hyperparameter may name, built in or registered by a user's module."""

import dataclasses
import difflib
import importlib.metadata
import inspect
import re
from collections.abc import Mapping
from typing import Generic, TypeVar

Entry = TypeVar("Entry")

_NAME = re.compile(r"[A-Za-z_][\w.-]*")


@dataclasses.dataclass(frozen=True)
class _Registration(Generic[Entry]):
    """What was registered under one name.

    Attributes:
        entry: What the name stands for.
        home: Module and qualified name of the class.
        source: Source text of the class; None if there is no file to read it from.
    """

    entry: Entry
    home: tuple[str, str]
    source: str | None


class Registry(Generic[Entry]):
    """The names that one hyperparameter takes, and what each stands for.

    A name is built in, or registered by the module that defines it, when that module is imported. An installed package
    has its module imported when a name is asked for: by an entry point of that name, whose value is the module.

    Attributes:
        field: The hyperparameter.
        function: The public function that registers a name; '' if users cannot register any.
        group: The group of entry points; '' for none.
        built_in: What the names that are built in stand for.
    """

    def __init__(self, field: str, built_in: Mapping[str, Entry], function: str = "", group: str = "") -> None:
        """Takes the names that are built in; see the class."""
        self.field = field
        self.function = function
        self.group = group
        self.built_in = dict(built_in)
        self._registered: dict[str, _Registration[Entry]] = {}

    def names(self) -> list[str]:
        """All names: the built-in ones first, then what was registered and what installed packages offer, sorted."""
        return [*self.built_in, *sorted({*self._registered, *self._entry_points().names})]

    def loaded(self) -> dict[str, Entry]:
        """What the names stand for, without those of packages whose modules were not imported."""
        return self.built_in | {name: registration.entry for name, registration in self._registered.items()}

    def get(self, name: str) -> Entry:
        """What a name stands for.

        Raises:
            ValueError: It is unknown, or two installed packages offer it.
        """
        if name in self.built_in:
            return self.built_in[name]
        if name not in self._registered:
            self._import_entry_point(name)
        if name not in self._registered:
            raise ValueError(self._unknown(name))
        return self._registered[name].entry

    def register(self, name: str, entry: Entry, definition: type) -> None:
        """Adds a name.

        The same definition may be registered again, as it is when its module is reloaded, or imported from a copy, as
        TFX does with a module file: the last one counts.

        Args:
            name: Letters, digits, `_`, `.` and `-`.
            entry: What it stands for.
            definition: The class that the entry was made of.

        Raises:
            TypeError: The name is not a string.
            ValueError: The name is of another form, or it is taken.
        """
        if not isinstance(name, str):
            raise TypeError(f"The name of a {self.field} must be a string, got {name!r} of type {type(name).__name__}.")
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"The name of a {self.field} must be a letter and then letters, digits or _.- only, got {name!r}."
            )
        new = _Registration(entry, (definition.__module__, definition.__qualname__), _source(definition))
        owner = self._owner(name, new)
        if owner:
            raise ValueError(f"The {self.field} {name!r} is {owner} already. Register yours under another name.")
        self._registered[name] = new

    def _owner(self, name: str, new: _Registration[Entry]) -> str:
        """Who has the name already; '' if nobody has, or the same definition."""
        if name in self.built_in:
            return "built in"
        known = self._registered.get(name)
        if known is not None and known.home != new.home and (known.source is None or known.source != new.source):
            return f"that of {'.'.join(known.home)}"
        package = new.home[0].partition(".")[0]
        for offer in self._entry_points(name=name):
            if offer.module.partition(".")[0] != package:
                return f"an entry point of {_distribution(offer)}"
        return ""

    def _entry_points(self, **of: str) -> importlib.metadata.EntryPoints:
        if not self.group:
            return importlib.metadata.EntryPoints()
        return importlib.metadata.entry_points(group=self.group, **of)

    def _import_entry_point(self, name: str) -> None:
        offers = tuple(self._entry_points(name=name))
        if len(offers) > 1:
            raise ValueError(
                f"The {self.field} {name!r} is offered by {' and '.join(map(_distribution, offers))}. Uninstall one of "
                "them."
            )
        for offer in offers:
            offer.load()
            if name not in self._registered:
                raise ValueError(
                    f"The entry point {name!r} of {_distribution(offer)} imports {offer.value}, which does not call "
                    f"{self.function}({name!r}, ...). Call it where that module is imported."
                )

    def _unknown(self, name: str) -> str:
        names = self.names()
        close = difflib.get_close_matches(str(name), names, n=1)
        message = f"{self.field} must be one of {', '.join(names)}, got {name!r}."
        if close:
            message += f" Did you mean {close[0]!r}?"
        if self.function:
            message += (
                f" For one of your own, first import the module that calls {self.function}({name!r}, ...), or install "
                f"a package that has the entry point {name!r} in the group {self.group!r}."
            )
        return message


def _source(definition: type) -> str | None:
    try:
        return inspect.getsource(definition)
    except (OSError, TypeError):  # typed at a prompt, say
        return None


def _distribution(offer: importlib.metadata.EntryPoint) -> str:
    return f"the package {offer.dist.name}" if offer.dist else offer.value
