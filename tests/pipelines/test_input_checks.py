"""What is found out about data and module before anything runs."""

import gzip
import pathlib
import sys
from typing import Any

import pytest
import tensorflow as tf

from helpers import house_data
from tfx_pruning.pipelines.config import TAXI_MODULE_PATH, PipelineConfig
from tfx_pruning.pipelines.input_checks import check_data, check_module
from tfx_pruning.pipelines.taxi_example import shipped_data


def _config(**fields: Any) -> PipelineConfig:
    values = {"pipeline_root": "artifacts", "serving_dir": "serving", "data_root": "data", "label_key": "price"}
    return PipelineConfig.from_values({**values, "preprocessing_signature": "", **fields})


def _module(folder: pathlib.Path, text: str) -> str:
    path = folder / "houses.py"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    "text",
    [
        "def preprocessing_fn(inputs): ...\ndef run_fn(fn_args): raise SystemExit\nraise SystemExit",
        "from shared import preprocessing_fn, train as run_fn",
        "from shared import *",
        "try:\n    from shared import run_fn\nexcept ImportError:\n    run_fn = None\npreprocessing_fn: object = 1",
        "if True:\n    import run_fn, preprocessing_fn",
        "preprocessing_fn, run_fn = 1, 2",
    ],
)
def test_module_with_both_functions_passes_and_is_not_run(tmp_path: pathlib.Path, text: str) -> None:
    path = _module(tmp_path, text)
    check_module(_config(module_file=path))
    without = _module(tmp_path, text.replace("run_fn", "train_fn").replace("*", "train_fn"))
    with pytest.raises(ValueError, match=r"does not define .*run_fn: "):
        check_module(_config(module_file=without))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def run_fn(fn_args): ...", r"houses.py does not define preprocessing_fn: Transform needs preprocessing_fn\("),
        ("class A:\n    def run_fn(self): ...", "houses.py does not define preprocessing_fn and run_fn"),
        ("def run_fn(:", "houses.py cannot be read as Python: invalid syntax .*line 1"),
        ("\0", "houses.py cannot be read as Python: "),
    ],
)
def test_module_without_a_function_is_refused(tmp_path: pathlib.Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_module(_config(module_file=_module(tmp_path, text)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"module_file": "/nowhere/houses.py"}, "/nowhere/houses.py cannot be read as Python: .* No such file"),
        ({"module_file": "/nowhere/houses.txt"}, r"module_file must end in .py, got /nowhere/houses.txt"),
        ({"module_path": "nowhere.houses"}, "There is no module 'nowhere.houses' in this environment"),
        ({"module_path": "tfx_pruning.version"}, "version.py does not define preprocessing_fn and run_fn"),
    ],
)
def test_module_that_is_not_there_is_refused(fields: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_module(_config(**fields))


def test_module_path_is_found_and_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, TAXI_MODULE_PATH, raising=False)
    check_module(_config(module_path=TAXI_MODULE_PATH))
    assert TAXI_MODULE_PATH not in sys.modules


@pytest.mark.parametrize("data_format", ["csv", "tfrecord"])
def test_columns_are_read_of_both_formats(tmp_path: pathlib.Path, data_format: str) -> None:
    write = house_data.write_csv if data_format == "csv" else house_data.write_tfrecords
    data = str(write(tmp_path / "data"))
    for label in house_data.COLUMNS:
        check_data(_config(data_root=data, data_format=data_format, label_key=label))
    with pytest.raises(ValueError, match="have no label"):
        check_data(_config(data_root=data, data_format=data_format, label_key="price_xf"))


def test_columns_of_the_shipped_data_are_read() -> None:
    check_data(_config(data_root=shipped_data(), label_key="tips"))
    with pytest.raises(ValueError, match=r"have no label 'tip'. Did you mean 'tips'\?"):
        check_data(_config(data_root=shipped_data(), label_key="tip"))


def test_only_without_a_signature_is_the_label_looked_for_in_the_data(tmp_path: pathlib.Path) -> None:
    fields = {"data_root": str(house_data.write_csv(tmp_path / "csv")), "label_key": "price_xf"}
    check_data(_config(**fields, preprocessing_signature="transform_features"))
    with pytest.raises(ValueError, match="have no label 'price_xf'"):
        check_data(_config(**fields, preprocessing_signature=""))


