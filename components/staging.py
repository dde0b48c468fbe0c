"""Folders and files that appear at once: written under a hidden name beside their place, then renamed."""

import contextlib
import os
import uuid
from collections.abc import Iterator

import tensorflow as tf


@contextlib.contextmanager
def staged(destination: str, overwrite: bool = False) -> Iterator[str]:
    """Yields an empty folder to write to, which becomes `destination` when the block ends without an error.

    A process that is killed leaves no `destination`, only the hidden `.NAME.HEX.stripping` beside it, which can be
    deleted. After an error nothing is left.

    Args:
        destination: A path where there is nothing, or an empty folder. Missing parents are made.
        overwrite: Whether a folder that is not empty is replaced. It is moved to `.NAME.HEX.replaced`, and deleted when
            the new one is in place.

    Yields:
        The folder to write to; it has the same parent.

    Raises:
        FileExistsError: `destination` is a file, or a folder that is not empty and `overwrite` is False.
        OSError: `destination` cannot be written.
    """
    check_destination(destination, overwrite)
    place = _place(destination)
    parent = os.path.dirname(place)
    folder, replaced = _hidden(place, "stripping", "replaced")
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


def write_file(path: str, content: bytes) -> None:
    """Writes a file as a whole or not at all, and replaces one that is there.

    Args:
        path: A path where there is nothing or a file. Missing parents are made.
        content: The content. It is written to the hidden `.NAME.HEX.writing` beside the file first.

    Raises:
        OSError: The file cannot be written; what was there is unchanged.
    """
    place = _place(path)
    (hidden,) = _hidden(place, "writing")
    try:
        tf.io.gfile.makedirs(os.path.dirname(place))
        try:
            with tf.io.gfile.GFile(hidden, "wb") as stream:
                stream.write(content)
            tf.io.gfile.rename(hidden, place, overwrite=True)
        except BaseException:
            if tf.io.gfile.exists(hidden):
                tf.io.gfile.remove(hidden)
            raise
    except tf.errors.OpError as error:
        raise OSError(
            f"{path!r} cannot be written ({error.message}). Choose a file in a folder that this process may write to, "
            "with room for it."
        ) from error


def copy_folder(source: str, destination: str) -> None:
    """Copies all files of a folder, if it is there, with their folders; raises a tf.errors.OpError if that fails."""
    for directory, _, names in tf.io.gfile.walk(source):
        target = os.path.join(destination, os.path.relpath(directory, source))
        tf.io.gfile.makedirs(target)
        for name in names:
            tf.io.gfile.copy(os.path.join(directory, name), os.path.join(target, name), overwrite=True)


def empty_folder(folder: str) -> None:
    """Removes all that is in a folder, if it is there; raises a tf.errors.OpError if that fails."""
    if tf.io.gfile.isdir(folder):
        for name in tf.io.gfile.listdir(folder):
            path = os.path.join(folder, name)
            (tf.io.gfile.rmtree if tf.io.gfile.isdir(path) else tf.io.gfile.remove)(path)


@contextlib.contextmanager
def write_failure_explained(folder: str) -> Iterator[None]:
    """Turns every error in writing to a staged folder into an OSError that names the place."""
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        reason = error.message if isinstance(error, tf.errors.OpError) else error.strerror or error
        raise OSError(
            f"The stripped model cannot be written to {os.path.dirname(folder)!r}: {reason}. Choose a "
            "destination in a folder that this process may write to, with room for the model."
        ) from error


def _place(path: str) -> str:
    path = path.rstrip("/")
    return path if "://" in path else os.path.abspath(path)


def _hidden(place: str, *kinds: str) -> list[str]:
    """Paths beside a place that no other process uses."""
    parent, name = os.path.split(place)
    unique = uuid.uuid4().hex
    return [os.path.join(parent, f".{name}.{unique}.{kind}") for kind in kinds]


def check_destination(destination: str, overwrite: bool = False) -> None:
    """Raises a FileExistsError if `destination` is a file, or a folder that is not empty and not to be replaced."""
    if not tf.io.gfile.exists(destination):
        return
    if not tf.io.gfile.isdir(destination):
        raise FileExistsError(f"{destination!r} is a file; give a destination where nothing is yet.")
    if not overwrite and (found := sorted(tf.io.gfile.listdir(destination))):
        raise FileExistsError(
            f"{destination!r} is not empty, it holds {', '.join(found)}; give a destination where nothing is yet, or "
            "overwrite=True to replace what is there."
        )
