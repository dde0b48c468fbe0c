"""Pushing a model: whole, once, and nothing is left of pushes that were killed."""

import os
import pathlib
import shutil
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import tensorflow as tf
from tfx import v1 as tfx
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import standard_artifacts
from tfx.utils import proto_utils

from tfx_pruning.pipelines import pusher_executor
from tfx_pruning.pipelines.pusher import Pusher

FILES = {"saved_model.pb": "graph", "variables/variables.index": "index", "assets.extra/a/b": "extra"}
SECOND = 1_800_000_000
KEYS = ("pushed", "pushed_destination", "pushed_version")


def _files(folder: pathlib.Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): file.read_text(encoding="utf-8") for file in folder.rglob("*") if file.is_file()
    }


@pytest.fixture
def push(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Pushes a model in a fixed second, by default to 'serving'; gives the properties of what is put out."""
    monkeypatch.setattr(time, "time", lambda: SECOND + 0.5)
    for name, content in FILES.items():
        (tmp_path / "model" / "Format-Serving" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / "Format-Serving" / name).write_text(content, encoding="utf-8")

    def pushed(base: str = "", blessed: bool = True) -> dict[str, Any]:
        model = standard_artifacts.Model()
        model.uri = str(tmp_path / "model")
        blessing = standard_artifacts.ModelBlessing()
        blessing.set_int_custom_property("blessed", int(blessed))
        output = standard_artifacts.PushedModel()
        output.uri = str(tmp_path / "archive")
        (tmp_path / "archive").mkdir(exist_ok=True)
        destination = tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=base or str(tmp_path / "serving"))
        )
        pusher_executor.Executor().Do(
            {"model": [model], "model_blessing": [blessing]},
            {"pushed_model": [output]},
            {"push_destination": proto_utils.proto_to_json(destination)},
        )
        return {
            key: getattr(value, value.WhichOneof("value"))
            for key, value in output.mlmd_artifact.custom_properties.items()
        }

    return pushed


def test_versions_are_whole_and_named_by_the_second_or_the_next_that_is_free(
    push: Callable[..., dict[str, Any]], tmp_path: pathlib.Path
) -> None:
    serving = tmp_path / "serving"
    for version in (SECOND, SECOND + 1):
        found = push()
        assert found == dict(zip(KEYS, (1, str(serving / str(version)), str(version)), strict=True))
        assert _files(serving / str(version)) == FILES
        assert _files(tmp_path / "archive") == FILES
    assert sorted(each.name for each in serving.iterdir()) == [str(SECOND), str(SECOND + 1)]


def test_place_is_named_as_it_was_asked_for(
    push: Callable[..., dict[str, Any]], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    bases = [str(tmp_path / "link"), "real", f"file://{tmp_path}/real"]
    destinations = [push(base)["pushed_destination"] for base in bases]
    assert destinations == [os.path.join(base, str(SECOND + number)) for number, base in enumerate(bases)]
    assert all(_files(pathlib.Path(each.removeprefix("file://"))) == FILES for each in destinations)


def test_model_that_is_not_blessed_leaves_no_trace_but_clears_up(
    push: Callable[..., dict[str, Any]], tmp_path: pathlib.Path
) -> None:
    assert push(blessed=False) == {"pushed": 0}
    assert not (tmp_path / "serving").exists()


@pytest.mark.parametrize("number", range(len(FILES) * 2))
@pytest.mark.parametrize("blessed", [True, False])
def test_what_a_push_that_was_killed_left_is_never_a_version_and_goes(
    push: Callable[..., dict[str, Any]],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    blessed: bool,
) -> None:
    serving = tmp_path / "serving"
    pid = os.fork()
    if not pid:
        copy, copied = tf.io.gfile.copy, []

        def killed(*arguments: Any, **options: Any) -> None:
            if len(copied) == number:
                os._exit(9)
            copied.append(arguments)
            copy(*arguments, **options)

        monkeypatch.setattr(pusher_executor.executor.io_utils.fileio, "copy", killed)
        push()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    (hidden,) = serving.iterdir()
    assert hidden.name.startswith(".push.")
    push(blessed=blessed)
    assert [each.name for each in serving.iterdir()] == [str(SECOND)] * blessed


def test_push_that_fails_leaves_nothing(
    push: Callable[..., dict[str, Any]], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(pusher_executor.executor.io_utils.fileio, "copy", fail)
        with pytest.raises(OSError, match="disk full"):
            push()
    needed = sum(map(len, FILES.values()))
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10**9, free=needed - 1))
        with pytest.raises(OSError, match=rf"takes {needed} bytes or more, and {needed - 1} are free"):
            push()
    assert list((tmp_path / "serving").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file/push' cannot be written"):
        push(str(tmp_path / "file"))


def test_object_stores_are_pushed_to_as_tfx_does(
    push: Callable[..., dict[str, Any]], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(pusher_executor.executor.Executor, "Do", lambda self, *arguments: asked.append(arguments[2]))
    push("ram://serving")
    (properties,) = asked
    assert "ram://serving" in properties["push_destination"]
    assert tf.io.gfile.glob("ram://serving/*") == []


def test_component_is_tfx_pusher_with_another_executor() -> None:
    node = Pusher(
        model=tfx.dsl.Channel(type=standard_artifacts.Model),
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory="serving")
        ),
    )
    assert node.id == "Pusher"
    assert node.executor_spec.class_path == "tfx_pruning.pipelines.pusher_executor.Executor"
    assert issubclass(node.executor_spec.executor_class, BaseExecutor)
