"""temporary_folder: keeps the temporary files of a run together, and removes them."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

_VARIABLE = "TMPDIR"


@contextlib.contextmanager
def temporary_folder(owner: pathlib.Path, is_alone: bool) -> Iterator[str]:
    """Where this process, and those that it starts, write temporary files while the block runs; yields the folder.

    TFX removes none of its own: for each Beam step it packs its source, which takes 52 MB, and TensorFlow's AutoGraph
    leaves a file for every function that it traces.

    Args:
        owner: A folder that the work is for; it is told by its number in its file system.
        is_alone: Whether no other process works for the same folder. Then what those left that were killed goes.
    """
    status = owner.stat()
    prefix = f"tfx_pruning_{status.st_dev:x}_{status.st_ino:x}_"
    if is_alone:
        for dead in pathlib.Path(tempfile.gettempdir()).glob(f"{prefix}*"):
            shutil.rmtree(dead, ignore_errors=True)
    former, former_variable = tempfile.tempdir, os.environ.get(_VARIABLE)
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        tempfile.tempdir = os.environ[_VARIABLE] = folder
        try:
            yield folder
        finally:
            tempfile.tempdir = former
            if former_variable is None:
                del os.environ[_VARIABLE]
            else:
                os.environ[_VARIABLE] = former_variable
