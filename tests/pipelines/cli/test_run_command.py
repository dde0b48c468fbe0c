"""`tfx-pruning run`: what it refuses, and how it fails."""

import importlib.util
import os
import pathlib
import re
import stat
import subprocess
import sys
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from helpers import house_data
from tfx_pruning import PruningHParams
from tfx_pruning.cli.main import cli
from tfx_pruning.pipelines.beam_args import IN_PROCESS, beam_pipeline_args
from tfx_pruning.pipelines.cli.config_options import ChosenConfig

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "run.md"
SCRIPT = pathlib.Path(sys.executable).with_name("tfx-pruning")
MODULE = str(house_data.MODULE_FILE)
SETTINGS = {
    "module_file": MODULE,
    "label_key": "price",
    "preprocessing_signature": "",
    "metric": "MeanSquaredError",
    "metric_direction": "lower",
    "max_metric": 5000,
    "max_metric_drop": 500,
    "further_metrics": ["MeanAbsoluteError"],
    "eval_steps": 2,
    "pruning": {"target_sparsity": 0.5, "allocation": "uniform", "exclude": ["head"]},
}


def _run(root: pathlib.Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["run", "--root", str(root), *arguments])


def _settings(folder: pathlib.Path, **changes: Any) -> str:
    path = folder / "houses.yaml"
    path.write_text(yaml.safe_dump(SETTINGS | changes), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return house_data.write_csv(tmp_path_factory.mktemp("houses") / "data")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--data-root", "/nowhere"],
            "data_root must be a folder, got /nowhere: name the folder of the data with",
        ),
        (["--hparams", "target_sparsity=1"], "target_sparsity must be in [0, 1), got 1.0."),
        (
            ["--hparams", "taget_sparsity=0.5"],
            "Unknown pruning hyperparameter 'taget_sparsity'. Did you mean 'target_sparsity'?",
        ),
        (["--hparams", "0.9"], "Expected 'name=value' assignments separated by commas, got '0.9' in '0.9'."),
        (["--train-steps", "0"], "train_steps must be at least 1, got 0."),
        (["--max-metric-drop", "-1"], "max_metric_drop must not be negative, got -1.0."),
        (["--min-metric", "nan"], "min_metric must be a finite number, got nan."),
        (["--metric", "BinaryAcuracy"], "no metric 'BinaryAcuracy' in TFMA or Keras. Did you mean 'BinaryAccuracy'?"),
        (["--module-file", MODULE], "data_root is missing: name the folder of the data that the module is for."),
        (["--module-file", MODULE, "--data-root", "."], f"label_key is missing: {MODULE} is a module of your own."),
        (["--module-file", __file__, "--data-root", ".", "--label-key", "y"], "does not define preprocessing_fn and"),
        (["--module-file", MODULE, "--module-path", "a.b"], "--module-file and --module-path both name the module"),
        (
            ["--module-path", "nowhere.houses", "--data-root", ".", "--label-key", "y"],
            "There is no module 'nowhere.houses' in this environment",
        ),
        (["--config", "/nowhere.yaml"], "No such file or directory: '/nowhere.yaml'"),
        (["--config", MODULE], "is neither YAML nor JSON"),
        (["--engine", "process"], "--engine needs --runner=kubeflow-local."),
        (["--image", "x"], "--image needs --runner=kubeflow-local."),
        (["--runner", "kubeflow-local", "--engine", "podman"], "--engine=podman needs --image"),
        (["--runner", "flink"], "'flink' is not one of 'local', 'kubeflow-local'."),
        (["--data-format", "parquet"], "'parquet' is not one of 'csv', 'tfrecord'."),
        (["--max-bytes", "1mb"], "max_bytes must be a number of bytes, alone or with one of kB, MB, GB, KiB, MiB, GiB"),
        (["--max-latency", "2min"], "max_latency must be a number of milliseconds, alone or with one of us, ms, s"),
        (["--max-bytes", "1MB", "--hparams", "target_sparsity=0.5"], "A budget and target_sparsity exclude each other"),
        (["--max-bytes", "1MB", "--hparams", "granularity=element"], "needs granularity='channel', got 'element'"),
        (["--max-bytes", "1MB", "--no-cache"], "enable_cache must be True with a budget"),
        (["--max-bytes", "1MB", "--threads", "0"], "threads must be at least 1, got 0."),
        (["--format", "tflite"], "format='tflite' says what a budget is for, and there is none."),
    ],
)
def test_wrong_call_is_refused_before_anything_is_written(
    tmp_path: pathlib.Path, arguments: list[str], message: str
) -> None:
    root = tmp_path / "root"
    result = _run(root, *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert result.stdout == ""
    assert not root.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lable_key": "x"}, "houses.yaml: Unknown setting 'lable_key'. Did you mean 'label_key'?"),
        ({"pruning": {"spars": 1}}, "Unknown pruning hyperparameter 'spars'."),
        ({"pruning": [1]}, "pruning must be a mapping from fields of PruningHParams to values, got [1] of type list."),
        ({"pruning": None}, "pruning must be a mapping from fields of PruningHParams to values, got None"),
        ({"label_key": "prize"}, "have no label 'prize'. Did you mean 'price'?"),
        ({"data_format": "tfrecord"}, "README.md is no file of TFRecords of tf.Examples"),
        ({"module_file": "missing.py"}, "missing.py cannot be read as Python"),
    ],
)
def test_wrong_setting_in_the_file_is_refused(
    tmp_path: pathlib.Path, data: pathlib.Path, changes: dict[str, Any], message: str
) -> None:
    arguments = ["--config", _settings(tmp_path, **changes), "--data-root", str(data), "--hparams", "seed=1"]
    result = _run(tmp_path / "root", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "root").exists()


