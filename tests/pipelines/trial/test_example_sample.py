"""The sample has what TFX's ExampleGen puts out."""

import pathlib
from typing import Any

import apache_beam as beam
import pytest
import tensorflow as tf
from tfx.components.example_gen.csv_example_gen import executor

from helpers import house_data
from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.taxi_example import shipped_data
from tfx_pruning.pipelines.trial import example_sample
from tfx_pruning.pipelines.trial.example_sample import NoSampleError, sample_examples

TABLE = """\
whole,real,text,mixed,empty
1,2.5,"a, b",1,
,3,,x,

-7,,"two
lines",2.5,
4,1e3,Zürich,,
"""


def _config(folder: pathlib.Path, **fields: Any) -> PipelineConfig:
    return PipelineConfig(pipeline_root="a", serving_dir="b", data_root=str(folder), **fields)


def _of_csv_example_gen(folder: pathlib.Path) -> list[bytes]:
    found = folder.parent / "found"
    with beam.Pipeline() as pipeline:
        transform = executor.Executor().GetInputSourceToExamplePTransform()
        examples = pipeline | transform({"input_base": str(folder)}, "*.csv")
        lines = examples | beam.Map(lambda example: example.SerializeToString(deterministic=True))
        _ = lines | beam.io.WriteToTFRecord(str(found))
    files = tf.io.gfile.glob(f"{found}*")
    return sorted(tf.data.TFRecordDataset(files).as_numpy_iterator())


def _deterministic(examples: list[bytes]) -> list[bytes]:
    return sorted(tf.train.Example.FromString(each).SerializeToString(deterministic=True) for each in examples)


@pytest.mark.slow
def test_rows_are_the_examples_of_csv_example_gen(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.csv").write_text(TABLE, encoding="utf-8")
    (folder / "b.csv").write_text("whole,real,text,mixed,empty\n8,0,c,d,\n", encoding="utf-8")
    (folder / "notes.txt").write_text("no data", encoding="utf-8")
    examples = _deterministic(sample_examples(_config(folder)))
    assert len(examples) == 5
    assert examples == _of_csv_example_gen(folder)


def test_records_come_from_every_file(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _config(house_data.write_tfrecords(tmp_path / "data"), data_format="tfrecord")
    records = house_data.examples()
    assert sample_examples(config) == records
    half = house_data.ROWS // 2
    monkeypatch.setattr(example_sample, "_EXAMPLES", 100)
    assert sample_examples(config) == records[:50] + records[half : half + 50]
    monkeypatch.setattr(example_sample, "_BYTES", 2 * (len(records[0]) + 1))
    assert sample_examples(config) == records[:2] + records[half : half + 2]


def test_rows_are_drawn_evenly_with_a_value_of_each_column_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example_sample, "_EXAMPLES", 100)
    examples = [tf.train.Example.FromString(each) for each in sample_examples(_config(pathlib.Path(shipped_data())))]
    assert 100 <= len(examples) <= 120
    columns = set(examples[0].features.feature)
    filled = {
        name for each in examples for name, feature in each.features.feature.items() if feature.WhichOneof("kind")
    }
    assert filled == columns
    assert all(
        any(
            getattr(feature, feature.WhichOneof("kind")).value
            for feature in (e.features.feature[name] for e in examples)
        )
        for name in columns
    )


def test_column_without_a_value_in_what_is_read_is_no_sample(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,\n2,\n3,4\n", encoding="utf-8")
    assert len(sample_examples(_config(tmp_path))) == 3
    monkeypatch.setattr(example_sample, "_ROWS", 2)
    with pytest.raises(NoSampleError, match="b has no value in the first 2 rows"):
        sample_examples(_config(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n3\n", r"a.csv must have 2 values in every row, .* got 1 in line 3: 3. Mend the line"),
        (b"a,b\n1,2\n\xff,2\n", "a.csv is no CSV in UTF-8: "),
        (b"a,b\n\n\n", "a.csv must hold a row below the header, got none"),
    ],
)
def test_damaged_table_is_refused(tmp_path: pathlib.Path, content: bytes, message: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        sample_examples(_config(tmp_path))
