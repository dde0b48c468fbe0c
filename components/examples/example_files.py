"""The files of Examples artifacts, and their records with keys by which they are found again."""

import dataclasses
from collections.abc import Iterator

import tensorflow as tf
from google.protobuf.message import DecodeError

# A batch is full when it reaches either. A worker holds several copies of its records while it compares them.
_MAX_RECORDS = 256
_MAX_BYTES = 1 << 25


@dataclasses.dataclass(frozen=True, order=True)
class ExampleFile:
    """One file of TFRecords, gzipped if its name ends in '.gz', and the split that it belongs to."""

    split: str
    path: str

    def records(self) -> Iterator[bytes]:
        """Reads the records, in their order.

        Raises:
            tf.errors.OpError: The file cannot be read, or is damaged.
        """
        compression = "GZIP" if self.path.endswith(".gz") else None
        return tf.data.TFRecordDataset(self.path, compression_type=compression).as_numpy_iterator()


@dataclasses.dataclass(frozen=True, order=True)
class ExampleKey:
    """Where an example is: it has no key of its own. Keys are ordered by split, path and index.

    Attributes:
        file: The file that holds it.
        index: Its number in the file, from 0.
    """

    file: ExampleFile
    index: int

    def __str__(self) -> str:
        return f"record {self.index} (from 0) of {self.file.path!r} in split {self.file.split!r}"


@dataclasses.dataclass(frozen=True)
class RecordBatch:
    """Consecutive records of one file.

    Attributes:
        first: The key of the first.
        records: Serialized, at least one.
    """

    first: ExampleKey
    records: tuple[bytes, ...]

    def key(self, position: int) -> ExampleKey:
        """The key of the record at a position in this batch."""
        return dataclasses.replace(self.first, index=self.first.index + position)


def read_batches(file: ExampleFile, batch_size: int | None = None) -> Iterator[RecordBatch]:
    """Reads a file in batches. Every reader gets the same batches.

    Args:
        file: The file.
        batch_size: The most records of a batch; None for 256. A batch also ends when it reaches 32 MiB.

    Yields:
        Batches, in the records' order.

    Raises:
        tf.errors.OpError: As `ExampleFile.records`, after the batches that come before the damage.
    """
    limit = batch_size or _MAX_RECORDS
    batch: list[bytes] = []
    first = size = 0
    for record in file.records():
        batch.append(record)
        size += len(record)
        if len(batch) == limit or size >= _MAX_BYTES:
            yield RecordBatch(ExampleKey(file, first), tuple(batch))
            first += len(batch)
            batch, size = [], 0
    if batch:
        yield RecordBatch(ExampleKey(file, first), tuple(batch))


def feature_names(record: bytes) -> frozenset[str]:
    """Names of the features of a serialized tf.Example.

    Raises:
        ValueError: `record` is not a tf.Example.
    """
    try:
        return frozenset(tf.train.Example.FromString(record).features.feature)
    except DecodeError as error:
        raise ValueError(f"a record of {len(record)} bytes is not a tf.Example: {error}") from error
