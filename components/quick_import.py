"""quick_import: cheaper imports of TensorFlow and TFX, for the start of a process."""

import contextlib
import gc
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType

# TensorFlow and Keras import these if they are installed: for wrappers, plots and TPUs in the cloud.
OPTIONAL = ("googleapiclient", "matplotlib", "pandas", "scipy", "sklearn")


@contextlib.contextmanager
def quick_import(without: Sequence[str] = ()) -> Iterator[None]:
    """Imports in the block are made without garbage collection, which would go through what they make time and again.

    Collections after the block pass over all that was made until then: modules stay to the end of the process. The
    block is an ordinary one if TensorFlow is loaded before it.

    Args:
        without: Top-level modules that the block finds as little as if they were not installed. Code of users must not
            be imported in a block with such, nor Keras be trained with after it: it would do without them for good.
    """
    if "tensorflow" in sys.modules:
        yield
        return
    hidden, enabled = _Hidden(without), gc.isenabled()
    sys.meta_path.insert(0, hidden)
    gc.disable()
    try:
        yield
    finally:
        sys.meta_path.remove(hidden)
        gc.freeze()
        if enabled:
            gc.enable()


class _Hidden(importlib.abc.MetaPathFinder):
    """Finds some modules before others do, and says that they are not there."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Leaves all other modules to the finders behind it."""
        if fullname in self._names:
            raise ModuleNotFoundError(f"{fullname} is left out of this import", name=fullname)
        return None