def test_a_value_that_yaml_cannot_read_is_refused_by_its_field(tmp_path: pathlib.Path) -> None:
    (tmp_path / "settings.yaml").write_text("min_metric: 2026-99-99\n", encoding="utf-8")
    result = _run(tmp_path / "root", "--config", str(tmp_path / "settings.yaml"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert (
        "settings.yaml is neither YAML nor JSON: min_metric holds '2026-99-99', which is no timestamp" in result.stderr
    )


def test_root_that_cannot_be_written_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    root = tmp_path / "file" / "root"
    result = _run(root)
    assert result.exit_code == 2
    message = (
        f"Error: root must be a folder that can be written to, got {root} (Not a directory): name another one with "
        "--root.\n"
    )
    assert result.stderr == message


@pytest.mark.parametrize("name", ["serving_dir", "pipeline_root"])
def test_folder_elsewhere_that_cannot_be_written_is_refused_before_anything_runs(
    tmp_path: pathlib.Path, name: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "settings.yaml").write_text(f"{name}: {tmp_path / 'file' / 'models'}\n", encoding="utf-8")
    result = _run(tmp_path / "root", "--config", str(tmp_path / "settings.yaml"))
    assert result.exit_code == 2
    folder = tmp_path / "file" / "models"
    assert f"the folder '{folder}' cannot be made or written to (Not a directory)" in result.stderr
    assert not (tmp_path / "root").exists()


def test_podman_is_refused_where_tasks_could_not_push_or_it_is_missing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    podman = ["--runner", "kubeflow-local", "--engine", "podman", "--image", "x"]
    assert "podman is not installed" in _run(tmp_path / "root", *podman).stderr
    (tmp_path / "settings.yaml").write_text("serving_dir: elsewhere\n", encoding="utf-8")
    result = _run(tmp_path / "root", *podman, "--config", str(tmp_path / "settings.yaml"))
    assert result.exit_code == 2
    assert f"serving_dir {tmp_path / 'elsewhere'} is not below {tmp_path / 'root'}" in result.stderr


def test_kubeflow_local_without_kfp_is_refused(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "kfp" else find_spec(name))
    result = _run(tmp_path / "root", "--runner", "kubeflow-local")
    assert result.exit_code == 2
    assert "kfp is not installed, which compiles pipelines: pip install 'tfx-pruning[kubeflow]'." in result.stderr


def test_help_names_every_exit_status() -> None:
    text = " ".join(CliRunner().invoke(cli, ["run", "--help"]).stdout.split())
    assert (
        "Exit status: 0 pushed, 1 failed, 2 wrong call or input, nothing was run, 3 the model is refused, "
        "for its metric or its budget, and nothing was pushed." in text
    )


def _options(root: pathlib.Path, **given: Any) -> dict[str, Any]:
    names = ("config", "data_root", "module_file", "hparams", "beam_job_server", "beam_worker_pool")
    return {"root": str(root), "no_cache": False, "beam_workers": 1} | dict.fromkeys(names) | given


def test_flags_override_the_file(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = _settings(tmp_path, data_root="data", serving_dir="models", train_steps=7, pruning_steps=90)
    options = _options(
        tmp_path / "root", config=path, train_steps=9, no_cache=True, hparams="target_sparsity=0.75", data_root="mine"
    )
    chosen = ChosenConfig.of(options)
    config = chosen.config
    assert (config.train_steps, config.pruning_steps, config.enable_cache) == (9, 90, False)
    assert config.hparams == PruningHParams.for_steps(90, target_sparsity=0.75, allocation="uniform", exclude=["head"])
    places = (config.data_root, config.serving_dir, config.pipeline_root)
    assert places == tuple(str(tmp_path / name) for name in ("mine", "models", "root/artifacts"))
    assert not chosen.is_example
    assert config.module_path == ""
    assert ChosenConfig.of(options | {"module_path": "a.houses"}).config.module_path == "a.houses"


def test_without_data_and_module_it_is_the_example(tmp_path: pathlib.Path) -> None:
    chosen = ChosenConfig.of(_options(tmp_path / "root", metric="Recall"))
    assert chosen.is_example
    assert pathlib.Path(chosen.config.data_root, "data.csv").is_file()
    assert (chosen.config.metric, chosen.config.min_metric) == ("Recall", None)


def test_runner_is_handed_the_arguments_of_the_workers(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tfx_pruning.pipelines.run import local_runner
    from tfx_pruning.pipelines.task_state import TaskFailedError

    handed = []

    def run(*arguments: Any) -> None:
        handed.append(arguments[-1])
        raise TaskFailedError("stopped")

    monkeypatch.setattr(local_runner, "run", run)
    for workers in ("1", "3"):
        assert _run(tmp_path / "root", "--beam-workers", workers).exit_code == 1
    assert handed == [IN_PROCESS, tuple(beam_pipeline_args(3))]


@pytest.mark.parametrize("second", ["run", "sweep"])
def test_second_command_over_a_root_is_refused_and_leaves_no_trace(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    from tfx_pruning.pipelines.run import local_runner
    from tfx_pruning.pipelines.task_state import TaskFailedError

    refused, root = [], tmp_path / "root"

    def run(*_: Any) -> None:
        before = {path: path.read_bytes() for path in root.iterdir()}
        refused.append(CliRunner().invoke(cli, [second, "--root", str(root)]))
        assert {path: path.read_bytes() for path in root.iterdir()} == before
        raise TaskFailedError("stopped")

    monkeypatch.setattr(local_runner, "run", run)
    assert _run(root).exit_code == 1
    (result,) = refused
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(
        rf"Error: tfx-pruning run \(process {os.getpid()}, since .*\) is at work in {re.escape(str(root))}, which "
        r"takes one at a time\. Wait until it has ended, or name another folder with --root\.\n",
        result.stderr,
    )


def test_interrupted_run_says_how_to_go_on(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tfx_pruning.pipelines.run import local_runner

    root = tmp_path / "root"

    def run(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(local_runner, "run", run)
    for _ in range(2):  # the first leaves nothing that keeps the second out
        result = _run(root)
        assert result.exit_code == 130
        assert result.stderr == (
            f"Interrupted: what is finished is in {root}; details in {root / 'run.log'}. Called again with the same "
            "root, the command goes on where it stood.\n"
        )


@pytest.mark.e2e
def test_component_that_fails_is_named_and_its_traceback_is_in_the_log(tmp_path: pathlib.Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.csv").write_text("area,price\n1,2\n3\n", encoding="utf-8")
    root = tmp_path / "root"
    command = [SCRIPT, "run", "--root", root, "--module-file", MODULE, "--label-key", "price", "--data-root", data]
    command += ["--no-try-module"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 1
    assert result.stdout.splitlines()[-1].split()[-2:] == ["CsvExampleGen", "failed"]
    assert result.stderr.startswith("Error: CsvExampleGen failed: ")
    log = (root / "run.log").read_text(encoding="utf-8")
    assert "Traceback (most recent call last)" in log
    message, end = result.stderr.split(f"; the end of {root / 'run.log'}:\n")
    assert "ValueError: Columns do not match" in message
    assert end.splitlines() == log.splitlines()[-20:]
    assert not (root / "serving").exists()


@pytest.mark.e2e
def test_typo_in_the_module_is_told_by_type_and_line_of_the_users_file(tmp_path: pathlib.Path) -> None:
    module = tmp_path / "houses.py"
    typo = pathlib.Path(MODULE).read_text(encoding="utf-8").replace("_dense(inputs[LABEL])", "_dens(inputs[LABEL])")
    module.write_text(typo, encoding="utf-8")
    root, data = tmp_path / "root", house_data.write_csv(tmp_path / "data")
    command = [SCRIPT, "run", "--root", root, "--module-file", module, "--label-key", "price", "--data-root", data]
    command += ["--no-try-module"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 1
    message, end = result.stderr.split(f"; the end of {root / 'run.log'}:\n")
    assert message == (
        f"Error: Transform failed: NameError: name '_dens' is not defined, at {module}:17 in preprocessing_fn"
    )
    assert end.splitlines()[-1] == "NameError: name '_dens' is not defined"


def test_podman_tasks_see_the_root_and_the_data(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tfx_pruning.pipelines.cli import run_command

    podman = tmp_path / "bin" / "podman"
    podman.parent.mkdir()
    podman.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path / "called"}\n', encoding="utf-8")
    podman.chmod(podman.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(podman.parent), prepend=":")
    chosen = ChosenConfig.of(_options(tmp_path / "root", data_root="/data"))
    engine = run_command._tasks_engine(chosen, "kubeflow-local", "podman", "image:1")
    assert engine.run("image:1", ["python", "-c", "1"], {}, tmp_path / "log") == 0
    root = tmp_path / "root"
    assert (tmp_path / "called").read_text(encoding="utf-8").splitlines() == [
        *["run", "--rm", "--pull=never", f"--volume={root}:{root}", "--volume=/data:/data:ro", "--entrypoint=python"],
        *["image:1", "-c", "1"],
    ]
