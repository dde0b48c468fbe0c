"""Which rooms of the pipelines may import which."""

import pathlib
import re

import pytest

PIPELINES = pathlib.Path(__file__).parents[2] / "pipelines"
IMPORT = re.compile(r"^\s*from (tfx_pruning\.pipelines\.[\w.]+) import ", re.MULTILINE)


def _imported(room: str) -> set[str]:
    """Modules of the pipelines that a room imports, below `tfx_pruning.pipelines`."""
    files = list((PIPELINES / room).rglob("*.py"))
    found = {name for file in files for name in IMPORT.findall(file.read_text(encoding="utf-8"))}
    assert found
    return {name.removeprefix("tfx_pruning.pipelines.") for name in found}


@pytest.mark.parametrize(
    ("room", "others"),
    [("run", {"sweep", "kubeflow", "cli"}), ("sweep", {"kubeflow", "cli"}), ("kubeflow", {"sweep", "cli"})],
)
def test_rooms_import_downwards(room: str, others: set[str]) -> None:
    assert {name for name in _imported(room) if name.split(".")[0] in others} == set()


def test_kubeflow_shares_with_run_what_a_run_writes_and_shows() -> None:
    of_run = {name for name in _imported("kubeflow") if name.startswith("run.")}
    assert of_run == {"run.folder", "run.outcome", "run.outputs", "run.progress"}
