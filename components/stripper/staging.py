"""A folder that appears at once: written under a hidden name beside its place, then renamed."""

import contextlib
import os
import uuid
from collections.abc import Iterator

import tensorflow as tf


@contextlib.contextmanager
def staged(destination: str, overwrite: bool = False) -> Iterator[str]:
    """Gives an empty folder to write to, which becomes `destination` when the block ends without an error.

    A process that is killed leaves no `destination`, only the hidden `.NAME.HEX.stripping` beside it, which can be
    deleted. After an error nothing is left.

    Args:
      destination: A path where nothing is, or an empty folder. Missing parents are made.
      overwrite: Whether a folder that is not empty is replaced; it is moved aside, to `.NAME.HEX.replaced`, and deleted
        when the new one is in place.

    Yields:
      The folder to write to; it has the same parent.

    Raises:
      FileExistsError: `destination` is a file, or a folder that is not empty and `overwrite` is False.
      OSError: `destination` cannot be written.
    """
    refuse_occupied(destination, overwrite)
    place = destination.rstrip("/")
    if "://" not in place:
        place = os.path.abspath(place)
    parent, name = os.path.split(place)
    unique = uuid.uuid4().hex
    folder, replaced = (os.path.join(parent, f".{name}.{unique}.{what}") for what in ("stripping", "replaced"))
    try:
        tf.io.gfile.makedirs(folder)
    except tf.errors.OpError as error:
        raise OSError(
            f"{destination!r} cannot be written: the folder {parent!r} cannot be made or written to ({error.message}). "
            "Choose a destination in a folder that this process may write to."
        ) from error
    try:
        yield folder
        try:
            if overwrite and tf.io.gfile.exists(place):
                tf.io.gfile.rename(place, replaced)
            tf.io.gfile.rename(folder, place, overwrite=True)
        except tf.errors.OpError as error:
            raise OSError(
                f"{destination!r} cannot be put in place ({error.message}). Choose a destination where nothing is."
            ) from error
    except BaseException:
        tf.io.gfile.rmtree(folder)
        if tf.io.gfile.exists(replaced):
            tf.io.gfile.rename(replaced, place)
        raise
    if tf.io.gfile.exists(replaced):
        tf.io.gfile.rmtree(replaced)


def refuse_occupied(destination: str, overwrite: bool = False) -> None:
    """Raises a FileExistsError if `destination` is a file, or a folder that is neither empty nor to be replaced."""
    if not tf.io.gfile.exists(destination):
        return
    if not tf.io.gfile.isdir(destination):
        raise FileExistsError(f"{destination!r} is a file; give a destination where nothing is yet.")
    if not overwrite and (found := sorted(tf.io.gfile.listdir(destination))):
        raise FileExistsError(
            f"{destination!r} is not empty, it holds {', '.join(found)}; give a destination where nothing is yet, or "
            "overwrite=True to replace what is there."
        )
