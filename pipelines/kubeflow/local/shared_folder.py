"""make_folder: folders that the tasks' containers can write to."""

import os
import pathlib


def make_folder(folder: pathlib.Path) -> None:
    """Makes a folder owned by whoever owns the one above, for whom the launcher may be root: the image's user.

    Args:
        folder: The folder. It is left as it is if it is there.
    """
    if folder.is_dir():
        return
    folder.mkdir()
    if os.geteuid() == 0:
        above = folder.parent.stat()
        os.chown(folder, above.st_uid, above.st_gid)
