"""The engine's files import each other in one direction."""

import ast
import graphlib
import pathlib
from collections.abc import Iterator

ENGINE = pathlib.Path(__file__).parents[2] / "components" / "engine"


def imports(file: pathlib.Path) -> Iterator[str]:
    """The engine's modules that a file imports, those for type checkers too, by paths below the engine."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        folder = file.parents[node.level - 1]
        module = folder.joinpath(*(node.module or "").split("."))
        for candidate in (module, *(module / alias.name for alias in node.names)):
            if candidate.with_suffix(".py").is_file() and candidate.is_relative_to(ENGINE):
                yield str(candidate.relative_to(ENGINE))


def test_no_file_imports_one_that_imports_it() -> None:
    files = list(ENGINE.rglob("*.py"))
    graph = {str(file.relative_to(ENGINE).with_suffix("")): set(imports(file)) for file in files}
    assert "hparams_fields" in graph["hparams_checks"]
    assert {"pruning", "version"} <= {name.rpartition("/")[2] for name in graph["keras/training"]}
    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError
    assert order.index("choices") < order.index("hparams") < order.index("pruning") < order.index("keras/scope")
