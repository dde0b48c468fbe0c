"""A user's module as one that can be imported in this process."""

import hashlib
import importlib
import pathlib
import re
import shutil
import sys


def importable_copy(module_file: str, folder: pathlib.Path) -> str:
    """Copies a module, with the modules beside it, and puts the copy on the path of imports.

    For every node, TFX builds a wheel of the module's folder and installs it before the node runs, which takes seconds
    each time. One copy serves all nodes of all rounds. Its name holds a hash of its content, so that TFX's cache sees
    when a module has changed.

    Args:
        module_file: The Python file.
        folder: Where copies go, each in a folder of its own.

    Returns:
        The name by which the module is imported.

    Raises:
        OSError: The module cannot be read, or the copy cannot be written.
    """
    source = pathlib.Path(module_file)
    files = sorted(file for file in source.parent.glob("*.py") if file.is_file())
    contents = [f"{file.name}\n{len(file.read_bytes())}\n".encode() + file.read_bytes() for file in files]
    digest = hashlib.sha256(b"".join([source.name.encode(), *contents])).hexdigest()[:12]
    name = f"{re.sub('[^A-Za-z0-9_]', '_', source.stem)}_{digest}"
    copy = folder / name
    copy.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(file, copy / file.name)
    shutil.copyfile(source, copy / f"{name}.py")
    if str(copy) not in sys.path:
        sys.path.append(str(copy))
    importlib.invalidate_caches()
    return name
