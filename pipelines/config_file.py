"""A configuration file: a mapping in YAML, of which JSON is a part."""

import os
import pathlib
from typing import Any

import yaml


def read_mapping(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a YAML or JSON file that is one mapping.

    Args:
        path: The file.

    Returns:
        The mapping; empty if the file is.

    Raises:
        ValueError: The file is something else, is not UTF-8, or names a key twice.
        OSError: It cannot be read.
    """
    try:
        found = yaml.load(pathlib.Path(path).read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{os.fspath(path)} is neither YAML nor JSON: {' '.join(str(error).split())}") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ValueError(
            f"{os.fspath(path)} must be one mapping, such as 'label_key: price', got {found!r} of type "
            f"{type(found).__name__}."
        )
    return found


class _Loader(yaml.SafeLoader):
    """Refuses a key that is named twice, of which YAML would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} is named twice", node.start_mark)
        return super().construct_mapping(node, deep)
