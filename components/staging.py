"""Folders and files that appear at once: written under a hidden name beside their place, then renamed."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator

import tensorflow as tf

from . import leftovers, places


@contextlib.contextmanager
def staged(destination: str | os.PathLike[str], overwrite: bool = False) -> Iterator[str]:
    """Yields an empty folder to write to, which becomes `destination` when the block ends without an error.

    After an error nothing is left. A process that is killed leaves no `destination`, only the hidden
    `.NAME.HEX.stripping` beside it, which the next writer of the same `destination` removes. Of several writers at once
    the first to be done wins, on local file systems; the others get an error.

    Args:
        destination: A path where there is nothing, or an empty folder. Missing parents are made. A symbolic link stays:
            the folder that it points to is written or replaced.
        overwrite: Whether a folder that is not empty is replaced. It is moved to `.NAME.HEX.replaced`, and deleted when
            the new one is in place. If the process is killed in between, the next writer puts it back.

    Yields:
        The folder to write to; it has the same parent.

    Raises:
        FileExistsError: `destination` is a file, or a folder that is not empty and `overwrite` is False; or another
            process puts something there meanwhile.
        OSError: `destination` cannot be written.
        ValueError: `destination` is of no file system that TensorFlow knows.
    """
    destination = os.fspath(destination)
    place = checked_destination(destination, overwrite)
    try:
        folder, lock = leftovers.made(place, leftovers.STRIPPING)
    except tf.errors.OpError as error:
        raise _unwritable(destination, place, error.message) from error
    try:
        yield folder
        _put_in_place(folder, place, overwrite, lock)
    except BaseException:
        if tf.io.gfile.exists(folder):
            tf.io.gfile.rmtree(folder)
        raise
    finally:
        lock.release()


def write_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file as a whole or not at all, and replaces one that is there.

    Args:
        path: A path where there is nothing or a file. Missing parents are made. A symbolic link stays: the file that it
            points to is written or replaced.
        content: The content. It is written to the hidden `.NAME.HEX.writing` beside the file first. If the process is
            killed, the next writer of the same file removes that.

    Raises:
        OSError: The file cannot be written; what was there is unchanged.
        ValueError: `path` is of no file system that TensorFlow knows.
    """
    path = os.fspath(path)
    place = places.checked_place(path)
    leftovers.clear(place)
    try:
        tf.io.gfile.makedirs(os.path.dirname(place))
        hidden, lock = leftovers.made(place, leftovers.WRITING)
        try:
            with tf.io.gfile.GFile(hidden, "wb") as stream:
                stream.write(content)
            tf.io.gfile.rename(hidden, place, overwrite=True)
        except BaseException:
            if tf.io.gfile.exists(hidden):
                tf.io.gfile.remove(hidden)
            raise
        finally:
            lock.release()
    except tf.errors.OpError as error:
        raise OSError(
            f"{path!r} cannot be written ({error.message}). Choose a file in a folder that this process may write to, "
            "with room for it."
        ) from error


def checked_destination(destination: str | os.PathLike[str], overwrite: bool = False) -> str:
    """The place of a destination; what a dead writer left beside it is cleared up.

    Raises:
        FileExistsError: It is a file, or a folder that is not empty and not to be replaced.
        OSError: It cannot be looked at, or as `check_writable`.
        ValueError: It is of no file system that TensorFlow knows.
    """
    destination = os.fspath(destination)
    place = places.checked_place(destination)
    leftovers.clear(place)
    try:
        _check_free(destination, place, overwrite)
    except tf.errors.OpError as error:
        raise OSError(
            f"{destination!r} cannot be looked at ({error.message}). Choose a destination that this process may read "
            "and write."
        ) from error
    check_writable(destination)
    return place


def check_writable(path: str | os.PathLike[str]) -> None:
    """Checks, before there is anything to write, that a file or folder can be made at a place of this machine.

    Raises:
        OSError: The folder that it goes to cannot be made or written to.
        ValueError: It is of no file system that TensorFlow knows.
    """
    path = os.fspath(path)
    place = places.checked_place(path)
    if not places.is_local(place):
        return
    folder = os.path.dirname(place)
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    try:
        # Tried, as permissions tell nothing of a file system that is mounted to be read only. It has no name.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(path, place, error.strerror) from error


