"""The trial of a module in a process of its own, and what the commands make of it."""

import dataclasses
import json
import os
import pathlib
import re
import sys
import tempfile
from typing import Any

import pytest
from click.testing import CliRunner

from helpers import house_data
from tfx_pruning.cli.main import cli
from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.trial import trial_process
from tfx_pruning.pipelines.trial.module_check import ModuleCheck

pytestmark = pytest.mark.slow

SOURCE = house_data.MODULE_FILE.read_text(encoding="utf-8")


def _outcome(folder: pathlib.Path, text: str, seconds: float = 180, data: str = "csv", module_path: str = "") -> str:
    write = house_data.write_csv if data == "csv" else house_data.write_tfrecords
    (folder / "houses.py").write_text(text, encoding="utf-8")
    config = PipelineConfig(
        pipeline_root="a",
        data_root=str(write(folder / "data")),
        data_format=data,
        serving_dir="c",
        module_file=str(folder / "houses.py"),
        module_path=module_path,
        label_key="price",
        preprocessing_signature="",
        metric="MeanSquaredError",
        metric_direction="lower",
        min_metric=None,
        further_metrics=(),
        pruning={"prune_option": "weight"},
    )
    with ModuleCheck.begun(config, seconds) as check:
        return check.outcome()


@pytest.fixture
def temporary(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Where temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("data", ["csv", "tfrecord"])
def test_module_that_works_leaves_nothing(tmp_path: pathlib.Path, temporary: pathlib.Path, data: str) -> None:
    assert _outcome(tmp_path, SOURCE, data=data) == ""
    assert list(temporary.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "houses.py", "temporary"]


def test_files_beside_the_module_are_imported_and_hide_no_library(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in ("proto", "random", "types"):
        (tmp_path / f"{library}.py").write_text("raise ImportError('of the folder')\n", encoding="utf-8")
    (tmp_path / "beside_houses.py").write_text("NUMBERS = ('area', 'rooms')\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert _outcome(tmp_path, f"{SOURCE}\nfrom beside_houses import NUMBERS\n") == ""


def test_module_that_is_imported_by_its_path(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "installed")])
    package = tmp_path / "installed" / "prices"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "of_houses.py").write_text(SOURCE.replace("inputs[LABEL]", "inputs['prize']"), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"KeyError: 'prize', at {package}/of_houses.py:17 in preprocessing_fn\."):
        _outcome(tmp_path, "", module_path="prices.of_houses")


def test_a_row_in_each_file_is_enough(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house_data, "ROWS", 2)
    assert _outcome(tmp_path, SOURCE) == ""


def test_failure_of_the_trial_itself_refuses_nothing(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tried(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(trial_process, "_tried", tried)
    config = PipelineConfig(pipeline_root="a", data_root="b", serving_dir="c")
    (tmp_path / trial_process.REQUEST).write_text(json.dumps(dataclasses.asdict(config)), encoding="utf-8")
    trial_process.main(tmp_path)
    result = json.loads((tmp_path / trial_process.RESULT).read_text(encoding="utf-8"))
    assert result == {"untried": "the trial itself failed with OSError: No space left on device"}


def test_process_that_dies_is_told_with_the_end_of_its_log(tmp_path: pathlib.Path, temporary: pathlib.Path) -> None:
    text = "import os\nprint('last words', flush=True)\nos._exit(7)\n" + SOURCE
    message = (
        rf"The module {tmp_path}/houses.py, .*, ended its process with the status 7\. .*--no-try-module.*last words"
    )
    with pytest.raises(ValueError, match=re.compile(message, re.DOTALL)):
        _outcome(tmp_path, text)
    assert list(temporary.iterdir()) == []


def test_trial_that_takes_long_is_ended_and_refuses_nothing(tmp_path: pathlib.Path, temporary: pathlib.Path) -> None:
    begun = tmp_path / "begun"
    text = f"import os, pathlib, time\npathlib.Path({str(begun)!r}).write_text(str(os.getpid()))\ntime.sleep(600)\n"
    assert _outcome(tmp_path, text, seconds=40) == "its trial took more than 40 s"
    with pytest.raises(ProcessLookupError):
        os.kill(int(begun.read_text(encoding="utf-8")), 0)
    assert list(temporary.iterdir()) == []


def _command(command: str, folder: pathlib.Path, text: str, *arguments: str) -> Any:
    (folder / "houses.py").write_text(text, encoding="utf-8")
    if not (folder / "data").exists():
        house_data.write_csv(folder / "data")
    call = [command, "--root", str(folder / "root"), "--data-root", str(folder / "data")]
    call += ["--module-file", str(folder / "houses.py"), "--label-key", "price", "--preprocessing-signature", ""]
    call += ["--metric", "MeanSquaredError", "--metric-direction", "lower", "--max-metric-drop", "9"]
    return CliRunner().invoke(cli, [*call, *arguments])


@pytest.mark.parametrize("command", ["run", "sweep"])
def test_module_that_fails_is_a_wrong_call_and_nothing_is_written(tmp_path: pathlib.Path, command: str) -> None:
    result = _command(command, tmp_path, SOURCE.replace("_dense(inputs[LABEL])", "_dens(inputs[LABEL])"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"Error: The module {tmp_path}/houses.py was tried on a few examples: preprocessing_fn fails with NameError: "
        f"name '_dens' is not defined, at {tmp_path}/houses.py:17 in preprocessing_fn. Mend that, or leave the trial "
        "out with --no-try-module (try_module: false).\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "houses.py"]


def test_metric_of_another_label_is_refused_while_the_module_is_tried(tmp_path: pathlib.Path) -> None:
    result = _command("run", tmp_path, SOURCE, "--metric", "accuracy")
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: There is no metric 'accuracy' in TFMA or Keras. Did you mean 'MeanSquaredError' or "
        "'MeanAbsoluteError', for a label that is a number?\n"
    )
    assert not (tmp_path / "root").exists()


def _fails(*_: Any) -> None:
    from tfx_pruning.pipelines.task_state import TaskFailedError

    raise TaskFailedError("Trainer failed: NameError: name 'x' is not defined")


@pytest.mark.parametrize(("arguments", "setting"), [(["--no-try-module"], ""), ([], "try_module: false\n")])
def test_trial_is_left_out_if_told_so(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], setting: str
) -> None:
    from tfx_pruning.pipelines.run import local_runner

    monkeypatch.setattr(local_runner, "run", _fails)
    monkeypatch.setattr(ModuleCheck, "__init__", lambda *_: pytest.fail("tried"))
    (tmp_path / "settings.yaml").write_text(setting, encoding="utf-8")
    result = _command("run", tmp_path, SOURCE, "--config", str(tmp_path / "settings.yaml"), *arguments)
    assert result.exit_code == 1
    log = tmp_path / "root" / "run.log"
    start = f"Error: Trainer failed: NameError: name 'x' is not defined; the end of {log}:\n"
    assert result.stderr.startswith(start)


def test_run_goes_on_after_a_trial_that_came_to_no_end(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tfx_pruning.pipelines.run import local_runner

    monkeypatch.setattr(local_runner, "run", _fails)
    monkeypatch.setattr(ModuleCheck, "outcome", lambda _: "its trial took more than 180 s")
    result = _command("run", tmp_path, SOURCE)
    assert result.exit_code == 1
    first, second, *_ = result.stderr.splitlines()
    assert first == "Warning: the module was not tried on a few examples: its trial took more than 180 s."
    assert second.startswith("Error: Trainer failed: NameError: name 'x' is not defined; the end of ")
