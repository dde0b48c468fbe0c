"""ValueCopy: copies the values of a SavedModel, byte for byte, into one that is saved from its objects."""

import concurrent.futures
import itertools
import mmap
import os
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import BinaryIO

import google_crc32c
import numpy as np
import tensorflow as tf

from . import checkpoint, loading
from .object_graph import Path
from .sorted_table import masked
from .tensor_bundle import Entry, TensorBundle, data_file, write_index
from .variables import ROOT, SavedVariables

# TensorFlow computes only on what begins at a multiple of it.
_ALIGNMENT = 64
_CHUNK_BYTES = 1 << 24
_NUMBERS = "fiuc"  # of numpy's kinds of dtypes those that need not be copied to become a tensor


class ValueCopyError(RuntimeError):
    """TensorFlow does not read from the files what was written to them."""


class ValueCopy:
    """Copies values byte for byte, while its user has TensorFlow write the new SavedModel with placeholders for them.

    It is a context manager: on entering it starts to copy in a thread of its own, on leaving it waits for that.
    """

    def __init__(self, source: str, folder: str, bundle: TensorBundle, keys: Mapping[Path, str]) -> None:
        """Plans the copy. Other modules call `of`."""
        self._source = source
        self._folder = folder
        self._bundle = bundle
        # Those whose bytes are a multiple of the alignment come first, and so begin at one.
        entries = [(path, bundle.entries[key.encode()]) for path, key in sorted(keys.items(), key=lambda item: item[1])]
        self._entries = dict(sorted(entries, key=lambda item: item[1].size % _ALIGNMENT > 0))
        ends = itertools.accumulate(entry.size for entry in self._entries.values())
        self._begins = dict(zip(self._entries, [0, *ends], strict=False))
        self._executor = concurrent.futures.ThreadPoolExecutor(1)

    @classmethod
    def of(cls, source: str, folder: str, paths: Iterable[Path]) -> "ValueCopy | None":
        """A copy of the values of a SavedModel's variables.

        Args:
            source: The SavedModel's folder.
            folder: The folder that the new SavedModel is written to.
            paths: Paths of the variables from the root, the same in both.

        Returns:
            The copy; None if it cannot be made: there is no variable, a value is missing, its bytes in the files are
            not those in memory, or the files are not local.

        Raises:
            ValueError: The source's files are missing or damaged.
        """
        paths = list(paths)
        if not paths or "://" in source or "://" in folder:
            return None
        with loading.failure_explained(source):
            bundle, keys = TensorBundle.read(checkpoint.prefix(source)), _keys(source, paths)
        if len(keys) < len(paths) or not all(map(bundle.is_plain, keys.values())):
            return None
        return cls(source, folder, bundle, keys)

    def __enter__(self) -> "ValueCopy":
        self._copying = self._executor.submit(self._copy)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._executor.shutdown()

    def finish(self) -> None:
        """Puts the values into the new SavedModel. TensorFlow must have written it by now.

        Raises:
            OSError: They cannot be written.
            ValueError: The source's files are missing or damaged.
            ValueCopyError: TensorFlow does not read from the files what was written to them.
        """
        values = self._copying.result()
        prefix = checkpoint.prefix(self._folder)
        written, keys = TensorBundle.read(prefix), _keys(self._folder, self._entries)
        entries = {keys[path].encode(): _moved(entry, self._begins[path]) for path, entry in self._entries.items()}
        with open(self._file, "ab") as target:
            for key, entry in written.entries.items():
                if key not in entries:
                    with open(written.data_file(entry), "rb") as stream:
                        stream.seek(entry.offset)
                        content = stream.read(entry.size)
                    entries[key] = _moved(entry, target.tell())
                    target.write(content)
        for name in set(map(written.data_file, written.entries.values())):
            os.remove(name)
        os.rename(self._file, data_file(prefix, 0, 1))
        write_index(prefix, entries)
        _check_tensorflow_reads(prefix, entries, {keys[path]: value for path, value in values.items()})

    def tensors(self) -> dict[Path, tf.Tensor]:
        """The values by path. Large ones share the memory of the mapped file; changing a tensor changes no file."""
        return {path: _tensor(value) for path, value in self._copying.result().items()}

    @property
    def _file(self) -> str:
        return os.path.join(self._folder, "values")

    def _copy(self) -> dict[Path, np.ndarray]:
        """Copies all values to one file; returns them, mapped from it."""
        found = {}
        with open(self._file, "w+b", buffering=0) as target:
            target.truncate(sum(entry.size for entry in self._entries.values()))
            content = _mapped(target)
            for path, entry in self._entries.items():
                begin = self._begins[path]
                self._append(target.fileno(), entry)
                value = content[begin : begin + entry.size]
                if _checksum(value) != entry.crc32c:
                    with loading.failure_explained(self._source):
                        raise ValueError(f"the checksum of the variable {'/'.join(path)!r} differs")
                shape = tf.TensorShape(entry.shape).as_list()
                found[path] = value.view(tf.as_dtype(entry.dtype).as_numpy_dtype).reshape(shape)
        return found

    def _append(self, target: int, entry: Entry) -> None:
        """Appends a value to an open file. The kernel copies it, as fast as `cp`."""
        with loading.failure_explained(self._source):
            source = os.open(self._bundle.data_file(entry), os.O_RDONLY)
        try:
            offset, end = entry.offset, entry.offset + entry.size
            while offset < end and (sent := os.sendfile(target, source, offset, end - offset)):
                offset += sent
        finally:
            os.close(source)
        if offset < end:
            with loading.failure_explained(self._source):
                raise ValueError(f"{self._bundle.data_file(entry)!r} is cut short")


