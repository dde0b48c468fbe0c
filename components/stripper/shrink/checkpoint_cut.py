"""Writes the checkpoint of a SavedModel once more, with smaller variables."""

import os
from collections.abc import Callable, Iterator

import google_crc32c
import numpy as np
import tensorflow as tf

from ...saved_model import checkpoint
from ...saved_model.sorted_table import masked
from ...saved_model.tensor_bundle import Entry, TensorBundle, data_file, write_index
from ...structure.units import Axis
from .cut import Cut, cut_array
from .saved_structure import read_value

# TensorFlow computes only on what begins at a multiple of it.
_ALIGNMENT = 64
_CHUNK_BYTES = 1 << 24


class CheckpointCut:
    """A checkpoint, of which some variables become smaller; all others are copied as they stand, piece by piece."""

    def __init__(self, source: TensorBundle, cut: Cut) -> None:
        """Takes a checkpoint and a cut."""
        self._source = source
        self._cut = cut
        self._axes: dict[str, tuple[Axis, ...]] = {}
        self._addends: dict[str, np.ndarray] = {}

    def change(self, key: str, axes: tuple[Axis, ...], addend: np.ndarray | None = None) -> None:
        """Says that a variable is cut, and what is added to what stays of it."""
        self._axes[key] = axes
        if addend is not None:
            self._addends[key] = addend

    def write(self, folder: str) -> None:
        """Writes the checkpoint of the SavedModel in a folder.

        Raises:
            OSError, tf.errors.OpError: It cannot be written.
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
                    if key.decode() in self._axes:
                        self._write_cut(key.decode(), entry, target.write)
                    else:
                        for chunk in self._chunks(entry):
                            target.write(chunk)
                    entry.shard_id, entry.offset = 0, offset
                    offset += entry.size
                entries[key] = entry
        write_index(prefix, entries)

    def _size(self, key: bytes) -> int:
        entry = self._source.entries[key]
        axes = self._axes.get(key.decode())
        if axes is None:
            return entry.size
        shape = tf.TensorShape(entry.shape).as_list()
        kept = [size if axis is None else self._cut.count(axis) for size, axis in zip(shape, axes, strict=True)]
        return int(np.prod(kept, dtype=np.int64)) * tf.as_dtype(entry.dtype).size

    def _chunks(self, entry: Entry) -> Iterator[bytes]:
        with tf.io.gfile.GFile(self._source.data_file(entry), "rb") as stream:
            stream.seek(entry.offset)
            left = entry.size
            while left and (chunk := stream.read(min(left, _CHUNK_BYTES))):
                left -= len(chunk)
                yield chunk
        if left:
            raise ValueError(f"{self._source.data_file(entry)!r} is cut short.")

    def _write_cut(self, key: str, entry: Entry, write: Callable[[bytes], object]) -> None:
        """Writes what stays of a variable, and has its entry say so."""
        array, axes = read_value(self._source, key), self._axes[key]
        shape = [len(array) if axes[0] is None else self._cut.count(axes[0])]
        rows = np.arange(len(array)) if axes[0] is None else self._cut.kept(axes[0])
        addend = self._addends.get(key)
        step = max(1, _CHUNK_BYTES // max(1, array.nbytes // max(1, len(array))))
        checksum = size = 0
        for begin in range(0, len(rows), step):
            part = cut_array(array[rows[begin : begin + step]], (None, *axes[1:]), self._cut)
            if addend is not None:
                part = (part.astype(addend.dtype) + addend[begin : begin + step]).astype(array.dtype)
            content = np.ascontiguousarray(part).tobytes()
            checksum = google_crc32c.extend(checksum, content)
            size += len(content)
            write(content)
            shape[1:] = part.shape[1:]
        entry.size, entry.crc32c = size, masked(checksum)
        entry.shape.CopyFrom(tf.TensorShape(shape).as_proto())
