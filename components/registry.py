"""Registry: what a name given by a user stands for, built in or registered by a module of the user's.

A name is known in one of three ways:

- It is built in. What it stands for is imported when it is used: the names alone load no TensorFlow.
- A module registers it while it is imported. 'MODULE:NAME' imports that module, in any process.
- An installed package has an entry point of that name, whose value is the module that registers it.

A name belongs to the class that was registered first. The same class may be registered again, from the same module or
from a copy of its file. Any other is refused.
"""

import dataclasses
import importlib
import importlib.metadata
import inspect
import re
import sys
from collections.abc import Mapping
from typing import Generic, TypeVar

from .suggestion import suggestion

Entry = TypeVar("Entry")

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_MAIN = "__main__"


@dataclasses.dataclass(frozen=True)
class _Registration(Generic[Entry]):
    """What was registered under one name.

    Attributes:
        entry: What the name stands for.
        module: The module that registered it.
        home: Module and qualified name of the class that the entry was made of.
        source: Source text of that class; None if there is no file to read it from.
    """

    entry: Entry
    module: str
    home: tuple[str, str]
    source: str | None


class Registry(Generic[Entry]):
    """The names that one setting takes, and what each stands for.

    Attributes:
        field: The setting, as a message calls it.
        built_in: What the names that are built in stand for.
        function: The public function that registers a name; '' if users cannot register any.
        group: The group of entry points; '' for none.
    """

    def __init__(self, field: str, built_in: Mapping[str, Entry], function: str = "", group: str = "") -> None:
        """Takes the names that are built in; see the class."""
        self.field = field
        self.built_in = dict(built_in)
        self.function = function
        self.group = group
        self._registered: dict[str, _Registration[Entry]] = {}

    def names(self) -> list[str]:
        """All names: the built-in ones first, then what was registered and what installed packages offer, sorted."""
        others = {*self._registered, *self._entry_points().names} - self.built_in.keys()
        return [*self.built_in, *sorted(others)]

    def loaded(self) -> dict[str, Entry]:
        """What the names stand for, without those of packages whose modules were not imported."""
        return self.built_in | {name: registration.entry for name, registration in self._registered.items()}

    def get(self, reference: str) -> Entry:
        """What a name stands for.

        Args:
            reference: A name, or 'MODULE:NAME', which imports the module that registers the name.

        Raises:
            ValueError: The name is unknown, or two installed packages offer it; or its module cannot be imported or
                does not register it.
        """
        if reference in self.built_in:
            return self.built_in[reference]
        module, separator, name = reference.rpartition(":")
        if self.function and separator and all(map(str.isidentifier, module.split("."))):
            self._import(module, name, f"{self.field} is {reference!r}")
        elif reference not in self._registered:
            self._import_entry_point(reference)
            if reference not in self._registered:
                raise ValueError(self._unknown(reference))
        return self._registered[name].entry

    def portable(self, reference: str) -> str:
        """A reference as another process understands it: 'MODULE:NAME' if a module of this one registered the name.

        What `__main__` registered, which no other process can import, stays as it is.
        """
        known = self._registered.get(reference)
        if known is None or known.module == _MAIN or self._entry_points(name=reference):
            return reference
        return f"{known.module}:{reference}"

    def register(self, name: str, entry: Entry, definition: type) -> None:
        """Adds a name. To be called by the public function that users call.

        The same class may be registered again, as it is when its module is reloaded, or imported from a copy, as TFX
        does with a module file: the last one counts.

        Args:
            name: Lower-case letters, digits and underscores, a letter first.
            entry: What it stands for.
            definition: The class that the entry was made of.

        Raises:
            TypeError: The name is not a string.
            ValueError: The name is of another form, or it is taken.
        """
        self.check_name(name)
        module = sys._getframe(2).f_globals.get("__name__", _MAIN)
        new = _Registration(entry, module, (definition.__module__, definition.__qualname__), _source(definition))
        owner = self._other_owner(name, new)
        if owner:
            raise ValueError(
                f"{self.field} {name!r}, registered by {module}, is {owner} already. Register yours under another name."
            )
        self._registered[name] = new

    def check_name(self, name: str) -> None:
        """Checks the form of a name that is to be registered.

        Raises:
            TypeError: It is not a string.
            ValueError: It is of another form.
        """
        if not isinstance(name, str):
            raise TypeError(
                f"{self.function} needs a string as the name, got {name!r} of type {type(name).__name__}. Give a name "
                "such as 'mine'."
            )
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"{self.function} needs a name of lower-case letters, digits and underscores with a letter first, got "
                f"{name!r}. Choose one such as 'mine'."
            )

    def _other_owner(self, name: str, new: _Registration[Entry]) -> str:
        """Who else has the name already; '' if nobody has, or the same class."""
        if name in self.built_in:
            return "built in"
        known = self._registered.get(name)
        if known is not None and known.home != new.home and (known.source is None or known.source != new.source):
            return f"that of {'.'.join(known.home)}"
        package = _top(new.module)
        for offer in self._entry_points(name=name):
            if _top(offer.module) != package:
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
                f"{self.field} is {name!r}, which must be of one installed package, and is offered by "
                f"{' and '.join(map(_distribution, offers))}. Uninstall all but one of them."
            )
        for offer in offers:
            self._import(offer.module, name, f"{self.field} is {name!r} of {_distribution(offer)}")

    def _import(self, module: str, name: str, given: str) -> None:
        """Imports a module that registers a name.

        Args:
            module: Name of the module.
            name: The name.
            given: What was given, for an error.

        Raises:
            ValueError: The module cannot be imported, or does not register the name.
        """
        try:
            importlib.import_module(module)
        except Exception as error:  # a module may fail in any way
            raise ValueError(
                f"{given}, and the module {module!r} cannot be imported: {error}. Install it, or put its folder on "
                "PYTHONPATH."
            ) from error
        if name not in self._registered:
            raise ValueError(
                f"{given}, and the module {module!r} does not register {name!r}. Call {self.function}({name!r}, ...) "
                "there, outside of functions."
            )

    def _unknown(self, reference: str) -> str:
        message = f"Unknown {self.field} {reference!r}. {suggestion(reference, self.names())}"
        if self.function:
            name = plain_name(reference)
            message += (
                f" For one of your own, import the module that calls {self.function}({name!r}, ...), or write "
                f"'MODULE:{name}', which imports it."
            )
        return message


def plain_name(reference: str) -> str:
    """The name alone of a name or 'MODULE:NAME'.

    Example:
        >>> plain_name("my_module:mine")
        'mine'
    """
    return reference.rpartition(":")[2]


def _source(definition: type) -> str | None:
    try:
        return inspect.getsource(definition)
    except (OSError, TypeError):  # typed at a prompt, say
        return None


def _top(module: str) -> str:
    return module.partition(".")[0]


def _distribution(offer: importlib.metadata.EntryPoint) -> str:
    return f"the package {offer.dist.name}" if offer.dist else offer.value
