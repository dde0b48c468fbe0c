"""Checks of a user's data and module, before anything runs."""

import ast
import csv
import importlib.util
import itertools
import os
import pathlib
from collections.abc import Iterator, Sequence

from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.suggestion import suggestion

_FUNCTIONS = ("preprocessing_fn", "run_fn")
_GZIPPED = (b"\x1f\x8b", ".gz")


def check_module(config: PipelineConfig) -> None:
    """Checks, without running it, that the user's module defines the functions that the pipeline calls.

    Raises:
        ValueError: There is no such module, it is no Python, or it lacks a function.
    """
    path = _module_path(config)
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"The module {path} cannot be read as Python: {error}.") from error
    names = set(_names(tree.body))
    missing = [name for name in _FUNCTIONS if name not in names]
    if missing and "*" not in names:
        raise ValueError(
            f"The module {path} does not define {' and '.join(missing)}: Transform needs preprocessing_fn(inputs), "
            "Trainer and PruningTrainer need run_fn(fn_args)."
        )


def check_data(config: PipelineConfig) -> None:
    """Checks that the data are there, in their format, and, where they hold it, with the label.

    Raises:
        ValueError: They are not.
    """
    import tensorflow as tf

    if not tf.io.gfile.isdir(config.data_root):
        raise ValueError(
            f"data_root must be a folder, got {config.data_root}: name the folder of the data with --data-root."
        )
    names = sorted(name for name in tf.io.gfile.listdir(config.data_root) if not name.endswith("/"))
    files = [os.path.join(config.data_root, name) for name in names]
    files = [file for file in files if not tf.io.gfile.isdir(file)]
    columns = _csv_columns(config, files) if config.data_format == "csv" else _feature_names(files, config.data_root)
    # The outputs of a preprocessing signature are known only after it has run.
    if not config.preprocessing_signature and config.label_key not in columns:
        hint = suggestion(config.label_key, columns)
        raise ValueError(f"The data in {config.data_root} have no label {config.label_key!r}. {hint}")


def _module_path(config: PipelineConfig) -> pathlib.Path:
    if not config.module_path:
        if not config.module_file.endswith(".py"):
            raise ValueError(f"module_file must end in .py, got {config.module_file}.")
        return pathlib.Path(config.module_file)
    try:
        spec = importlib.util.find_spec(config.module_path)
    except ImportError:
        spec = None
    if spec is None or not spec.origin:
        raise ValueError(f"There is no module {config.module_path!r} in this environment: install it or mend the name.")
    return pathlib.Path(spec.origin)


def _names(body: Sequence[ast.stmt]) -> Iterator[str]:
    """Names that a module's statements bind, in its branches too; '*' if it imports all names of another module."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield from (name.id for name in ast.walk(target) if isinstance(name, ast.Name))
        else:
            for of_branch in ("body", "orelse", "handlers", "finalbody"):
                yield from _names(getattr(node, of_branch, []))


def _csv_columns(config: PipelineConfig, files: Sequence[str]) -> list[str]:
    """Names of the columns, which must be the same in all files."""
    import tensorflow as tf

    tables = [file for file in files if file.endswith(".csv")]
    if not tables:
        mend = "name the folder of the data with --data-root, or the format of the files with --data-format"
        raise ValueError(
            f"data_root {config.data_root} must hold .csv files, got {_some(files) or 'no files'}: {mend}."
        )
    columns: list[str] = []
    for file in tables:
        with tf.io.gfile.GFile(file, "r") as stream:
            try:
                rows = list(itertools.islice(csv.reader(stream), 2))
            except (UnicodeDecodeError, csv.Error) as error:
                raise ValueError(f"{file} is no CSV in UTF-8: {error}.") from error
        if len(rows) < 2:
            raise ValueError(f"{file} must have a header and at least one row, got {len(rows)} lines.")
        if columns and rows[0] != columns:
            raise ValueError(
                f"All files must have the same header, got {','.join(rows[0])} in {file} and {','.join(columns)} in "
                f"{tables[0]}."
            )
        columns = rows[0]
        if len(set(columns)) < len(columns) or len(rows[1]) != len(columns):
            raise ValueError(
                f"{file} must have a header with one name for each column, got {','.join(columns)} over "
                f"{len(rows[1])} values."
            )
    return columns


def _feature_names(files: Sequence[str], data_root: str) -> list[str]:
    """Names of the features of the first examples."""
    import tensorflow as tf

    from tfx_pruning.record_files import read_records

    if not files:
        raise ValueError(
            f"data_root {data_root} must hold TFRecord files, got no files: name the data's folder with --data-root."
        )
    names: set[str] = set()
    for file in files:
        with tf.io.gfile.GFile(file, "rb") as stream:
            gzipped = stream.read(len(_GZIPPED[0])) == _GZIPPED[0]
        if gzipped != file.endswith(_GZIPPED[1]):
            raise ValueError(f"{file} must end in .gz if, and only if, it is gzipped: TFX tells by the name.")
        try:
            (record,) = read_records([file], 1)
            example = tf.train.Example.FromString(record)
        except Exception as error:
            raise ValueError(
                f"{file} is no file of TFRecords of tf.Examples: {error} Every file in {data_root} is read; CSV files "
                "need --data-format=csv."
            ) from error
        if not example.features.feature:
            raise ValueError(f"{file} holds an example without features; expected tf.Examples.")
        names |= set(example.features.feature)
    return sorted(names)


def _some(files: Sequence[str]) -> str:
    shown = [os.path.basename(file) for file in files[:3]]
    return ", ".join([*shown, "..."] if len(files) > len(shown) else shown)
