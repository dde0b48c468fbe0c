"""A configuration file: a mapping in YAML, of which JSON is a part."""

import os
import pathlib
from collections.abc import Hashable
from typing import Any

import yaml

from tfx_pruning.typed_value import shown

_MERGE = "tag:yaml.org,2002:merge"
_MAX_VALUES = 100_000  # with aliases written out


def read_mapping(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a YAML or JSON file that is one mapping.

    Args:
        path: The file.

    Returns:
        The mapping; empty if the file is.

    Raises:
        ValueError: The file is something else, is not UTF-8, names a key twice, merges mappings with `<<`, holds a
            value that is not what it looks like (such as the date 2026-99-99), is nested too deeply, or stands for more
            than 100,000 values when its aliases are written out.
        OSError: It cannot be read.
    """
    try:
        found = _loaded(pathlib.Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{os.fspath(path)} is neither YAML nor JSON: {' '.join(str(error).split())}") from error
    except RecursionError:
        raise ValueError(
            f"{os.fspath(path)} is nested too deeply, expected a mapping with lists and mappings in it. Write it flat."
        ) from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ValueError(
            f"{os.fspath(path)} must be one mapping, such as 'label_key: price', got {shown(found)} of type "
            f"{type(found).__name__}."
        )
    return found


def _loaded(text: str) -> Any:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return loader._value("the file", node)
    finally:
        loader.dispose()


def _count(node: yaml.Node, counts: dict[int, int | None]) -> int:
    """How many values a node stands for.

    Args:
        node: The node.
        counts: Those of nodes that were counted, by id; None of those that are being counted.

    Raises:
        ConstructorError: The node holds itself, or too many.
    """
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in counts:
        known = counts[id(node)]
        if known is None:
            raise _error(node, "an alias stands inside of what it stands for; write the values out")
        return known
    counts[id(node)] = None
    children = node.value if isinstance(node, yaml.SequenceNode) else [each for pair in node.value for each in pair]
    count = 1 + sum(_count(child, counts) for child in children)
    if count > _MAX_VALUES:
        raise _error(node, f"its aliases stand for more than {_MAX_VALUES:,} values; use fewer of them")
    counts[id(node)] = count
    return count


def _error(node: yaml.Node, problem: str) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


class _Loader(yaml.SafeLoader):
    """Refuses a key that is named twice, of which YAML would take the last, and says which value cannot be read."""

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            return super().construct_mapping(node, deep)
        found: dict[Any, Any] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                raise _error(
                    key, "the key '<<' merges one mapping into another, which is not supported; write the fields out"
                )
            name = self._value("a key", key)
            if not isinstance(name, Hashable):
                raise _error(key, f"a key must be a name, got {shown(name)}")
            if name in found:
                raise _error(key, f"{shown(name)} is named twice")
            found[name] = self._value(name, value)
        return found

    def _value(self, name: Any, node: yaml.Node) -> Any:
        try:
            return self.construct_object(node, deep=True)
        except (yaml.YAMLError, RecursionError):
            raise
        except Exception as error:  # PyYAML's own readers of numbers, dates and so on raise almost anything
            kind = node.tag.rpartition(":")[2]
            place = name if isinstance(name, str) else shown(name)
            raise _error(
                node, f"{place} holds {shown(node.value)}, which is no {kind} that can be read; put text in quotes"
            ) from error
