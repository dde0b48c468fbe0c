"""A user's module as one that can be imported in this process, and in the processes that it starts."""

import dataclasses
import hashlib
import importlib
import os
import pathlib
import re
import shutil
import sys

from tfx_pruning.pipelines.config import PipelineConfig

# The folders of copies, for `worker_path`.
COPIES_VARIABLE = "TFX_PRUNING_MODULE_COPIES"


def with_importable_module(config: PipelineConfig, folder: pathlib.Path) -> PipelineConfig:
    """A configuration whose module can be imported by `module_path`.

    Of a file TFX builds a wheel for every node, and installs it before the node runs, which takes seconds each time. It
    builds it in a folder with copies of all files beside the module, and puts that before Python's own libraries in the
    processes that it starts, so that a `types.py` or `random.py` there breaks them.

    Args:
        config: The configuration.
        folder: As for `importable_copy`.

    Returns:
        The configuration itself if it has a `module_path`; otherwise one that names a copy of `module_file`.

    Raises:
        OSError: The module cannot be read, or the copy cannot be written.
    """
    if config.module_path:
        return config
    return dataclasses.replace(config, module_path=importable_copy(config.module_file, folder))


def importable_copy(module_file: str, folder: pathlib.Path) -> str:
    """Copies a module, with the modules beside it, and puts the copy at the end of the path of imports.

    There it hides no library. Its name holds a hash of its content, so that TFX's cache sees when a module has changed.

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
    copies = list(filter(None, os.environ.get(COPIES_VARIABLE, "").split(os.pathsep)))
    os.environ[COPIES_VARIABLE] = os.pathsep.join(dict.fromkeys([*copies, str(copy)]))
    # Else processes that are started with `python -m`, as Beam's workers are, have the working directory first on their
    # path, which may be the module's. Python 3.10 does not know this.
    os.environ["PYTHONSAFEPATH"] = "1"
    importlib.invalidate_caches()
    return name
