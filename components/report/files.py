"""The files of a report: JSON for programs, HTML for people."""

import os

import tensorflow as tf

from .document import ReportDocument
from .page import page

JSON_NAME = "pruning_report.json"
HTML_NAME = "pruning_report.html"


def write_report(document: ReportDocument, directory: str | os.PathLike[str]) -> None:
    """Writes both files into a folder, which is made if missing; each appears whole or not at all.

    Args:
        document: What the report says.
        directory: A folder of any file system that `tf.io.gfile` writes to.

    Raises:
        tf.errors.OpError: The folder cannot be written.
    """
    directory = os.fspath(directory)
    tf.io.gfile.makedirs(directory)
    write_whole(os.path.join(directory, JSON_NAME), document.to_json())
    write_whole(os.path.join(directory, HTML_NAME), page(document))


def read_report(directory: str | os.PathLike[str]) -> ReportDocument:
    """Reads a report from a folder that `write_report` filled.

    Raises:
        FileNotFoundError: The folder holds no report.
        ValueError: It holds one that cannot be read.
    """
    path = os.path.join(os.fspath(directory), JSON_NAME)
    if not tf.io.gfile.exists(path):
        raise FileNotFoundError(
            f"{os.fspath(directory)} holds no {JSON_NAME}: give the folder of a PruningReport, as PruningTrainer and "
            "Stripper write it."
        )
    return ReportDocument.from_json(read_text(path), path)


def read_text(path: str) -> str:
    """Reads a text file of any file system that `tf.io.gfile` reads."""
    with tf.io.gfile.GFile(path, "r") as file:
        return file.read()


def write_whole(path: str, text: str) -> None:
    """Writes a text file, in place of one that is there, so that no reader ever sees half of it."""
    part = f"{path}.part"
    try:
        with tf.io.gfile.GFile(part, "w") as file:
            file.write(text)
        tf.io.gfile.rename(part, path, overwrite=True)
    except BaseException:
        if tf.io.gfile.exists(part):
            tf.io.gfile.remove(part)
        raise
