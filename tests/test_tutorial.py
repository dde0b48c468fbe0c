"""docs/tutorial.ipynb runs, and the outputs that it is kept with are those of its code."""

import pathlib
import re
import sys

import nbclient
import nbformat
import pytest

NOTEBOOK = pathlib.Path(__file__).parents[1] / "docs" / "tutorial.ipynb"


def _printed(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.text for output in outputs if output.output_type == "stream")


def _figures(notebook: nbformat.NotebookNode) -> dict[str, tuple[float, float]]:
    """The dense and the pruned model's, by name."""
    rows = re.findall(r"^(\S.*?) {2,}([\d.,]+) +([\d.,]+)$", _printed(notebook), re.MULTILINE)
    return {name: (float(dense.replace(",", "")), float(pruned.replace(",", ""))) for name, dense, pruned in rows}


def _check(notebook: nbformat.NotebookNode) -> None:
    figures = _figures(notebook)
    dense, pruned = figures["accuracy"]
    assert dense > 0.95
    assert pruned > dense - 0.03
    dense, pruned = figures["multiply-adds an image"]
    assert dense == 9 * 64 * 32 + 9 * 64 * 32 * 64 + 9 * 16 * 64 * 128 + 128 * 10
    assert pruned <= 0.25 * dense
    assert figures["parameters"][0] == 94_634


def test_the_outputs_that_are_kept_are_whole() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    _check(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert {output.output_type for output in outputs} == {"stream", "display_data"}
    assert {output.name for output in outputs if output.output_type == "stream"} == {"stdout"}
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3


@pytest.mark.e2e
def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(pathlib.Path(sys.executable).parent), prepend=":")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    _check(notebook)
