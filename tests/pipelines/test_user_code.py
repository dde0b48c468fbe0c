"""Errors as they point to a user's module, though TFX runs a copy of it."""

import pathlib
from collections.abc import Callable

import pytest
import tensorflow as tf

from tfx_pruning.pipelines.config import TAXI_MODULE_PATH, PipelineConfig
from tfx_pruning.pipelines.module_copy import importable_copy
from tfx_pruning.pipelines.user_code import UserCode

MODULE = """\
import tensorflow as tf

import helping


def plain():
    return undefined


def in_library():
    return tf.reshape(tf.zeros([4]), [3])


def beside():
    return helping.divide(1)


def from_another():
    try:
        plain()
    except NameError as error:
        raise ValueError("mine\\n\\x1b[31m  is this. ") from error


@tf.function
def traced():
    x = tf.constant(1)
    return undefined(x)


def long():
    raise RuntimeError("x" * 1000)


def silent():
    raise AssertionError
"""
HELPING = "def divide(x):\n    return x / 0\n"


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> UserCode:
    folder = tmp_path_factory.mktemp("mine")
    (folder / "my-module.py").write_text(MODULE, encoding="utf-8")
    (folder / "helping.py").write_text(HELPING, encoding="utf-8")
    return UserCode(folder / "my-module.py")


@pytest.fixture(scope="module")
def functions(code: UserCode) -> dict[str, Callable[[], object]]:
    """The functions of a copy, as a sweep imports one."""
    import importlib

    return vars(importlib.import_module(importable_copy(str(code.file), code.file.parent / "root" / "modules")))


def _error(function: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011  Any error.
        function()
    return caught.value


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("plain", "NameError: name 'undefined' is not defined, at {module}:7 in plain"),
        ("beside", "ZeroDivisionError: division by zero, at {folder}/helping.py:2 in divide"),
        ("from_another", "ValueError: mine \\x1b[31m is this, at {module}:22 in from_another"),
        ("traced", "NameError: name 'undefined' is not defined, at {module}:28 in traced"),
        ("silent", "AssertionError, at {module}:36 in silent"),
        ("long", f"RuntimeError: {'x' * 500}..., at {{module}}:32 in long"),
    ],
)
def test_error_of_a_copy_points_to_the_original(
    code: UserCode, functions: dict[str, Callable[[], object]], function: str, expected: str
) -> None:
    described = code.described(_error(functions[function]))
    assert described == expected.format(module=code.file, folder=code.file.parent)


def test_place_is_the_last_line_of_the_user_not_of_a_library(
    code: UserCode, functions: dict[str, Callable[[], object]]
) -> None:
    described = code.described(_error(functions["in_library"]))
    assert described.startswith("InvalidArgumentError: ")
    assert described.endswith(f", at {code.file}:11 in in_library")


def test_error_that_was_raised_in_place_of_the_modules_is_passed_over(
    code: UserCode, functions: dict[str, Callable[[], object]]
) -> None:
    def wrapped() -> None:
        try:
            functions["plain"]()
        except NameError:
            raise ImportError("cannot import") from None

    assert code.described(_error(wrapped)) == f"NameError: name 'undefined' is not defined, at {code.file}:7 in plain"


def test_syntax_error_of_a_file_beside_the_module(tmp_path: pathlib.Path, code: UserCode) -> None:
    (tmp_path / "helping.py").write_text("def divide(:\n", encoding="utf-8")
    error = _error(lambda: compile("def divide(:\n", str(tmp_path / "helping.py"), "exec"))
    assert code.described(error).endswith(f", at {code.file.parent}/helping.py:1")


def test_error_of_others_has_no_place(code: UserCode) -> None:
    assert code.described(_error(lambda: tf.io.read_file("/nowhere"))).startswith("NotFoundError: ")
    assert " at /" not in code.described(_error(lambda: tf.reshape(tf.zeros([4]), [3])))


@pytest.mark.parametrize(
    ("fields", "file"),
    [
        ({"module_file": "some/houses.py"}, str(pathlib.Path("some/houses.py").absolute())),
        ({"module_path": TAXI_MODULE_PATH}, "taxi.py"),
        ({"module_path": "nowhere.houses"}, "nowhere.houses"),
    ],
)
def test_module_of_a_configuration(fields: dict[str, str], file: str) -> None:
    config = PipelineConfig(pipeline_root="a", data_root="b", serving_dir="c", **fields)
    assert str(UserCode.of(config).file).endswith(file)
