"""What may import what."""

import ast
import itertools
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

import tfx_pruning

ROOT = pathlib.Path(__file__).parents[1]
COMPONENTS = ROOT / "components"
PIPELINES = ROOT / "pipelines"
ENGINE_MODULES = sorted(
    "tfx_pruning." + ".".join(file.relative_to(COMPONENTS).with_suffix("").parts)
    for file in (COMPONENTS / "engine").rglob("[a-z]*.py")
)


def _imports(file: pathlib.Path) -> Iterator[str]:
    """Absolute names of the modules that a file imports; relative ones with their dots: '..engine.naming'."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield module
            yield from (f"{module}.{alias.name}" if node.module else module + alias.name for alias in node.names)


def _all_imports(folder: pathlib.Path) -> list[tuple[str, str]]:
    files = [file for file in folder.rglob("*.py") if ".venv" not in file.parts]
    assert files, f"no Python files in {folder}"
    return [(str(file.relative_to(ROOT)), name) for file in files for name in _imports(file)]


def _loaded_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after running `code`."""
    program = f"{code}\nimport json, sys\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    return set(json.loads(result.stdout.splitlines()[-1]))


def test_import_package_loads_neither_tensorflow_nor_tfx() -> None:
    assert _loaded_after("import tfx_pruning").isdisjoint({"keras", "tensorflow", "tfx"})


def test_engine_and_its_public_names_load_no_tfx() -> None:
    assert "tfx_pruning.engine.hparams" in ENGINE_MODULES
    of_tfx = {"PruningReport", "PruningTrainer", "SparsitySelector", "Stripper", "__version__"}
    names = sorted(set(tfx_pruning.__all__) - of_tfx)
    loaded = _loaded_after(
        f"import tfx_pruning, {', '.join(ENGINE_MODULES)}\n"
        f"for name in {names}: assert callable(getattr(tfx_pruning, name))"
    )
    assert "tensorflow" in loaded
    assert loaded.isdisjoint({"tfx", "tfx_bsl", "apache_beam", "ml_metadata"})


def test_metadata_imports_neither_tfx_nor_tensorflow() -> None:
    modules = sorted(f"tfx_pruning.metadata.{file.stem}" for file in (COMPONENTS / "metadata").glob("[a-z]*.py"))
    assert "tfx_pruning.metadata.lineage" in modules
    assert _loaded_after(f"import {', '.join(modules)}").isdisjoint({"keras", "tensorflow", "tfx", "apache_beam"})


def test_components_import_each_other_relatively() -> None:
    absolute = [pair for pair in _all_imports(COMPONENTS) if pair[1].split(".")[0] in {"tfx_pruning", "components"}]
    assert absolute == []


def test_pipelines_import_by_name() -> None:
    relative = [pair for pair in _all_imports(PIPELINES) if pair[1].startswith(".")]
    assert relative == []


def test_engine_imports_stay_below() -> None:
    """Relative imports of the engine lead to itself, to the SavedModel library or to what knows nothing of pruning."""
    for file in (COMPONENTS / "engine").rglob("*.py"):
        depth = len(file.relative_to(COMPONENTS).parts) - 1
        upward = [name for name in _imports(file) if name.startswith("." * (depth + 1))]
        below = tuple("." * (depth + 1) + name for name in ("saved_model", "suggestion", "typed_value"))
        assert [name for name in upward if not name.startswith(below)] == [], file


@pytest.mark.parametrize(
    ("folder", "other"), list(itertools.permutations(["pruning_trainer", "sparsity_selector", "stripper"], 2))
)
def test_components_do_not_import_each_other(folder: str, other: str) -> None:
    assert [pair for pair in _all_imports(COMPONENTS / folder) if other in pair[1].split(".")] == []


def test_components_do_not_import_pipelines() -> None:
    assert [pair for pair in _all_imports(COMPONENTS) if "pipelines" in pair[1].split(".")] == []


def test_kfp_is_imported_in_kubeflow_runner_alone() -> None:
    imports = _all_imports(COMPONENTS) + _all_imports(PIPELINES)
    assert {file for file, name in imports if name.split(".")[0] == "kfp"} == {"pipelines/kubeflow/runner.py"}


def test_kubeflow_launcher_loads_neither_kfp_nor_tfx() -> None:
    loaded = _loaded_after("import tfx_pruning.pipelines.kubeflow.launcher")
    assert "yaml" in loaded
    assert loaded.isdisjoint({"kfp", "keras", "tensorflow", "tfx"})


def test_executor_class_paths_start_with_the_package() -> None:
    for component in (tfx_pruning.PruningTrainer, tfx_pruning.SparsitySelector, tfx_pruning.Stripper):
        assert component.EXECUTOR_SPEC.class_path.startswith("tfx_pruning.")
