"""The formats that a stripped model can be exported in: the one list of those that are built in.

Exporters are imported when they are asked for: the names alone load no TensorFlow.
"""

from __future__ import annotations

import functools
import pkgutil
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ...registry import Registry

if TYPE_CHECKING:
    from .exporter import Exporter


def _load(name: str, place: str) -> Exporter:
    exporter = pkgutil.resolve_name(f"{__package__}.{place}")
    exporter.name = name
    return exporter


# Module of this folder and the name in it, by format.
_PLACES = {
    "frozen_graph": "frozen_graph:FROZEN_GRAPH",
    "keras_weights": "keras_weights:KERAS_WEIGHTS",
    "tflite": "tflite:FLOAT32",
    "tflite_sparse": "tflite:SPARSE",
    "tflite_float16": "tflite:FLOAT16",
    "tflite_sparse_float16": "tflite:SPARSE_FLOAT16",
    "tflite_dynamic_int8": "tflite:DYNAMIC_INT8",
    "tflite_sparse_dynamic_int8": "tflite:SPARSE_DYNAMIC_INT8",
    "tflite_int8": "tflite:INT8",
    "tflite_sparse_int8": "tflite:SPARSE_INT8",
}

FORMATS: Registry[Callable[[], Exporter]] = Registry(
    "export",
    {name: functools.partial(_load, name, place) for name, place in _PLACES.items()},
    function="tfx_pruning.register_exporter",
    group="tfx_pruning.exporters",
)


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
        exporter = FORMATS.get(name)()
        if exporter.name in found:
            raise ValueError(f"export has the format {exporter.name!r} twice; name each once.")
        found[exporter.name] = exporter
    return tuple(found.values())


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
        TypeError: `exporter` is no Exporter, or a class instead of an object; or the name is not a string.
        ValueError: The name is of another form; it is built in, registered by another class, or an entry point of
            another package; or the object is registered under another name already.
    """
    FORMATS.check_name(name)
    _check_exporter(name, exporter)
    if exporter.name not in ("", name):
        raise ValueError(
            f"The exporter {name!r} is registered as {exporter.name!r} already; make an object of its own for each "
            "name."
        )
    FORMATS.register(name, lambda: exporter, type(exporter))
    exporter.name = name


def _check_exporter(name: str, exporter: object) -> None:
    from .exporter import Exporter

    if not isinstance(exporter, Exporter):
        is_class = isinstance(exporter, type) and issubclass(exporter, Exporter)
        mend = (
            f"give an object of that class, such as {exporter.__name__}()"
            if is_class
            else "derive its class from tfx_pruning.stripper.export.exporter.Exporter"
        )
        raise TypeError(f"The exporter {name!r} is {exporter!r}, expected an Exporter; {mend}.")
