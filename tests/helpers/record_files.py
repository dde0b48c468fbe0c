"""Serialized tf.Examples and files of them, for the tests of what reads Examples artifacts."""

import tensorflow as tf


def example(**features) -> bytes:
    """A tf.Example whose features are lists of floats, ints or bytes."""
    proto = tf.train.Example()
    for name, values in features.items():
        feature = proto.features.feature[name]
        if isinstance(values[0], bytes):
            feature.bytes_list.value.extend(values)
        elif isinstance(values[0], int):
            feature.int64_list.value.extend(values)
        else:
            feature.float_list.value.extend(values)
    return proto.SerializeToString(deterministic=True)


def write_records(path, records) -> None:
    """Writes a file of TFRecords, gzipped if its name says so; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path), "GZIP" if path.suffix == ".gz" else "") as writer:
        for record in records:
            writer.write(record)