def check_room(folder: str, needed: int, what: str) -> None:
    """Checks, before something is written, that there is room for it.

    Args:
        folder: The staged folder that it goes to, or one beside that.
        needed: The least that it takes, in bytes.
        what: What it is, for the message, such as 'stripped model'.

    Raises:
        OSError: Fewer bytes are free on this machine's file system; on others nobody knows.
    """
    if not places.is_local(folder):
        return
    disk = shutil.disk_usage(os.path.dirname(folder))
    if disk.total and disk.free < needed:
        raise OSError(
            f"The {what} cannot be written to {os.path.dirname(folder)!r}: it takes {needed:,} bytes or more, and "
            f"{disk.free:,} are free. Choose a destination in a folder with room for it, or make room."
        )


def check_apart(source: str | os.PathLike[str], destination: str | os.PathLike[str]) -> None:
    """Checks that a source and a destination are apart, however their paths are spelled.

    Raises:
        OSError: As `staged`.
        ValueError: One is the other or lies within it; or as `staged`.
    """
    source, destination = os.fspath(source), os.fspath(destination)
    outer, inner = places.checked_place(source), places.checked_place(destination)
    if outer == inner:
        where = "is the source"
    elif places.holds(outer, inner):
        where = f"lies within the source {source!r}"
    elif places.holds(inner, outer):
        where = f"holds the source {source!r}"
    else:
        return
    raise ValueError(f"The destination {destination!r} {where}, which is only read; give one outside.")


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


def _unwritable(path: str, place: str, reason: str) -> OSError:
    return OSError(
        f"{path!r} cannot be written: the folder {os.path.dirname(place)!r} cannot be made or written to ({reason}). "
        "Choose a destination in a folder that this process may write to."
    )


def _put_in_place(folder: str, place: str, overwrite: bool, lock: leftovers.Lock) -> None:
    try:
        with _moved_aside(folder, place) if overwrite else contextlib.nullcontext():
            try:
                # Asked, as a file system that does not rename folders at once would mix the files of both.
                if not _is_taken(place):
                    tf.io.gfile.rename(folder, place, overwrite=True)
                    lock.release()
                    return
            except tf.errors.OpError:
                if not _is_taken(place):
                    raise
    except tf.errors.OpError as error:
        raise OSError(
            f"{place!r} cannot be put in place ({error.message}). Choose a destination where nothing is."
        ) from error
    raise FileExistsError(
        f"{place!r} cannot be put in place: another process has put something there meanwhile. Choose a destination "
        "that no other writes to, or write again with overwrite=True."
    )


@contextlib.contextmanager
def _moved_aside(folder: str, place: str) -> Iterator[None]:
    """Moves what is at a place away; when the block ends, deletes it, or puts it back if nothing is there then."""
    try:
        lock = leftovers.lock(place)
    except FileNotFoundError:
        yield
        return
    except BlockingIOError as error:
        raise FileExistsError(
            f"{place!r} cannot be replaced: another process is replacing it. Choose a destination that no other writes "
            "to, or write again."
        ) from error
    aside = folder.removesuffix(leftovers.STRIPPING) + leftovers.REPLACED
    try:
        try:
            tf.io.gfile.rename(place, aside)
        except tf.errors.NotFoundError:
            yield
            return
        try:
            yield
        finally:
            leftovers.settle(aside, place)
    finally:
        lock.release()


def _is_taken(place: str) -> bool:
    return _is_file(place) or bool(_names_in(place))


def _is_file(place: str) -> bool:
    try:
        return not tf.io.gfile.stat(place).is_directory
    except (tf.errors.NotFoundError, tf.errors.FailedPreconditionError):  # the latter within a file
        return False


def _names_in(place: str) -> list[str]:
    try:
        return sorted(tf.io.gfile.listdir(place))
    except tf.errors.NotFoundError:
        return []


def _check_free(destination: str, place: str, overwrite: bool) -> None:
    if _is_file(place):
        raise FileExistsError(f"{destination!r} is a file; give a destination where nothing is yet.")
    if not overwrite and (found := _names_in(place)):
        raise FileExistsError(
            f"{destination!r} is not empty, it holds {', '.join(found)}; give a destination where nothing is yet, or "
            "overwrite=True to replace what is there."
        )
