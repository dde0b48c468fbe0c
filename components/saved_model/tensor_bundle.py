"""TensorBundle: where the values of a checkpoint are in its files, which no API of TensorFlow tells."""

import dataclasses
import sys
from collections.abc import Mapping

import tensorflow as tf
from tensorflow.core.protobuf import tensor_bundle_pb2

from .sorted_table import read_table, table_bytes

Entry = tensor_bundle_pb2.BundleEntryProto
_Header = tensor_bundle_pb2.BundleHeaderProto

_HEADER_KEY = b""
_ENDIANNESS = {"little": _Header.LITTLE, "big": _Header.BIG}[sys.byteorder]
_NOT_PLAIN = (tf.string, tf.variant, tf.resource)


@dataclasses.dataclass(frozen=True)
class TensorBundle:
    """The index of a checkpoint.

    Attributes:
        prefix: What the names of its files begin with.
        entries: Dtype, shape, place and checksum of each tensor, by key.
    """

    prefix: str
    entries: Mapping[bytes, Entry]
    _header: _Header

    @classmethod
    def read(cls, prefix: str) -> "TensorBundle":
        """Reads the index.

        Raises:
            tf.errors.OpError: It cannot be read.
            ValueError: It is damaged.
        """
        name = _index(prefix)
        with tf.io.gfile.GFile(name, "rb") as stream:
            content = stream.read()
        try:
            table = read_table(content)
            header = _Header.FromString(table.pop(_HEADER_KEY))
        except (ValueError, LookupError) as error:
            raise ValueError(f"{name!r} is damaged: {error}") from error
        return cls(prefix, {key: Entry.FromString(value) for key, value in table.items()}, header)

    def is_plain(self, key: str) -> bool:
        """Whether there is such a tensor, in one piece, whose bytes in the file are those in memory."""
        entry = self.entries.get(key.encode())
        return (
            entry is not None
            and not entry.slices
            and self._header.endianness == _ENDIANNESS
            and tf.as_dtype(entry.dtype) not in _NOT_PLAIN
        )

    def data_file(self, entry: Entry) -> str:
        """Path of the file that holds a tensor."""
        return data_file(self.prefix, entry.shard_id, self._header.num_shards)


def data_file(prefix: str, shard: int, shards: int) -> str:
    """Path of one of a checkpoint's files of values."""
    return f"{prefix}.data-{shard:05d}-of-{shards:05d}"


def write_index(prefix: str, entries: Mapping[bytes, Entry]) -> None:
    """Writes the index of a checkpoint with one file of values, and replaces one that is there.

    Raises:
        tf.errors.OpError: It cannot be written.
    """
    header = _Header(num_shards=1, endianness=_ENDIANNESS, version={"producer": 1})
    table = {_HEADER_KEY: header, **entries}
    with tf.io.gfile.GFile(_index(prefix), "wb") as stream:
        stream.write(table_bytes({key: value.SerializeToString(deterministic=True) for key, value in table.items()}))


def _index(prefix: str) -> str:
    return f"{prefix}.index"
