"""What may import what."""

import ast
import functools
import importlib.util
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator, Mapping

import pytest

import tfx_pruning

ROOT = pathlib.Path(__file__).parents[1]
COMPONENTS = ROOT / "components"
PIPELINES = ROOT / "pipelines"
ENGINE_MODULES = sorted(
    "tfx_pruning." + ".".join(file.relative_to(COMPONENTS).with_suffix("").parts)
    for file in (COMPONENTS / "engine").rglob("[a-z]*.py")
)


_PACKAGE = "tfx_pruning"
_PUBLIC_NAMES = "public names"  # components/__init__.py
_PIPELINES = "pipelines"
_STRIPPER = "stripper"

# Which rooms a room may import besides itself. A room is a folder of components/, a folder of components/stripper/, or
# a file at the top of one of the two: those of the stripper's are the room 'stripper'.
_MAY_IMPORT: Mapping[str, tuple[str, ...]] = {
    "version": (),
    "properties": (),
    "record_files": (),
    "quick_import": (),
    "places": (),
    "leftovers": ("places",),
    "staging": ("leftovers", "places"),
    "suggestion": (),
    "registry": ("suggestion",),
    "typed_value": (),
    "call_times": (),
    "budget": ("call_times", "typed_value"),
    "sweep": ("budget", "typed_value"),
    "saved_model": ("places",),
    "structure": (),
    "engine": ("registry", "saved_model", "structure", "suggestion", "typed_value"),
    "metadata": ("properties",),
    "report": ("budget", "call_times", "engine", "saved_model", "staging", "sweep", "typed_value"),
    "pruning_report": ("engine", "properties", "report"),
    "executor_artifacts": ("budget", "properties"),
    "examples": (),
    "stripper.masks": ("engine", "saved_model"),
    "stripper.check": ("saved_model",),
    "stripper.tf2": ("stripper.check", "stripper.masks", "saved_model", "staging"),
    "stripper.tf1": ("stripper.check", "stripper.masks", "saved_model", "staging"),
    "stripper.proof": ("stripper.check", "stripper.tf1", "examples", "leftovers", "saved_model"),
    "stripper.shrink": ("stripper.check", "leftovers", "places", "saved_model", "staging", "structure"),
    "stripper.export": (
        *("stripper.check", "stripper.masks", "examples", "places", "registry", "saved_model", "staging", "structure"),
    ),
    "stripper": (
        *("stripper.check", "stripper.tf1", "stripper.tf2", "stripper.shrink", "stripper.proof", "stripper.export"),
        *("engine", "examples", "executor_artifacts", "places", "properties", "pruning_report", "report"),
        *("saved_model", "staging", "structure"),
    ),
    "post_training_pruner": (
        *("engine", "examples", "executor_artifacts", "places", "properties", "pruning_report", "report"),
        *("saved_model", "staging", "structure", "typed_value"),
    ),
    "pruning_trainer": (
        *("engine", "executor_artifacts", "leftovers", "places", "properties", "pruning_report", "report"),
        *("saved_model", "typed_value"),
    ),
    "budget_fit": (
        *("budget", "call_times", "engine", "post_training_pruner", "properties", "saved_model", "staging"),
        *("structure", "stripper", "stripper.export", "stripper.shrink"),
    ),
    "budget_search": ("budget", "budget_fit", "engine", "examples", "typed_value"),
    "budget_check": (*("budget_fit", "examples", "executor_artifacts", "properties", "pruning_report", "report"),),
    "sparsity_selector": (
        *("budget", "executor_artifacts", "properties", "pruning_report", "report", "staging", "sweep"),
        "typed_value",
    ),
    "cli": (
        *("post_training_pruner", "stripper", "stripper.export", "stripper.masks", "stripper.tf1"),
        *(
            "engine",
            "metadata",
            "places",
            "properties",
            "quick_import",
            "record_files",
            "report",
            "saved_model",
            "staging",
            "structure",
        ),
        "version",
    ),
}

# The same of pipelines/; files at its top are the room 'pipelines'. All of them may import any room of components/.
_PIPELINES_MAY_IMPORT: Mapping[str, tuple[str, ...]] = {
    "pipelines": (),
    "pipelines.modules": (),
    "pipelines.run": ("pipelines",),
    "pipelines.sweep": ("pipelines", "pipelines.run"),
    "pipelines.trial": ("pipelines",),
    "pipelines.kubeflow": ("pipelines", "pipelines.run"),
    "pipelines.cli": ("pipelines", "pipelines.run", "pipelines.sweep", "pipelines.trial", "pipelines.kubeflow"),
}


@functools.cache
def _modules() -> Mapping[str, pathlib.Path]:
    """The files of components/ and pipelines/ by the names under which they are imported."""
    found = {}
    for folder, package in ((COMPONENTS, _PACKAGE), (PIPELINES, f"{_PACKAGE}.{_PIPELINES}")):
        for file in folder.rglob("*.py"):
            name = ".".join([package, *file.relative_to(folder).with_suffix("").parts])
            found[name.removesuffix(".__init__")] = file
    return found


