"""Prices of houses, as a user may have them, in both formats."""

import csv
import pathlib

import numpy as np
import tensorflow as tf

MODULE_FILE = pathlib.Path(__file__).parents[1] / "pipelines" / "houses" / "houses.py"
COLUMNS = ("area", "rooms", "age", "price")
ROWS = 900


def rows() -> list[tuple[int | float, ...]]:
    """Areas in m², rooms, ages in years and prices in thousands, which are about 100 to 700."""
    random = np.random.default_rng(5)
    area, rooms, age = random.uniform(30, 200, ROWS), random.integers(1, 8, ROWS), random.uniform(0, 90, ROWS)
    price = 3 * area + 5 * rooms * np.cos(age / 15) + 0.02 * (90 - age) ** 2 + random.normal(0, 5, ROWS)
    return [(float(a), int(b), float(c), float(d)) for a, b, c, d in zip(area, rooms, age, price, strict=True)]


def write_csv(folder: pathlib.Path) -> pathlib.Path:
    """Writes two CSV files beside a file of another kind; returns the folder."""
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("Prices of houses.\n", encoding="utf-8")
    for name, part in (("a.csv", rows()[: ROWS // 2]), ("b.csv", rows()[ROWS // 2 :])):
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *part])
    return folder


def examples() -> list[bytes]:
    """The rows as serialized tf.Examples."""
    found = []
    for row in rows():
        example = tf.train.Example()
        for name, value in zip(COLUMNS, row, strict=True):
            feature = example.features.feature[name]
            (feature.int64_list if isinstance(value, int) else feature.float_list).value.append(value)
        found.append(example.SerializeToString(deterministic=True))
    return found


def write_tfrecords(folder: pathlib.Path) -> pathlib.Path:
    """Writes a gzipped and a plain TFRecord file; returns the folder."""
    folder.mkdir(parents=True)
    for name, part in (("a.tfrecord", examples()[: ROWS // 2]), ("b.tfrecord.gz", examples()[ROWS // 2 :])):
        options = tf.io.TFRecordOptions(compression_type="GZIP" if name.endswith(".gz") else "")
        with tf.io.TFRecordWriter(str(folder / name), options) as writer:
            for example in part:
                writer.write(example)
    return folder
