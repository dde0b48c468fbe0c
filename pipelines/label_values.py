"""Values of the label, as the data hold it."""

import csv
import itertools
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.record_files import read_records

_ROWS = 1000
_NONE = np.zeros((0, 1))


def label_values(config: PipelineConfig) -> np.ndarray:
    """The labels of the first examples.

    Args:
        config: Names the data, which `check_data` has found in order.

    Returns:
        Numbers, [examples, values]; without examples if a signature computes the label, if it is no number, or if
        the file is damaged.
    """
    if config.preprocessing_signature:
        return _NONE
    names = sorted(name for name in tf.io.gfile.listdir(config.data_root) if not name.endswith("/"))
    files = [os.path.join(config.data_root, name) for name in names]
    try:
        if config.data_format == "csv":
            return _of_table(next(file for file in files if file.endswith(".csv")), config.label_key)
        records = read_records([next(file for file in files if not tf.io.gfile.isdir(file))], _ROWS)
    except (ValueError, csv.Error):  # a file is damaged further on, which others will tell
        return _NONE
    values = feature_values(records, config.label_key)
    return _NONE if values is None else values


def _of_table(file: str, name: str) -> np.ndarray:
    with tf.io.gfile.GFile(file, "r") as stream:
        cells = [row.get(name) for row in itertools.islice(csv.DictReader(stream), _ROWS)]
    return np.array([[float(cell)] for cell in cells if cell]).reshape(-1, 1)


def feature_values(examples: Sequence[bytes], name: str) -> np.ndarray | None:
    """A feature's values, [examples, values]; None if they are not all of one length, or are no numbers.

    Args:
        examples: Serialized tf.Examples.
        name: Name of the feature.
    """
    rows = []
    for record in examples:
        feature = tf.train.Example.FromString(record).features.feature[name]
        kind = feature.WhichOneof("kind")
        if kind not in ("int64_list", "float_list"):
            return None
        rows.append(list(getattr(feature, kind).value))
    return np.array(rows) if len(set(map(len, rows))) == 1 else None
