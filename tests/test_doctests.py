"""The examples in docstrings."""

import doctest
import importlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = {"tfx_pruning": ROOT / "components", "tfx_pruning.pipelines": ROOT / "pipelines"}


def _modules_with_examples() -> list[str]:
    """Names of the modules whose files hold a prompt; nothing is imported."""
    return sorted(
        ".".join([package, *file.relative_to(folder).with_suffix("").parts]).removesuffix(".__init__")
        for package, folder in PACKAGES.items()
        for file in folder.rglob("*.py")
        if ">>> " in file.read_text(encoding="utf-8")
    )


MODULES = _modules_with_examples()


def test_modules_with_examples_are_found() -> None:
    assert "tfx_pruning.suggestion" in MODULES


# By its name, for pytest's own collector would import a second copy of every module from the folder.
@pytest.mark.parametrize("module", MODULES)
def test_examples_of_docstrings_hold(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted
    assert not result.failed