def _keys(folder: str, paths: Iterable[Path]) -> dict[Path, str]:
    """The keys, in the checkpoint of a SavedModel, of those variables among `paths` that it has."""
    saved = SavedVariables(folder)
    found = {}
    for path in paths:
        node: int | None = ROOT
        for name in path:
            node = None if node is None else saved.children(node).get(name)
        variable = None if node is None else saved.variable(node)
        if variable is not None:
            found[path] = variable.key
    return found


def _check_tensorflow_reads(prefix: str, entries: Mapping[bytes, Entry], values: Mapping[str, np.ndarray]) -> None:
    """Raises ValueCopyError unless TensorFlow finds all entries with their shapes, and values that are not large."""
    reader = tf.train.load_checkpoint(prefix)
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    found = {key: (dtypes[key], shape) for key, shape in shapes.items()}
    written = {
        key.decode(): (tf.as_dtype(entry.dtype), tf.TensorShape(entry.shape).as_list())
        for key, entry in entries.items()
    }
    if found != written:
        raise ValueCopyError(f"TensorFlow reads other variables from {prefix!r} than were written: {found}.")
    for key, value in values.items():
        if value.nbytes > _CHUNK_BYTES:
            continue
        try:
            same = checkpoint.as_array(reader.get_tensor(key)).tobytes() == value.tobytes()
        except tf.errors.OpError as error:
            raise ValueCopyError(f"TensorFlow cannot read {key!r} from {prefix!r}: {error.message}") from error
        if not same:
            raise ValueCopyError(f"TensorFlow reads another value of {key!r} from {prefix!r} than was written.")


def _moved(entry: Entry, offset: int) -> Entry:
    """The entry of a value at another offset, in the only file of values."""
    found = Entry()
    found.CopyFrom(entry)
    found.shard_id, found.offset = 0, offset
    return found


def _mapped(file: BinaryIO) -> np.ndarray:
    """The bytes of a file, mapped to memory; a change of them does not reach the file."""
    if not os.fstat(file.fileno()).st_size:
        return np.empty(0, np.uint8)
    return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY), np.uint8)


def _checksum(value: np.ndarray) -> int:
    checksum = 0
    for begin in range(0, value.size, _CHUNK_BYTES):
        checksum = google_crc32c.extend(checksum, value[begin : begin + _CHUNK_BYTES])
    return masked(checksum)


def _tensor(value: np.ndarray) -> tf.Tensor:
    # The dtypes of ml_dtypes may have the same kinds as numpy's own.
    if (
        value.size
        and value.dtype.isbuiltin == 1
        and value.dtype.kind in _NUMBERS
        and value.ctypes.data % _ALIGNMENT == 0
    ):
        return tf.experimental.dlpack.from_dlpack(value.__dlpack__())
    return tf.convert_to_tensor(value)
