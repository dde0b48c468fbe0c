"""Leftovers: what writers of a place have under hidden names beside it, and what dead ones left there."""

import fcntl
import os
import re
import time
import uuid

import tensorflow as tf
from absl import logging

from .places import is_local

STRIPPING = "stripping"  # a folder that is written to
REPLACED = "replaced"  # the folder that was at the place
WRITING = "writing"  # a file that is written to
# Behind the name of a folder that is written to: others, which its writer has as well.
PROOF_SUFFIX = ".proof"
SHRUNK_SUFFIX = ".shrunk"

# Where no lock tells, what nobody has written to for so long is a dead writer's.
_DEAD_SECONDS = 24 * 3600
_BOOT_DIGITS = 8


def _boot() -> str:
    """Digits that writers on this machine have in common until it is started anew."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read(_BOOT_DIGITS)
    except OSError:
        return uuid.uuid4().hex[:_BOOT_DIGITS]


_BOOT = _boot()


class Lock:
    """Says that a file or folder has a living owner; the system takes it away from a process that ends."""

    def __init__(self, path: str) -> None:
        """Takes the lock; it stays with the file or folder if that is renamed.

        Raises:
            BlockingIOError: Another has it, or the file or folder was replaced meanwhile.
            FileNotFoundError: Nothing is there any more.
            OSError: The file system has no such locks.
        """
        self._descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(self._descriptor), os.stat(path)):
                raise BlockingIOError(f"{path!r} was replaced.")
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Gives the lock back; may be called again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class NoLock(Lock):
    """In the place of a Lock where there are none."""

    def __init__(self) -> None:
        self._descriptor = -1


def lock(path: str) -> Lock:
    """Locks a file or folder, if its file system can.

    Raises:
        BlockingIOError: As `Lock`.
        FileNotFoundError: As `Lock`.
    """
    if not is_local(path):
        return NoLock()
    try:
        return Lock(path)
    except (BlockingIOError, FileNotFoundError):
        raise
    except OSError:
        return NoLock()


def made(place: str, kind: str) -> tuple[str, Lock]:
    """Makes a hidden file or folder beside a place for this process alone, and locks it.

    Raises:
        tf.errors.OpError: It cannot be made.
    """
    while True:
        path = hidden(place, kind)
        if kind != WRITING:
            tf.io.gfile.makedirs(path)
        elif is_local(path):
            with tf.io.gfile.GFile(path, "wb") as stream:
                stream.write(b"")
        try:
            return path, lock(path)
        except (BlockingIOError, FileNotFoundError):
            # Another was faster to take the lock, and held this for a dead one's.
            continue


def hidden(place: str, kind: str) -> str:
    """A path beside a place, for no other process to use."""
    parent, name = os.path.split(place)
    return os.path.join(parent, f".{name}.{_BOOT}{uuid.uuid4().hex[_BOOT_DIGITS:]}.{kind}")


def settle(aside: str, place: str) -> None:
    """Puts a folder that was moved aside back in its place, or removes it if another is there now."""
    if not tf.io.gfile.exists(place):
        try:
            tf.io.gfile.rename(aside, place)
            return
        except tf.errors.OpError:
            if not tf.io.gfile.exists(place):
                raise
    try:
        if is_local(aside):
            # Under another name first: half a folder must never be put back.
            moved = hidden(place, STRIPPING)
            tf.io.gfile.rename(aside, moved)
            aside = moved
        tf.io.gfile.rmtree(aside)
    except tf.errors.OpError as error:
        logging.warning("%s was replaced; what was there stays as %s, for: %s", place, aside, error.message)


def clear(place: str) -> None:
    """Removes what dead writers left beside a place; what was there before is put back if nothing is there now.

    A writer on this machine lives as long as it holds its lock. Where there are no locks, and for writers on other
    machines or before a restart, one is dead that has written nothing for a day. What cannot be removed stays.
    """
    parent, name = os.path.split(place)
    pattern = re.compile(rf"\.{re.escape(name)}\.([0-9a-f]{{32}})\.({REPLACED}|{STRIPPING}|{WRITING})")
    try:
        # Some file systems mark folders with a slash.
        names = [each.rstrip("/") for each in tf.io.gfile.listdir(parent)]
    except tf.errors.OpError:
        return
    # Sorted by kind, as the age of what was replaced is that of what replaces it.
    for found in sorted(filter(None, map(pattern.fullmatch, names)), key=lambda match: match[2]):
        path = os.path.join(parent, found[0])
        try:
            held = lock(path)
        except OSError:
            continue
        try:
            locked = not isinstance(held, NoLock)
            if (locked and found[1].startswith(_BOOT)) or _is_old(path, found[2]):
                _put_in_order(path, found[2], place)
        except tf.errors.OpError as error:
            logging.warning("%s was left by a process that was killed, and cannot be removed: %s", path, error.message)
        finally:
            held.release()


def _put_in_order(path: str, kind: str, place: str) -> None:
    if kind == WRITING:
        tf.io.gfile.remove(path)
    elif kind == STRIPPING:
        for suffix in (PROOF_SUFFIX, SHRUNK_SUFFIX):
            if tf.io.gfile.exists(path + suffix):
                tf.io.gfile.rmtree(path + suffix)
        tf.io.gfile.rmtree(path)
    else:
        settle(path, place)


def _is_old(path: str, kind: str) -> bool:
    if kind == REPLACED:
        # Its files are as old as they were; its writer has not put another in its place as long as it has that.
        path = path.removesuffix(REPLACED) + STRIPPING
        if not tf.io.gfile.exists(path):
            return True
    paths = [path]
    for folder, folders, files in tf.io.gfile.walk(path):
        paths.extend(os.path.join(folder, each) for each in (*folders, *files))
    newest = max(tf.io.gfile.stat(each).mtime_nsec for each in paths) / 1e9
    # Folders of object stores have no time.
    return 0 < newest < time.time() - _DEAD_SECONDS
