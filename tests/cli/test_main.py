"""The entry point, and what all commands share."""

import contextlib
import importlib.metadata
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from tfx_pruning import __version__
from tfx_pruning.cli import main

_COMMANDS = ["init", "inspect", "metadata", "prune", "report", "run", "sensitivity", "strip", "sweep"]
# Those of a process that a shell begins, which pytest need not have.
_HANDLERS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
_SCRIPT = pathlib.Path(sys.executable).with_name("tfx-pruning")


def _script(*arguments, **environment):
    return subprocess.run(
        [_SCRIPT, *arguments], capture_output=True, text=True, timeout=240, env={**os.environ, **environment}
    )


def test_help_lists_every_command():
    result = CliRunner().invoke(main.cli, ["--help"])
    assert result.exit_code == 0
    listed = result.stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed if line.startswith("  ") and line[2] != " "] == _COMMANDS


@pytest.mark.parametrize("name", _COMMANDS)
def test_every_command_has_help_with_examples(name):
    result = CliRunner().invoke(main.cli, [name, "--help"])
    assert result.exit_code == 0
    assert f"Examples:\n    tfx-pruning {name} " in result.stdout


def test_another_package_may_add_a_command(monkeypatch):
    def of_another(*, group, name=None):
        assert group == "tfx_pruning.commands"
        point = importlib.metadata.EntryPoint("squeeze", "tfx_pruning.cli.inspect_command:command", group)
        return importlib.metadata.EntryPoints([point] if name in (None, "squeeze") else [])

    monkeypatch.setattr(importlib.metadata, "entry_points", of_another)
    assert "squeeze" in CliRunner().invoke(main.cli, ["--help"]).stdout
    assert "MODEL_DIR" in CliRunner().invoke(main.cli, ["squeeze", "--help"]).stdout


def test_an_unknown_command_exits_with_2():
    result = CliRunner().invoke(main.cli, ["squeeze"])
    assert result.exit_code == 2
    assert "No such command 'squeeze'" in result.stderr


def test_help_loads_no_tensorflow():
    names = [["--help"], *([name, "--help"] for name in _COMMANDS)]
    program = (
        "import json, sys\nfrom click.testing import CliRunner\nfrom tfx_pruning.cli.main import cli\n"
        f"assert all(CliRunner().invoke(cli, each).exit_code == 0 for each in {names})\n"
        "print(json.dumps(sorted(name.partition('.')[0] for name in sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert set(json.loads(run.stdout)).isdisjoint({"keras", "numpy", "tensorflow", "tfx"})


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [
        (signal.SIGINT, 130, "Interrupted: nothing half done is left. Call the command again to begin anew.\n"),
        (signal.SIGTERM, 143, ""),
    ],
)
@pytest.mark.parametrize("moment", ["loaded", "called", "another error", "lost", "lost at the end", "again"])
def test_a_signal_ends_a_command_in_order(moment, number, status, said, monkeypatch):
    undone, begun = [], time.monotonic()

    @contextlib.contextmanager
    def cleaned():
        try:
            yield
        finally:
            if moment == "again":
                signal.raise_signal(number)
            undone.append(moment)

    def under_way():
        with cleaned():
            try:
                signal.raise_signal(number)
            except BaseException as error:
                if moment == "another error":
                    raise AttributeError("'dict' object has no attribute '_type_spec'") from error
                if not moment.startswith("lost"):
                    raise
            # Until it comes again; never waits that long.
            while moment == "lost":
                if time.monotonic() > begun + 60:
                    undone.append("it never came again")
                    break

    def load():
        if moment == "loaded":
            under_way()
        return click.Command("squeeze", callback=under_way)

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [SimpleNamespace(load=load)])
    former = {each: signal.signal(each, handler) for each, handler in _HANDLERS.items()}
    try:
        result = CliRunner().invoke(main.cli, ["squeeze"])
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        for each, handler in former.items():
            signal.signal(each, handler)
    assert (result.exit_code, result.stdout, result.stderr) == (status, "", said)
    assert undone == [moment]


def test_an_error_without_a_signal_stays_that_error(monkeypatch):
    def fail():
        raise AttributeError("of its own")

    point = SimpleNamespace(load=lambda: click.Command("squeeze", callback=fail))
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [point])
    result = CliRunner().invoke(main.cli, ["squeeze"])
    assert isinstance(result.exception, AttributeError)
    assert str(result.exception) == "of its own"


def test_version():
    assert CliRunner().invoke(main.cli, ["--version"]).stdout.split()[-1] == __version__


def test_the_installed_script_completes_commands_and_formats():
    done = _script(_TFX_PRUNING_COMPLETE="bash_complete", COMP_WORDS="tfx-pruning ins", COMP_CWORD="1")
    assert done.stdout == "plain,inspect\n"
    done = _script(_TFX_PRUNING_COMPLETE="bash_complete", COMP_WORDS="tfx-pruning run --runner ku", COMP_CWORD="3")
    assert done.stdout == "plain,kubeflow-local\n"
    words = "tfx-pruning strip --export tflite_sparse_f"
    done = _script(_TFX_PRUNING_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD="3")
    assert done.stdout == "plain,tflite_sparse_float16\n"


@pytest.mark.slow
def test_the_installed_script_fails_in_one_line_of_stderr(tmp_path):
    done = _script("inspect", str(tmp_path))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: There is no SavedModel at ")
    assert done.stderr.count("\n") == 1
