"""Reading records in batches with keys."""

import pytest
import tensorflow as tf

from helpers.record_files import example, write_records
from tfx_pruning.examples import example_files
from tfx_pruning.examples.example_files import ExampleFile, ExampleKey, feature_names, read_batches


@pytest.mark.parametrize("name", ["data.gz", "data.tfrecord"])
def test_batches_hold_all_records_in_order_with_their_keys(name, tmp_path):
    records = [b"%d" % i for i in range(600)]
    write_records(tmp_path / name, records)
    file = ExampleFile("eval", str(tmp_path / name))
    batches = list(read_batches(file))
    assert [len(batch.records) for batch in batches] == [256, 256, 88]
    assert [record for batch in batches for record in batch.records] == records
    assert [batch.first for batch in batches] == [ExampleKey(file, first) for first in (0, 256, 512)]
    assert batches[1].key(3) == ExampleKey(file, 259)


def test_batches_have_the_size_that_is_asked_for(tmp_path):
    write_records(tmp_path / "data.gz", [b"a", b"b", b"c"])
    batches = read_batches(ExampleFile("eval", str(tmp_path / "data.gz")), batch_size=2)
    assert [batch.records for batch in batches] == [(b"a", b"b"), (b"c",)]


def test_batches_of_large_records_are_smaller(tmp_path, monkeypatch):
    monkeypatch.setattr(example_files, "_MAX_BYTES", 10)
    write_records(tmp_path / "data.gz", [b"abcdef", b"ghij", b"k" * 50, b"l"])
    batches = list(read_batches(ExampleFile("eval", str(tmp_path / "data.gz"))))
    assert [len(batch.records) for batch in batches] == [2, 1, 1]
    assert [batch.first.index for batch in batches] == [0, 2, 3]


def test_file_that_is_damaged_raises_after_the_batches_before(tmp_path):
    write_records(tmp_path / "data", [b"a", b"b", b"c"])
    content = (tmp_path / "data").read_bytes()
    (tmp_path / "data").write_bytes(content[:-3])
    batches = read_batches(ExampleFile("eval", str(tmp_path / "data")), batch_size=1)
    assert [next(batches).records, next(batches).records] == [(b"a",), (b"b",)]
    with pytest.raises(tf.errors.DataLossError):
        next(batches)


def test_keys_are_in_the_order_of_split_path_and_index():
    keys = [
        ExampleKey(ExampleFile(split, path), index)
        for split, path, index in [("b", "a", 0), ("a", "c", 0), ("a", "b", 10), ("a", "b", 9)]
    ]
    assert sorted(keys) == keys[::-1]
    assert str(keys[2]) == "record 10 (from 0) of 'b' in split 'a'"


def test_feature_names():
    assert feature_names(example(x=[1.0], word=[b"a"])) == {"x", "word"}
    with pytest.raises(ValueError, match=r"a record of 2 bytes is not a tf\.Example"):
        feature_names(b"\xff\xff")
