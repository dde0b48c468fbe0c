"""check_types: whether what was read from JSON has the types that its dataclasses say."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from ..typed_value import checked_value, shown


def check_types(place: str, kind: Any, value: Any) -> None:
    """Checks a value, and all that it holds, against an annotation.

    Args:
        place: What the value is, for messages, such as 'weights'.
        kind: bool, int, float, str, None, a dataclass of these; a union, tuple or mapping of them.
        value: The value. An int is taken for a float, NaN too.

    Raises:
        TypeError: It is of another type.
        ValueError: A number is infinite or too large.
    """
    if dataclasses.is_dataclass(kind) and isinstance(value, kind):
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            check_types(f"{place}.{field.name}" if place else field.name, hints[field.name], getattr(value, field.name))
        return
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return
        (kind,) = (each for each in arguments if each is not type(None))
        check_types(place, kind, value)
    elif origin is tuple and isinstance(value, tuple):
        if arguments[-1] is not ... and len(arguments) != len(value):
            raise TypeError(f"{place} must have {len(arguments)} items, got {shown(value)}")
        for index, each in enumerate(value):
            check_types(f"{place}[{index}]", arguments[0 if arguments[-1] is ... else index], each)
    elif origin is not None and isinstance(value, Mapping) and issubclass(origin, Mapping):
        for key, each in value.items():
            check_types(f"{place}[{shown(key)}]", arguments[1], each)
    elif kind is float and isinstance(value, float) and value != value:
        return
    elif kind in (bool, int, float, str):
        checked_value(place, kind, value)
    else:
        raise TypeError(f"{place} must be {getattr(kind, '__name__', kind)}, got {shown(value)}")
