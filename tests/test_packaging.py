"""The wheel holds the whole package."""

import importlib.metadata
import pathlib
import shutil
import subprocess
import sys

import pytest

import tfx_pruning

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = {"components": "tfx_pruning", "pipelines": "tfx_pruning.pipelines", "examples": "tfx_pruning.templates"}
NOT_SOURCE = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info", "build", "dist")


def _packages() -> list[str]:
    """Every package, from the folders that have an `__init__.py`."""
    names = []
    for folder, package in FOLDERS.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            names.append(".".join([package, *init.parent.relative_to(ROOT / folder).parts]))
    return sorted(names)


def _modules() -> list[str]:
    """Every module, as its file in the wheel."""
    names = []
    for folder, package in FOLDERS.items():
        for file in (ROOT / folder).rglob("*.py"):
            names.append("/".join([*package.split("."), *file.relative_to(ROOT / folder).parts]))
    return sorted(names)


def _run(*command: str | pathlib.Path, cwd: pathlib.Path) -> str:
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with nothing but the wheel's content, the wheel built from a copy of the sources without caches."""
    work = tmp_path_factory.mktemp("packaging")
    source = work / "source"
    source.mkdir()
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, ignore=NOT_SOURCE)
    for file in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", work / "dist", cwd=source)
    (wheel,) = (work / "dist").glob("*.whl")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    _run(*pip, "--target", work / "site", wheel, cwd=work)
    return work / "site"


@pytest.mark.e2e
def test_wheel_holds_every_module_and_nothing_else(site: pathlib.Path) -> None:
    modules = sorted(str(file.relative_to(site)) for file in site.rglob("*.py"))
    assert modules == _modules()
    assert (site / "tfx_pruning" / "py.typed").is_file()
    templates = sorted((ROOT / "components" / "report" / "templates").iterdir())
    assert templates
    for file in templates:
        assert (site / "tfx_pruning" / "report" / "templates" / file.name).read_bytes() == file.read_bytes()
    data = sorted(path for path in (ROOT / "examples").glob("*/**/*") if path.suffix in (".yaml", ".csv", ".gz", ".md"))
    assert len(data) == 9
    for file in data:
        assert (
            site / "tfx_pruning" / "templates" / file.relative_to(ROOT / "examples")
        ).read_bytes() == file.read_bytes()


@pytest.mark.e2e
def test_wheel_metadata(site: pathlib.Path) -> None:
    (info,) = site.glob("*.dist-info")
    assert info.name == f"tfx_pruning-{tfx_pruning.__version__}.dist-info"
    metadata = (info / "METADATA").read_text(encoding="utf-8").splitlines()
    assert "Requires-Dist: tfx<1.22,>=1.21" in metadata
    assert "Requires-Python: <3.14,>=3.10" in metadata
    assert "License-Expression: Apache-2.0" in metadata
    assert "Apache License" in (info / "licenses" / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.e2e
def test_wheel_declares_every_command(site: pathlib.Path) -> None:
    (info,) = site.glob("*.dist-info")
    points = importlib.metadata.Distribution.at(info).entry_points.select(group="tfx_pruning.commands")
    modules = {point.name: point.module for point in points}
    files = [name.removesuffix(".py").replace("/", ".") for name in _modules() if name.endswith("_command.py")]
    assert sorted(modules.values()) == files
    assert {f"{name}_command" for name in modules} == {module.rpartition(".")[2] for module in files}


@pytest.mark.e2e
def test_every_package_imports_beside_a_project_of_the_same_folders(site: pathlib.Path, tmp_path: pathlib.Path) -> None:
    for folder in FOLDERS:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text("MINE = True\n", encoding="utf-8")
    # The editable install of the checkout hooks into sys.meta_path; without it, only the wheel can answer.
    program = f"""
import importlib, sys
for finder in list(sys.meta_path):
    if getattr(finder, "__module__", "").startswith("__editable__"):
        sys.meta_path.remove(finder)
sys.path[:0] = [{str(tmp_path)!r}, {str(site)!r}]
import components, pipelines
assert components.MINE and pipelines.MINE
for name in {_packages()!r}:
    print(name, importlib.import_module(name).__file__)
"""
    lines = _run(sys.executable, "-c", program, cwd=tmp_path).splitlines()
    imported = dict(line.split(" ", 1) for line in lines)
    assert sorted(imported) == _packages()
    assert {"tfx_pruning.engine", "tfx_pruning.pruning_trainer", "tfx_pruning.stripper"} <= set(imported)
    assert {"tfx_pruning.pipelines", "tfx_pruning.pipelines.modules"} <= set(imported)
    for name, file in imported.items():
        assert file == str(site.joinpath(*name.split("."), "__init__.py"))
