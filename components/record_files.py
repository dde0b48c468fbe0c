"""TFRecord files that a user names."""

import itertools
from collections.abc import Iterator, Sequence

import tensorflow as tf

_GZIP = b"\x1f\x8b"


def read_records(patterns: Sequence[str], limit: int) -> list[bytes]:
    """Reads records from files, gzipped or not.

    Args:
        patterns: Paths or patterns, of any file system that `tf.io.gfile` reads.
        limit: Maximum number of records; at least 1.

    Returns:
        The first records, at least one. Files are read in the order of the patterns, and within a pattern by name.

    Raises:
        FileNotFoundError: No file matches a pattern.
        ValueError: A file holds no TFRecords, or there are no records in any.
    """
    found: list[bytes] = []
    for pattern in patterns:
        files = sorted(file for file in tf.io.gfile.glob(pattern) if not tf.io.gfile.isdir(file))
        if not files:
            raise FileNotFoundError(f"There is no file {pattern!r} with examples; name TFRecord files, or a pattern.")
        for file in files:
            found.extend(itertools.islice(_records(file), limit - len(found)))
    if not found:
        raise ValueError(f"{', '.join(patterns)} hold no records; name files with examples.")
    return found


def _records(file: str) -> Iterator[bytes]:
    with tf.io.gfile.GFile(file, "rb") as stream:
        compression = "GZIP" if stream.read(len(_GZIP)) == _GZIP else ""
    try:
        yield from tf.data.TFRecordDataset(file, compression_type=compression).as_numpy_iterator()
    except tf.errors.DataLossError as error:
        raise ValueError(f"{file!r} is no file of TFRecords, or is damaged: {error.message}.") from error
