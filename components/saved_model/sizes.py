"""Sizes of a file, or of a folder of files such as a SavedModel, in bytes."""

import gzip
import io
import os
import tarfile
from collections.abc import Iterator

import tensorflow as tf

_GZIP_LEVEL = 6  # what `gzip` and `tar -z` use unless told otherwise
_CHUNK_BYTES = 1 << 20


def directory_bytes(path: str | os.PathLike[str]) -> int:
    """Bytes of all files under `path`, subfolders included.

    Args:
        path: A folder, local or of any file system that `tf.io.gfile` reads.

    Returns:
        The sum of the files' lengths, in bytes; 0 for an empty folder.

    Raises:
        NotADirectoryError: `path` is not a folder.
    """
    return sum(tf.io.gfile.stat(file).length for _, file in _files(os.fspath(path)))


def file_bytes(path: str | os.PathLike[str]) -> int:
    """Bytes of the file `path`, local or of any file system that `tf.io.gfile` reads.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if not tf.io.gfile.exists(path):
        raise FileNotFoundError(f"There is no file {os.fspath(path)!r}, so it has no size; export the model again.")
    return tf.io.gfile.stat(path).length


def gzipped_bytes(path: str | os.PathLike[str]) -> int:
    """Bytes that the folder `path` takes as one `.tar.gz`.

    The archive is compressed as a stream and only counted; nothing is written. Its members are the files, sorted by
    their paths relative to `path`, without owners and times, so that equal contents give equal sizes.

    Args:
        path: A folder, local or of any file system that `tf.io.gfile` reads.

    Returns:
        The archive's length in bytes, at gzip's default level (6).

    Raises:
        NotADirectoryError: `path` is not a folder.
    """
    counter = _ByteCounter()
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=counter, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w|", bufsize=_CHUNK_BYTES, format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, file in _files(os.fspath(path)):
            member = tarfile.TarInfo(name)
            member.size = tf.io.gfile.stat(file).length
            with tf.io.gfile.GFile(file, "rb") as stream:
                archive.addfile(member, stream)
    return counter.count


def gzipped_length(content: bytes) -> int:
    """Bytes that `content` takes gzipped, at gzip's default level (6)."""
    counter = _ByteCounter()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=counter, mtime=0) as compressed:
        compressed.write(content)
    return counter.count


class _ByteCounter(io.RawIOBase):
    """A sink that only counts what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:
        length = memoryview(data).nbytes
        self.count += length
        return length


def _files(path: str) -> Iterator[tuple[str, str]]:
    """Yields (path relative to `path` with forward slashes, full path) of each file, sorted."""
    if not tf.io.gfile.isdir(path):
        raise NotADirectoryError(f"{path!r} is not a folder, so it has no size; give the folder of a SavedModel.")
    root = path.rstrip("/") or "/"
    found = []
    for folder, _, names in tf.io.gfile.walk(root):
        for name in names:
            full = os.path.join(folder, name)
            found.append((full[len(root) :].lstrip("/"), full))
    return iter(sorted(found))
