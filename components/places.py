"""Places: what paths and URIs mean, whatever their spelling."""

import concurrent.futures
import os
import re
import threading
from collections.abc import Callable

import tensorflow as tf

# As TensorFlow tells a URI from a path.
_URI = re.compile(r"([A-Za-z][A-Za-z0-9.]*)://([^/]*)(.*)", re.DOTALL)
# Without credentials, or where packets are dropped, TensorFlow tries for many minutes.
_ANSWER_SECONDS = 60


def is_local(path: str) -> bool:
    """Whether a path is one of this machine's file system, `file://` left aside."""
    return not _URI.match(path)


def checked_path(path: str | os.PathLike[str]) -> str:
    """A path as TensorFlow and `os` both read it: one of `file://` becomes a plain path.

    Args:
        path: A path, or a URI of a file system that TensorFlow has.

    Raises:
        OSError: Its file system refuses, or does not answer within a minute.
        ValueError: It is empty, not of Unicode characters, or of a scheme that TensorFlow does not know.
    """
    text = os.fspath(path)
    if not text:
        raise ValueError("The path is empty; give that of a file or folder.")
    if "\0" in text or re.search("[\ud800-\udfff]", text):
        raise ValueError(f"The path {text!r} has a zero byte or is not of Unicode characters; rename the folder.")
    uri = _URI.match(text)
    if not uri:
        return text
    scheme, host, rest = uri.groups()
    if scheme == "file":
        if host not in ("", "localhost") or not rest:
            raise ValueError(f"{text!r} is no absolute path; give one with three slashes, as in file:///models/taxi.")
        return rest
    if scheme not in tf.io.gfile.get_registered_schemes():
        known = ", ".join(f"{each}://" for each in sorted(filter(None, tf.io.gfile.get_registered_schemes())))
        raise ValueError(
            f"{text!r} is of a file system that TensorFlow does not know; it knows {known}. Import the library that "
            "brings the file system first, such as tensorflow_io, or give a path of another."
        )
    _check_answers(text)
    return text


def checked_place(path: str | os.PathLike[str]) -> str:
    """The one spelling of the place that a path leads to: absolute, through symbolic links, no slash at its end.

    Raises:
        OSError: As `checked_path`.
        ValueError: As `checked_path`.
    """
    text = checked_path(path)
    if is_local(text):
        # Two slashes at the beginning are kept otherwise.
        return re.sub("^//+", "/", os.path.realpath(text))
    return text.rstrip("/")


def checked_model_path(path: str | os.PathLike[str]) -> str:
    """As `checked_path`, of a folder whose variables TensorFlow can read.

    Raises:
        OSError: As `checked_path`.
        ValueError: As `checked_path`; or TensorFlow takes the path for a pattern, which does not match itself.
    """
    text = checked_path(path)
    if re.search(r"\[.*\]|\\", os.path.abspath(text) if is_local(text) else text, re.DOTALL):
        raise ValueError(
            f"TensorFlow cannot read variables from {text!r}, for it takes brackets and backslashes in a path for a "
            "pattern; rename the folder."
        )
    return text


def holds(outer: str, inner: str) -> bool:
    """Whether one of two places, as `checked_place` gives them, is the other or a folder around it."""
    parts = [[part for part in place.split("/") if part] for place in (outer, inner)]
    return parts[1][: len(parts[0])] == parts[0] and is_local(outer) == is_local(inner)


def _check_answers(path: str) -> None:
    answer: concurrent.futures.Future[bool] = concurrent.futures.Future()
    # A daemon, which the process does not wait for when it ends.
    threading.Thread(target=_put, args=(answer, lambda: tf.io.gfile.exists(path)), daemon=True).start()
    try:
        answer.result(_ANSWER_SECONDS)
    except concurrent.futures.TimeoutError:
        raise OSError(
            f"{path!r} cannot be reached: its file system did not answer in {_ANSWER_SECONDS} seconds. See that the "
            "network and the credentials are there, such as GOOGLE_APPLICATION_CREDENTIALS for gs://."
        ) from None
    except tf.errors.OpError as error:
        raise OSError(
            f"{path!r} cannot be reached ({error.message}). See that the network and the credentials are there, such "
            "as GOOGLE_APPLICATION_CREDENTIALS for gs://."
        ) from error


def _put(answer: "concurrent.futures.Future[bool]", function: Callable[[], bool]) -> None:
    try:
        answer.set_result(function())
    except BaseException as error:
        answer.set_exception(error)
