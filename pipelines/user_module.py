"""A user's module, imported where its criteria and schedules must be known before a component runs it."""

import hashlib
import importlib.util
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from tfx_pruning.engine.choices import CRITERIA, SCHEDULES
from tfx_pruning.registry import Registry


def import_for_names(module_path: str, module_file: str, fields: Mapping[str, Any]) -> None:
    """Imports a pipeline's module if hyperparameters name a criterion or a schedule that is not known yet.

    A module that is not here, as one of an image or behind a URI, is left alone. 'MODULE:NAME' names its own module.

    Args:
        module_path: Dotted path of the module; '' for the file.
        module_file: The Python file.
        fields: Fields of PruningHParams and their values.

    Raises:
        ValueError: The module fails while it is imported.
    """
    unknown = [
        f"{registry.field}={fields[registry.field]!r}"
        for registry in (CRITERIA, SCHEDULES)
        if registry.field in fields and not _is_known(registry, str(fields[registry.field]))
    ]
    if not unknown:
        return
    try:
        if module_path:
            if _is_installed(module_path):
                importlib.import_module(module_path)
        elif pathlib.Path(module_file).is_file():
            _import_file(pathlib.Path(module_file).absolute())
    except Exception as error:
        raise ValueError(
            f"The module {module_path or module_file} was imported for {' and '.join(unknown)}, and failed: {error!r}. "
            "Mend the module, or use names that are built in."
        ) from error


def _is_known(registry: Registry[Any], reference: str) -> bool:
    return ":" in reference or reference in registry.names()


def _is_installed(module_path: str) -> bool:
    try:
        return importlib.util.find_spec(module_path) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


def _import_file(file: pathlib.Path) -> None:
    """Imports a file once, under a name of its own; it may import the files beside it."""
    name = f"{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.append(str(file.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(file.parent))
