"""A folder that appears at once: written under a hidden name beside its place, then renamed."""

import contextlib
import os
import uuid
from collections.abc import Iterator

import tensorflow as tf


@contextlib.contextmanager
def staged(destination: str) -> Iterator[str]:
    """Gives an empty folder to write to, which becomes `destination` when the block ends without an error.

    A process that is killed leaves no `destination`, only the hidden `.NAME.HEX.stripping` beside it, which can be
    deleted. After an error nothing is left.

    Args:
      destination: A path where nothing is, or an empty folder. Missing parents are made.

    Yields:
      The folder to write to; it has the same parent.

    Raises:
      FileExistsError: `destination` is a file, or a folder that is not empty.
      OSError: `destination` cannot be written.
    """
    refuse_occupied(destination)
    place = destination.rstrip("/")
    if "://" not in place:
        place = os.path.abspath(place)
    parent, name = os.path.split(place)
    folder = os.path.join(parent, f".{name}.{uuid.uuid4().hex}.stripping")
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
            tf.io.gfile.rename(folder, place, overwrite=True)
        except tf.errors.OpError as error:
            raise OSError(
                f"{destination!r} cannot be put in place ({error.message}). Choose a destination where nothing is."
            ) from error
    except BaseException:
        tf.io.gfile.rmtree(folder)
        raise


def refuse_occupied(destination: str) -> None:
    """Raises a FileExistsError if something is at `destination`, an empty folder excepted."""
    if not tf.io.gfile.exists(destination):
        return
    if not tf.io.gfile.isdir(destination):
        raise FileExistsError(f"{destination!r} is a file; give a destination where nothing is yet.")
    if found := sorted(tf.io.gfile.listdir(destination)):
        raise FileExistsError(
            f"{destination!r} is not empty, it holds {', '.join(found)}; "
            "give a destination where nothing is yet, or delete what is there."
        )
