"""temporary_folder: keeps the temporary files of a run together, and removes them."""

import contextlib
import os
import tempfile
from collections.abc import Iterator

_VARIABLE = "TMPDIR"


@contextlib.contextmanager
def temporary_folder() -> Iterator[str]:
    """Where this process, and those that it starts, write temporary files while the block runs; yields the folder.

    TFX removes none of its own: for each Beam step it packs its source, which takes 52 MB, and TensorFlow's AutoGraph
    leaves a file for every function that it traces.
    """
    former, former_variable = tempfile.tempdir, os.environ.get(_VARIABLE)
    with tempfile.TemporaryDirectory(prefix="tfx_pruning_", ignore_cleanup_errors=True) as folder:
        tempfile.tempdir = os.environ[_VARIABLE] = folder
        try:
            yield folder
        finally:
            tempfile.tempdir = former
            if former_variable is None:
                del os.environ[_VARIABLE]
            else:
                os.environ[_VARIABLE] = former_variable
