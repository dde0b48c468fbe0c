"""make_folder: folders that the tasks' containers can write to."""

import os
import pathlib


def make_folder(folder: pathlib.Path) -> None:
    """Makes a folder with the owner of its parent, the image's user, for the launcher may be root.

    Args:
        folder: The folder; one that exists is left as it is.
    """
    if folder.is_dir():
        return
    folder.mkdir()
    if os.geteuid() == 0:
        above = folder.parent.stat()
        os.chown(folder, above.st_uid, above.st_gid)