@pytest.mark.parametrize("data_format", ["csv", "tfrecord"])
@pytest.mark.parametrize(
    ("label", "hint"), [("prize", "Did you mean 'price'?"), ("zzz", "There are .*area.*rooms|There are age, area, ")]
)
def test_data_without_the_label_are_refused(tmp_path: pathlib.Path, data_format: str, label: str, hint: str) -> None:
    write = house_data.write_csv if data_format == "csv" else house_data.write_tfrecords
    data = write(tmp_path / "data")
    with pytest.raises(ValueError, match=f"have no label '{label}'. ({hint})"):
        check_data(_config(data_root=str(data), data_format=data_format, label_key=label))


def test_folders_without_data_are_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=r"data_root must be a folder, got /nowhere: name .* with --data-root"):
        check_data(_config(data_root="/nowhere"))
    with pytest.raises(
        ValueError, match=r"must hold \.csv files, got no files: name the folder of the data with --data-root"
    ):
        check_data(_config(data_root=str(tmp_path)))
    with pytest.raises(ValueError, match=r"must hold TFRecord files, got no files: name the data's folder"):
        check_data(_config(data_root=str(tmp_path), data_format="tfrecord"))


def test_data_of_the_other_format_are_refused(tmp_path: pathlib.Path) -> None:
    csv, tfrecords = house_data.write_csv(tmp_path / "csv"), house_data.write_tfrecords(tmp_path / "tfrecord")
    with pytest.raises(
        ValueError, match=r"got a.tfrecord, b.tfrecord.gz: name .*, or the format of the files with --data-format"
    ):
        check_data(_config(data_root=str(tfrecords)))
    with pytest.raises(ValueError, match=r"README.md is no file of TFRecords of tf.Examples: .* --data-format=csv"):
        check_data(_config(data_root=str(csv), data_format="tfrecord"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "c.csv must have a header and at least one row, got 0 lines"),
        ("area,rooms,age,price\n", "c.csv must have a header and at least one row, got 1 lines"),
        ("area,price\n1,2\n", "same header, got area,price in .*c.csv and area,rooms,age,price in .*a.csv"),
    ],
)
def test_wrong_csv_is_refused(tmp_path: pathlib.Path, text: str, message: str) -> None:
    data = house_data.write_csv(tmp_path / "csv")
    (data / "c.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        check_data(_config(data_root=str(data)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"price,price\n1,2\n", "must have a header with one name for each column, got price,price over 2 values"),
        (b"area,price\n1\n", "must have a header with one name for each column, got area,price over 1 values"),
        (b"\xff\xfeprice\n1\n", "a.csv is no CSV in UTF-8"),
    ],
)
def test_wrong_only_csv_is_refused(tmp_path: pathlib.Path, content: bytes, message: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        check_data(_config(data_root=str(tmp_path)))


def test_tfrecords_of_something_else_are_refused(tmp_path: pathlib.Path) -> None:
    for name, record in (("a", b"no example"), ("b", tf.train.Example().SerializeToString())):
        (tmp_path / name).mkdir()
        with tf.io.TFRecordWriter(str(tmp_path / name / "f.tfrecord")) as writer:
            writer.write(record)
    with pytest.raises(ValueError, match=r"f.tfrecord is no file of TFRecords of tf.Examples"):
        check_data(_config(data_root=str(tmp_path / "a"), data_format="tfrecord"))
    with pytest.raises(ValueError, match=r"f.tfrecord (holds an example without features|is no file)"):
        check_data(_config(data_root=str(tmp_path / "b"), data_format="tfrecord"))


def test_gzipped_file_must_be_named_so(tmp_path: pathlib.Path) -> None:
    data = house_data.write_tfrecords(tmp_path / "data")
    plain = data / "a.tfrecord"
    plain.write_bytes(gzip.compress(plain.read_bytes()))
    with pytest.raises(ValueError, match=r"a.tfrecord must end in .gz if, and only if, it is gzipped"):
        check_data(_config(data_root=str(data), data_format="tfrecord"))
