import pathlib
from typing import Any

import numpy as np
import pytest

from helpers import house_data
from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.label_values import label_values


def _values(folder: pathlib.Path, **fields: Any) -> np.ndarray:
    values = {"pipeline_root": "a", "serving_dir": "b", "data_root": str(folder), "preprocessing_signature": ""}
    return label_values(PipelineConfig(**(values | fields)))


@pytest.mark.parametrize("data_format", ["csv", "tfrecord"])
@pytest.mark.parametrize("label", ["price", "rooms"])
def test_values_of_the_first_file(tmp_path: pathlib.Path, data_format: str, label: str) -> None:
    write = house_data.write_csv if data_format == "csv" else house_data.write_tfrecords
    found = _values(write(tmp_path / "data"), data_format=data_format, label_key=label)
    expected = [row[house_data.COLUMNS.index(label)] for row in house_data.rows()[: house_data.ROWS // 2]]
    np.testing.assert_allclose(found, np.array(expected)[:, None], rtol=1e-6)


def test_label_that_is_computed_or_no_number_has_none(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.csv").write_text("kind,price\nflat,\nhouse,2.5\n", encoding="utf-8")
    assert _values(tmp_path, label_key="kind").shape == (0, 1)
    assert _values(tmp_path, label_key="price").tolist() == [[2.5]]
    assert _values(tmp_path, label_key="price", preprocessing_signature="transform_features").shape == (0, 1)


@pytest.mark.parametrize("text", [b"a,price\n1,2\n\xff,3\n", b"a,price\n1,2\n1,x\n", b"a,price\n1,2\n\r1,\x00\n"])
def test_damaged_table_has_none(tmp_path: pathlib.Path, text: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(text)
    assert _values(tmp_path, label_key="price").shape == (0, 1)


def test_damaged_records_have_none(tmp_path: pathlib.Path) -> None:
    data = house_data.write_tfrecords(tmp_path / "data")
    content = (data / "a.tfrecord").read_bytes()
    (data / "a.tfrecord").write_bytes(content[:-1])
    assert _values(data, label_key="price", data_format="tfrecord").shape == (0, 1)