def _room(module: str) -> str:
    is_package = _modules()[module].name == "__init__.py"
    parts = module.split(".")[1:]
    if not parts:
        return _PUBLIC_NAMES
    if parts[0] in (_STRIPPER, _PIPELINES):
        folders = parts if is_package else parts[:-1]
        return ".".join(folders[:2])
    return parts[0]


@functools.cache
def _internal_imports() -> list[tuple[str, str]]:
    """Each module of the package with each other that it imports, for type checking alone too."""
    found: dict[tuple[str, str], None] = {}
    for module, file in _modules().items():
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        for name in _imports(file):
            imported = importlib.util.resolve_name(name, package)
            while imported and imported not in _modules():
                imported = imported.rpartition(".")[0]
            if imported not in ("", module):
                found[module, imported] = None
    return list(found)


def _cycles(imports: Mapping[str, set[str]]) -> list[list[str]]:
    """The groups of names that lead to each other, each sorted."""
    reached: dict[str, set[str]] = {}
    for name in imports:
        queue, reached[name] = [name], set()
        while queue:
            for other in imports.get(queue.pop(), ()):
                if other not in reached[name]:
                    reached[name].add(other)
                    queue.append(other)
    groups = {
        tuple(sorted(other for other in reached[name] if name in reached.get(other, ())))
        for name in imports
        if name in reached[name]
    }
    return [list(group) for group in sorted(groups)]


def _imports(file: pathlib.Path) -> Iterator[str]:
    """The names that a file imports, with their modules; relative ones with their dots: '..engine.naming.MASK'."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (f"{node.module}." if node.module else "")
            yield from (module + alias.name for alias in node.names)


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
    of_tfx = {
        *("BudgetCheck", "BudgetSearch"),
        "PostTrainingPruner",
        "PruningReport",
        "PruningTrainer",
        "SparsitySelector",
        "Stripper",
        "__version__",
    }
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


@pytest.mark.parametrize("room", sorted(_MAY_IMPORT))
def test_rooms_import_what_lies_below(room: str) -> None:
    wrong = [
        f"{importer} imports {imported}"
        for importer, imported in _internal_imports()
        if _room(importer) == room and _room(imported) not in {room, *_MAY_IMPORT[room]}
    ]
    assert wrong == []


def test_the_table_allows_no_import_that_nobody_makes() -> None:
    made = {(_room(importer), _room(imported)) for importer, imported in _internal_imports()}
    unused = [
        f"{room} may import {below}"
        for table in (_MAY_IMPORT, _PIPELINES_MAY_IMPORT)
        for room, allowed in table.items()
        for below in allowed
        if (room, below) not in made
    ]
    assert unused == []


def test_every_room_stands_in_the_table() -> None:
    rooms = {_room(module) for module in _modules()}
    assert rooms == {*_MAY_IMPORT, *_PIPELINES_MAY_IMPORT, _PUBLIC_NAMES}


def test_the_table_of_rooms_has_no_way_back() -> None:
    for table in (_MAY_IMPORT, _PIPELINES_MAY_IMPORT):
        assert _cycles({room: set(below) for room, below in table.items()}) == []


def test_components_do_not_import_pipelines() -> None:
    upward = [
        (importer, imported)
        for importer, imported in _internal_imports()
        if _room(imported) in _PIPELINES_MAY_IMPORT and _room(importer) not in _PIPELINES_MAY_IMPORT
    ]
    assert upward == []


@pytest.mark.parametrize("room", sorted(_PIPELINES_MAY_IMPORT))
def test_rooms_of_pipelines_import_what_lies_below(room: str) -> None:
    wrong = [
        f"{importer} imports {imported}"
        for importer, imported in _internal_imports()
        if _room(importer) == room
        and _room(imported) in _PIPELINES_MAY_IMPORT
        and _room(imported) not in {room, *_PIPELINES_MAY_IMPORT[room]}
    ]
    assert wrong == []


def test_no_files_import_each_other_in_a_circle() -> None:
    imports: dict[str, set[str]] = {module: set() for module in _modules()}
    for importer, imported in _internal_imports():
        imports[importer].add(imported)
    assert _cycles(imports) == []


def test_kfp_is_imported_in_kubeflow_runner_alone() -> None:
    imports = _all_imports(COMPONENTS) + _all_imports(PIPELINES)
    assert {file for file, name in imports if name.split(".")[0] == "kfp"} == {"pipelines/kubeflow/runner.py"}


def test_kubeflow_launcher_loads_neither_kfp_nor_tfx() -> None:
    loaded = _loaded_after("import tfx_pruning.pipelines.kubeflow.launcher")
    assert "yaml" in loaded
    assert loaded.isdisjoint({"kfp", "keras", "tensorflow", "tfx"})


def test_executor_class_paths_start_with_the_package() -> None:
    for component in (
        *(tfx_pruning.BudgetCheck, tfx_pruning.BudgetSearch, tfx_pruning.PostTrainingPruner),
        *(tfx_pruning.PruningTrainer, tfx_pruning.SparsitySelector),
        tfx_pruning.Stripper,
    ):
        assert component.EXECUTOR_SPEC.class_path.startswith("tfx_pruning.")
