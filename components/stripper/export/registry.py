"""The registry of exporters: each format that a stripped model can be exported in, by its name.

A name stands for one exporter: one of this package, or one that a module registers with `register_exporter`. In a
process that has not imported that module, such as that of an executor or of `tfx-pruning`, 'MODULE:NAME' imports it.
The name alone is enough if an installed package has an entry point of that name, in the group `tfx_pruning.exporters`,
whose value is the module.

Exporters are imported when they are asked for: the names alone load no TensorFlow.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .exporter import Exporter

ENTRY_POINTS = "tfx_pruning.exporters"

# Module of this folder and the name in it, by format.
_BUILT_IN = {
    "frozen_graph": ("frozen_graph", "FROZEN_GRAPH"),
    "keras_weights": ("keras_weights", "KERAS_WEIGHTS"),
    "tflite": ("tflite", "FLOAT32"),
    "tflite_sparse": ("tflite", "SPARSE"),
    "tflite_float16": ("tflite", "FLOAT16"),
    "tflite_sparse_float16": ("tflite", "SPARSE_FLOAT16"),
    "tflite_dynamic_int8": ("tflite", "DYNAMIC_INT8"),
    "tflite_sparse_dynamic_int8": ("tflite", "SPARSE_DYNAMIC_INT8"),
    "tflite_int8": ("tflite", "INT8"),
    "tflite_sparse_int8": ("tflite", "SPARSE_INT8"),
}
# By name: the exporter, and the module that registered it.
_registered: dict[str, tuple[Exporter, str]] = {}

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_MAIN = "__main__"


def register_exporter(name: str, exporter: Exporter) -> None:
    """Adds a format that stripped models can be exported in.

    Call it in a module of your own, outside of functions. Where the module has been imported, the format is `name`.
    Other processes, such as those of executors and of `tfx-pruning`, find it as 'MODULE:NAME'; or as `name`, if your
    package has an entry point of that name in the group `tfx_pruning.exporters` whose value is the module. Stripper
    passes 'MODULE:NAME' to its executor itself, so the module must be importable where that runs.

    Args:
        name: Lower-case letters, digits and underscores, a letter first. It begins the names of the properties that
            Stripper writes, such as 'onnx_bytes'.
        exporter: The exporter.

    Raises:
        TypeError: `exporter` is no Exporter, or a class instead of an object.
        ValueError: `name` is of another form, or taken.
    """
    module = sys._getframe(1).f_globals.get("__name__", _MAIN)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"The exporter's name is {name!r}, expected lower-case letters, digits and underscores with a letter "
            "first, such as 'onnx'."
        )
    checked = _checked_exporter(name, exporter)
    if name in _BUILT_IN:
        raise ValueError(f"The exporter's name is {name!r}, which is a format of tfx_pruning; choose another name.")
    if checked.name not in ("", name):
        raise ValueError(
            f"The exporter {name!r} is registered as {checked.name!r} already; make an object of its own for each name."
        )
    others = [each.module for each in _entry_points(name) if each.module.split(".")[0] != module.split(".")[0]]
    # A module that is imported again, or a cell that is run again, registers again.
    if name in _registered and _registered[name][1] != module:
        others.append(_registered[name][1])
    if others:
        raise ValueError(
            f"The exporter {name!r} of the module {module!r} cannot be registered: the module {others[0]!r} has one of "
            "that name. Choose another name."
        )
    checked.name = name
    _registered[name] = (checked, module)


def format_names() -> tuple[str, ...]:
    """The names of all formats that are known here: built in, of installed packages, registered in this process."""
    installed = sorted(importlib.metadata.entry_points(group=ENTRY_POINTS).names)
    return tuple(dict.fromkeys([*_BUILT_IN, *installed, *sorted(_registered)]))


def exporters(names: Sequence[str]) -> tuple[Exporter, ...]:
    """The exporters of some formats, in the order given.

    Args:
        names: Names of formats, or 'MODULE:NAME' for a format that an importable module registers.

    Raises:
        TypeError: `names` is a single string.
        ValueError: A name is unknown or given twice, or a module cannot be imported or does not register the name.
    """
    if isinstance(names, str):
        raise TypeError(f"export is the string {names!r}, expected a sequence of format names, such as [{names!r}].")
    found: dict[str, Exporter] = {}
    for name in names:
        exporter = _exporter(name)
        if exporter.name in found:
            raise ValueError(f"export has the format {exporter.name!r} twice; name each once.")
        found[exporter.name] = exporter
    return tuple(found.values())


def portable_name(name: str) -> str:
    """A format's name as another process finds it: 'MODULE:NAME' if a module of this process registered it."""
    if name not in _registered or _registered[name][1] == _MAIN or _entry_points(name):
        return name
    return f"{_registered[name][1]}:{name}"


def _exporter(reference: str) -> Exporter:
    module, separator, name = reference.rpartition(":")
    installed = _entry_points(name)
    if separator:
        _import(module, f"export has the format {reference!r}", name)
    elif name in _BUILT_IN:
        if installed:
            raise ValueError(
                f"export has the format {name!r} of tfx_pruning, and {_packages(installed)} has another of that name. "
                "Uninstall that, or rename its entry point."
            )
        return _built_in(name)
    elif installed and name not in _registered:
        if len({each.value for each in installed}) > 1:
            raise ValueError(
                f"export has the format {name!r}, which several installed packages have: {_packages(installed)}. "
                "Uninstall all but one of them."
            )
        _import(installed[0].value, f"export has the format {name!r} of {_packages(installed)}", name)
    if name not in _registered:
        raise ValueError(_unknown(name))
    return _registered[name][0]


def _built_in(name: str) -> Exporter:
    module, attribute = _BUILT_IN[name]
    exporter = getattr(importlib.import_module(f"{__name__.rpartition('.')[0]}.{module}"), attribute)
    exporter.name = name
    return exporter


def _import(module: str, given: str, name: str) -> None:
    """Imports a module that registers a format.

    Args:
        module: Name of the module.
        given: What was given, for an error.
        name: Name of the format.

    Raises:
        ValueError: The module cannot be imported, or does not register the format.
    """
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"{given}, but the module {module!r} cannot be imported: {error}. Install it, or put its folder on "
            "PYTHONPATH."
        ) from error
    if name not in _registered:
        raise ValueError(
            f"{given}, but the module {module!r} does not register {name!r}; call "
            f"tfx_pruning.register_exporter({name!r}, ...) there, outside of functions."
        )


def _entry_points(name: str) -> list[importlib.metadata.EntryPoint]:
    return list(importlib.metadata.entry_points(group=ENTRY_POINTS, name=name))


def _packages(entry_points: Sequence[importlib.metadata.EntryPoint]) -> str:
    """The installed packages that have entry points, for a message."""
    return ", ".join(sorted({each.dist.name for each in entry_points if each.dist is not None}))


def _checked_exporter(name: str, exporter: Any) -> Exporter:
    from .exporter import Exporter

    if not isinstance(exporter, Exporter):
        is_class = isinstance(exporter, type) and issubclass(exporter, Exporter)
        mend = (
            f"give an object of that class, such as {exporter.__name__}()"
            if is_class
            else "derive its class from tfx_pruning.stripper.export.exporter.Exporter"
        )
        raise TypeError(f"The exporter {name!r} is {exporter!r}, expected an Exporter; {mend}.")
    return exporter


def _unknown(name: str) -> str:
    known = format_names()
    near = difflib.get_close_matches(name, known, n=1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    return (
        f"export has the unknown format {name!r}, expected some of {', '.join(known)}.{meant} A format that a module "
        "of yours registers is named 'MODULE:NAME'."
    )
