"""The locks hold what pyproject.toml asks for, for each Python that it names."""

import importlib.metadata
import pathlib
import re

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).parents[1]
FOLDER = ROOT / "requirements"
# What pyproject.toml said when the project was installed; make installs it anew whenever that changes.
PROJECT = importlib.metadata.metadata("tfx-pruning")
TABLE = [line.split() for line in (FOLDER / "locks.txt").read_text(encoding="utf-8").splitlines() if line[0] != "#"]
PYTHONS = [version for version, _, _ in TABLE]


def _pins(python: str) -> dict[str, str]:
    """Version by canonical name of a package."""
    lock = (FOLDER / f"python{python}.lock").read_text(encoding="utf-8")
    return {
        canonicalize_name(name): version for name, version in re.findall(r"^([^ #]+)==([^ ;]+)", lock, re.MULTILINE)
    }


def _unmet(requirements: list[str], python: str, extra: str = "") -> dict[str, str]:
    """What of `requirements` the lock of `python` lacks or has at another version, by the package's name."""
    pins, environment = _pins(python), {"python_version": python, "python_full_version": f"{python}.0", "extra": extra}
    unmet = {}
    for requirement in map(Requirement, requirements):
        if requirement.marker and not requirement.marker.evaluate(environment):
            continue
        version = pins.get(canonicalize_name(requirement.name))
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            unmet[canonicalize_name(requirement.name)] = f"{requirement}: {version}"
    return unmet


def _overrides(file: str) -> list[str]:
    return [line for line in (FOLDER / file).read_text(encoding="utf-8").splitlines() if line[0] != "#"]


def test_every_python_of_the_project_has_a_lock():
    allowed = SpecifierSet(PROJECT["Requires-Python"])
    expected = {f"3.{minor}" for minor in range(30) if allowed.contains(f"3.{minor}.5")}
    assert set(PYTHONS) == expected
    assert {file.name for file in FOLDER.glob("*.lock")} == {f"python{version}.lock" for version in expected}
    prefix = "Programming Language :: Python :: 3."
    assert {
        f"3.{line.removeprefix(prefix)}" for line in PROJECT.get_all("Classifier") if line.startswith(prefix)
    } == expected


@pytest.mark.parametrize("python", PYTHONS)
def test_a_lock_has_every_dependency_at_an_allowed_version(python):
    assert set(PROJECT.get_all("Provides-Extra")) == {"kubeflow", "test", "dev", "benchmark", "docs"}
    for extra in ["", *PROJECT.get_all("Provides-Extra")]:
        assert _unmet(PROJECT.get_all("Requires-Dist"), python, extra) == {}


@pytest.mark.parametrize(("python", "overrides"), [(python, overrides) for python, _, overrides in TABLE])
def test_only_overrides_deviate_from_the_pins_of_tfx(python, overrides):
    assert _unmet(_overrides(overrides), python) == {}
    overridden = {canonicalize_name(Requirement(line).name) for line in _overrides(overrides)}
    assert set(_unmet(importlib.metadata.requires("tfx"), python)) <= overridden


def test_from_glibc_2_39_on_the_pins_of_tfx_hold():
    newer = [python for python, glibc, _ in TABLE if glibc == "2.39"]
    assert newer
    for python in newer:
        assert _unmet(importlib.metadata.requires("tfx"), python) == {}


@pytest.mark.parametrize(
    "package", ["tfx", "tfx-bsl", "tensorflow", "tf-keras", "tensorflow-transform", "kfp", "ruff", "uv"]
)
def test_locks_have_one_version_of_what_tests_rest_on(package):
    assert len({_pins(python)[package] for python in PYTHONS}) == 1


def test_keras_is_one_version_where_python_allows_it():
    """Keras 3.13 and newer need Python 3.11."""
    assert len({_pins(python)["keras"] for python in PYTHONS if python != "3.10"}) == 1
    assert _pins("3.10")["keras"].startswith("3.12.")


@pytest.mark.parametrize("python", PYTHONS)
def test_every_pin_has_hashes(python):
    lock = (FOLDER / f"python{python}.lock").read_text(encoding="utf-8")
    entries = [entry for entry in re.split(r"^(?=\S)", lock, flags=re.MULTILINE) if entry]
    assert len(entries) > 200
    assert [
        entry for entry in entries if not re.fullmatch(r"\S+==\S+( \\\n    --hash=sha256:[0-9a-f]{64})+\n", entry)
    ] == []
