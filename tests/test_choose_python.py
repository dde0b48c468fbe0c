"""Which Python and which lock `make venv` takes, on machines that stand-ins on PATH make up."""

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[1]
TOOLS = ("awk", "bash", "cut", "dirname", "env", "grep", "head", "sort")


class Machine:
    """A copy of the script, and a PATH with nothing but its tools and what is added."""

    def __init__(self, folder: pathlib.Path, glibc: str) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        for part in ("scripts/choose_python.sh", "requirements/locks.txt"):
            (folder / part).parent.mkdir(parents=True)
            shutil.copy(ROOT / part, folder / part)
        self.bin.mkdir()
        for tool in TOOLS:
            os.symlink(shutil.which(tool), self.bin / tool)
        self.program("uname", "echo Linux x86_64")
        self.program("getconf", f"echo glibc {glibc}" if glibc else "exit 1")

    def program(self, name: str, script: str) -> str:
        file = self.folder / name if "/" in name else self.bin / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/bash\n{script}\n", encoding="utf-8")
        file.chmod(0o755)
        return str(file)

    def python(self, name: str, version: str, *, venv: bool = True) -> str:
        """Adds an interpreter, which answers only what the script asks; its base has the same name in /base."""
        answers = (
            f"*version_info*) echo {version};; *ensurepip*) {'true' if venv else 'false'};; *base*) echo /base/{name};;"
        )
        return self.program(name, f'case "$2" in {answers} *) exit 1;; esac')

    def choose(self, python: str = "") -> subprocess.CompletedProcess:
        command = [str(self.folder / "scripts" / "choose_python.sh")]
        environment = {"PATH": str(self.bin)} | ({"PYTHON": python} if python else {})
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    def chosen(self, python: str = "") -> list[str]:
        result = self.choose(python)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout.splitlines()

    def refusal(self, python: str = "") -> str:
        """The one line."""
        result = self.choose(python)
        assert (result.returncode, result.stdout) == (1, "")
        (line,) = result.stderr.splitlines()
        return line


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    """One with glibc 2.41."""
    return Machine(tmp_path, "2.41")


@pytest.fixture
def old(tmp_path: pathlib.Path) -> Machine:
    """One with glibc 2.36."""
    return Machine(tmp_path, "2.36")


def test_the_first_of_the_table_is_taken(machine):
    for version in ("3.13", "3.10", "3.12", "3.11"):
        name = f"python{version}"
        machine.python(name, version)
        assert machine.chosen() == [f"/base/{name}", f"requirements/{name}.lock"]


def test_python3_is_taken_where_nothing_else_is(machine):
    machine.python("python3", "3.13")
    assert machine.chosen() == ["/base/python3", "requirements/python3.13.lock"]


def test_a_python_without_wheels_for_the_glibc_is_passed_over(old):
    old.python("python3.12", "3.12")
    old.python("python3.10", "3.10")
    assert old.chosen() == ["/base/python3.10", "requirements/python3.10.lock"]


def test_a_python_without_venv_is_passed_over(machine):
    machine.python("python3.11", "3.11", venv=False)
    machine.python("python3.12", "3.12")
    assert machine.chosen()[1] == "requirements/python3.12.lock"


def test_a_python_that_does_not_run_is_passed_over(machine):
    machine.program("python3.11", "exit 127")
    machine.python("python3.13", "3.13")
    assert machine.chosen()[1] == "requirements/python3.13.lock"


def test_the_python_of_the_venv_is_kept(machine):
    machine.python("python3.11", "3.11")
    machine.python(".venv/bin/python", "3.13")
    assert machine.chosen() == ["/base/.venv/bin/python", "requirements/python3.13.lock"]
    assert machine.chosen("python3.11") == ["/base/python3.11", "requirements/python3.11.lock"]


def test_a_venv_whose_python_is_gone_is_not_kept(machine):
    machine.python("python3.11", "3.11")
    machine.program(".venv/bin/python", "exit 127")
    assert machine.chosen()[1] == "requirements/python3.11.lock"


def test_a_python_that_is_named_is_taken(machine):
    machine.python("python3.11", "3.11")
    path = machine.python("elsewhere/python", "3.12")
    assert machine.chosen(path) == ["/base/elsewhere/python", "requirements/python3.12.lock"]


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("3.14", "error: other is Python 3.14, which there is no lock for"),
        ("3.13", "error: other is Python 3.13, whose wheels need glibc 2.39 or newer, and this machine has 2.36"),
    ],
)
def test_a_python_that_is_named_and_does_not_fit_is_refused(old, version, message):
    old.python("other", version)
    old.python("python3.11", "3.11")
    assert old.refusal("other") == f"{message}. Name another, one of Python 3.11, 3.10: make PYTHON=python3.11"


def test_a_python_that_is_named_and_not_there_is_refused(machine):
    message = "error: python3.9 is not installed: install it, or name another: make PYTHON=python3.11"
    assert machine.refusal("python3.9") == message


def test_what_is_missing_is_said_in_one_line(old):
    end = ": install one of Python 3.11, 3.10 with venv, or uv, which brings one"
    assert old.refusal() == f"error: no Python here fits{end}"
    old.python("python3", "3.14")
    old.python("python3.10", "3.10", venv=False)
    reasons = (
        "(python3.10 has no venv or pip: install python3.10-venv) (python3 is Python 3.14, which there is no lock for)"
    )
    assert old.refusal() == f"error: no Python here fits {reasons}{end}"


@pytest.mark.parametrize(
    ("glibc", "message"),
    [
        ("2.27", "error: the wheels need a newer glibc than 2.27, which this machine has: see requirements/locks.txt"),
        ("", "error: the wheels need glibc, which this system is not made with"),
    ],
)
def test_a_glibc_that_no_wheel_is_for_is_refused(tmp_path, glibc, message):
    machine = Machine(tmp_path, glibc)
    machine.python("python3.11", "3.11")
    assert machine.refusal() == message


def test_another_system_is_refused(machine):
    machine.python("python3.11", "3.11")
    machine.program("uname", "echo Darwin arm64")
    assert machine.refusal() == "error: the locks are for Linux on x86_64, and this is Darwin arm64"


def test_the_python_of_uv_is_taken_where_no_other_fits(old):
    """It is installed where it is not there yet, and no other than uv's own is asked for."""
    old.python("python3", "3.14")
    base = old.python("uv_python", "3.11")
    old.program("touch", f'exec {shutil.which("touch")} "$@"')
    old.program(
        "uv",
        f"""
        [ "$UV_PYTHON_PREFERENCE $1 $3" = "only-managed python 3.11" ] || exit 9
        case $2 in
            install) touch {old.folder}/there;;
            find) [ -e {old.folder}/there ] && echo {base};;
        esac""",
    )
    assert old.chosen() == ["/base/uv_python", "requirements/python3.11.lock"]


def test_a_uv_that_gets_no_python_is_said(machine):
    machine.python("python3", "3.14")
    machine.program("uv", "exit 1")
    reason = "(python3 is Python 3.14, which there is no lock for)"
    assert machine.refusal() == f"error: no Python here fits {reason}, and uv could not install its Python 3.11"
