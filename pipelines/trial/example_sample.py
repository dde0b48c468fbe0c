"""A sample of a pipeline's data, as its ExampleGen would put them out."""

import csv
import itertools
import os
from collections.abc import Sequence
from typing import TypeVar

import tensorflow as tf
from tfx_bsl.coders import csv_decoder

from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.record_files import read_records

_Item = TypeVar("_Item")

_EXAMPLES = 1500
# What is read to know the types of columns, and to draw from: files, rows of a table, and bytes of records.
_FILES = 20
_ROWS = 30_000
_BYTES = 32 * 2**20


class NoSampleError(Exception):
    """The beginning of the data does not say what its examples are; the message tells why."""


def sample_examples(config: PipelineConfig) -> list[bytes]:
    """Draws examples, evenly from the beginnings of the files.

    CsvExampleGen takes the types of columns from all rows; here they are those of the rows that are read.

    Args:
        config: Names the data, which `check_data` has found in order.

    Returns:
        Serialized tf.Examples, at most about 1,500.

    Raises:
        ValueError: A file cannot be read, or a row has more or fewer values than the header.
        NoSampleError: A column has no value in the rows that are read, and there are more rows.
    """
    names = sorted(name for name in tf.io.gfile.listdir(config.data_root) if not name.endswith("/"))
    files = [os.path.join(config.data_root, name) for name in names]
    files = [file for file in files if not tf.io.gfile.isdir(file)]
    if config.data_format == "csv":
        return _rows_as_examples([file for file in files if file.endswith(".csv")])
    files = files[:_FILES]
    return list(itertools.chain.from_iterable(_records(file, len(files)) for file in files))


def _records(file: str, files: int) -> list[bytes]:
    """The first records of one of several files."""
    records = read_records([file], -(-_EXAMPLES // files))
    sizes = itertools.accumulate(map(len, records), initial=0)
    return [record for record, before in zip(records, sizes, strict=False) if before < _BYTES // files]


def _rows_as_examples(files: Sequence[str]) -> list[bytes]:
    read = files[:_FILES]
    tables = [_table(file, -(-_ROWS // len(read))) for file in read]
    rows = [row for _, of_file, _ in tables for row in of_file]
    if not rows:
        raise ValueError(f"{', '.join(read)} must hold a row below the header, got none. Add rows.")
    inferrer = csv_decoder.ColumnTypeInferrer(tables[0][0], skip_blank_lines=True)
    types = inferrer.create_accumulator()
    for row in rows:
        types = inferrer.add_input(types, row)
    columns = inferrer.extract_output(types)
    unknown = [column.name for column in columns if column.type == csv_decoder.ColumnType.UNKNOWN]
    if unknown and (len(read) < len(files) or any(is_cut for *_, is_cut in tables)):
        raise NoSampleError(f"{', '.join(unknown)} has no value in the first {len(rows)} rows")
    # A value of each column is among them.
    first = {next((number for number, row in enumerate(rows) if row[index]), 0) for index in range(len(columns))}
    chosen = sorted({*first, *(index * len(rows) // _EXAMPLES for index in range(_EXAMPLES))})
    return [_example(columns, rows[number]).SerializeToString() for number in chosen]


def _table(file: str, most: int) -> tuple[list[str], list[list[bytes]], bool]:
    """The header of a file, its first rows, and whether there are more."""
    rows = []
    with tf.io.gfile.GFile(file, "r") as stream:
        reader = csv.reader(stream)
        try:
            header = next(reader)
            for row in reader:
                if len(row) not in (0, len(header)):
                    raise ValueError(
                        f"{file} must have {len(header)} values in every row, as in its header, got {len(row)} in line "
                        f"{reader.line_num}: {','.join(row)[:80]}. Mend the line."
                    )
                if len(rows) == most:
                    return header, rows, True
                if row:
                    rows.append([cell.encode() for cell in row])
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{file} is no CSV in UTF-8: {error}. Save it as such.") from error
    return header, rows, False


def _example(columns: Sequence[csv_decoder.ColumnInfo], row: Sequence[bytes]) -> tf.train.Example:
    """A row as CsvExampleGen writes it."""
    example = tf.train.Example()
    for column, cell in zip(columns, row, strict=True):
        values, feature = [cell] if cell else [], tf.train.Feature()
        if column.type == csv_decoder.ColumnType.INT:
            feature = tf.train.Feature(int64_list=tf.train.Int64List(value=map(int, values)))
        elif column.type == csv_decoder.ColumnType.FLOAT:
            feature = tf.train.Feature(float_list=tf.train.FloatList(value=map(float, values)))
        elif column.type == csv_decoder.ColumnType.STRING:
            feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        example.features.feature[column.name].CopyFrom(feature)
    return example
