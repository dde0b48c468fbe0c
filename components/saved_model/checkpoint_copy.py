"""CheckpointCopy: a checkpoint, written once more with other values for some of its tensors."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import google_crc32c
import numpy as np
import tensorflow as tf

from . import checkpoint
from .sorted_table import masked
from .tensor_bundle import Entry, TensorBundle, data_file, write_index

# TensorFlow computes only on what begins at a multiple of it.
_ALIGNMENT = 64
CHUNK_BYTES = 1 << 24

Parts = Callable[[], Iterable[np.ndarray]]


class CheckpointCopy:
    """Tensors that are not replaced are copied as they stand, in pieces of at most 16 MiB."""

    def __init__(self, source: TensorBundle) -> None:
        """Takes the checkpoint that is copied."""
        self._source = source
        self._replaced: dict[str, tuple[tuple[int, ...], Parts]] = {}

    def replace(self, key: str, shape: Sequence[int], parts: Parts) -> None:
        """Says what a tensor is to be.

        Args:
            key: Its key in the checkpoint.
            shape: Its new shape.
            parts: Gives its elements, one array after the other, of the dtype that it has; called when it is written.
        """
        self._replaced[key] = (tuple(shape), parts)

    def write(self, folder: str) -> None:
        """Writes the checkpoint of the SavedModel in a folder.

        Raises:
            OSError, tf.errors.OpError: It cannot be written.
            ValueError: The source is cut short.
        """
        prefix = checkpoint.prefix(folder)
        tf.io.gfile.makedirs(os.path.dirname(prefix))
        entries: dict[bytes, Entry] = {}
        # Those whose bytes are a multiple of the alignment come first, and so begin at one.
        keys = sorted(self._source.entries, key=lambda key: (self._size(key) % _ALIGNMENT > 0, key))
        with tf.io.gfile.GFile(data_file(prefix, 0, 1), "wb") as target:
            offset = 0
            for key in keys:
                entry = Entry()
                entry.CopyFrom(self._source.entries[key])
                if entry.size or not entry.slices:
                    if key.decode() in self._replaced:
                        self._write_replaced(key.decode(), entry, target.write)
                    else:
                        for chunk in self._chunks(entry):
                            target.write(chunk)
                    entry.shard_id, entry.offset = 0, offset
                    offset += entry.size
                entries[key] = entry
        write_index(prefix, entries)

    def _size(self, key: bytes) -> int:
        entry = self._source.entries[key]
        if key.decode() not in self._replaced:
            return entry.size
        shape, _ = self._replaced[key.decode()]
        return math.prod(shape) * tf.as_dtype(entry.dtype).size

    def _chunks(self, entry: Entry) -> Iterator[bytes]:
        with tf.io.gfile.GFile(self._source.data_file(entry), "rb") as stream:
            stream.seek(entry.offset)
            left = entry.size
            while left and (chunk := stream.read(min(left, CHUNK_BYTES))):
                left -= len(chunk)
                yield chunk
        if left:
            raise ValueError(f"{self._source.data_file(entry)!r} is cut short.")

    def _write_replaced(self, key: str, entry: Entry, write: Callable[[bytes], object]) -> None:
        """Writes the new elements of a tensor, and has its entry say so."""
        shape, parts = self._replaced[key]
        checksum = size = 0
        for part in parts():
            content = np.ascontiguousarray(part).tobytes()
            checksum = google_crc32c.extend(checksum, content)
            size += len(content)
            write(content)
        entry.size, entry.crc32c = size, masked(checksum)
        entry.shape.CopyFrom(tf.TensorShape(shape).as_proto())
