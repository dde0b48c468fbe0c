"""Serialized records, such as tf.Examples, as callers give them."""

from collections.abc import Iterable
from typing import Any


def checked_records(examples: Any, alternative: str) -> list[bytes] | None:
    """The records as a list; None for None.

    Args:
        examples: An iterable of serialized records, or None.
        alternative: What else a caller may give, for errors.

    Raises:
        TypeError: `examples` is not an iterable of bytes.
        ValueError: `examples` is empty.
    """
    if examples is None:
        return None
    if isinstance(examples, (str, bytes)) or not isinstance(examples, Iterable):
        raise TypeError(
            f"examples is {type(examples).__name__}, expected an iterable of serialized records (bytes), or "
            f"{alternative}; put a single record in a list, and read files with tf.data.TFRecordDataset."
        )
    records = list(examples)
    for index, record in enumerate(records):
        if not isinstance(record, bytes):
            raise TypeError(
                f"examples[{index}] is {type(record).__name__}, expected a serialized record (bytes); "
                "call SerializeToString() on a tf.train.Example, numpy() on a tensor."
            )
    if not records:
        raise ValueError(f"examples is empty; give at least one serialized record, or {alternative}.")
    return records
