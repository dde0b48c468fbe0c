"""Runs over one root, end to end: what each dense training starts from, and when there is none."""

import csv
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from helpers import house_data
from helpers.shrunk_models import matrices
from tfx_pruning.metadata.connection import connection_config, open_store
from tfx_pruning.metadata.runs import list_runs
from tfx_pruning.metadata.store_reader import StoreReader

pytestmark = pytest.mark.e2e

SCRIPT = pathlib.Path(sys.executable).with_name("tfx-pruning")
# Every model is blessed.
FLAGS = [
    *["--module-file", str(house_data.MODULE_FILE), "--label-key", "price", "--preprocessing-signature", ""],
    *["--metric", "MeanSquaredError", "--metric-direction", "lower", "--max-metric-drop", "1e9"],
    *["--train-steps", "40", "--pruning-steps", "60", "--json"],
]


def _run(root: pathlib.Path, data: pathlib.Path, sparsity: float) -> str:
    """Runs the command; returns the folder that it pushed to."""
    command = [SCRIPT, "run", "--root", root, "--data-root", data, *FLAGS, "--hparams", f"target_sparsity={sparsity}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads(result.stdout)["pushed_to"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Three runs: the second with another sparsity, the third with one more row in the data."""
    folder = tmp_path_factory.mktemp("baseline")
    data = house_data.write_csv(folder / "data")
    _run(folder / "root", data, 0.75)
    _run(folder / "root", data, 0.5)
    with (data / "a.csv").open("a", encoding="utf-8", newline="") as file:
        csv.writer(file).writerow(house_data.rows()[0])
    _run(folder / "root", data, 0.75)
    return folder / "root"


@pytest.fixture(scope="module")
def reader(root: pathlib.Path) -> StoreReader:
    return StoreReader(open_store(connection_config(str(root / "metadata.sqlite"))))


def _trainings(root: pathlib.Path) -> list[pathlib.Path]:
    """The dense models, in the order of their trainings."""
    folders = root.glob("artifacts/Trainer/model/*")
    return [folder / "Format-Serving" for folder in sorted(folders, key=lambda folder: int(folder.name))]


def test_another_sparsity_trains_no_dense_model(root: pathlib.Path, reader: StoreReader) -> None:
    first, second, third = reversed(list_runs(reader))
    states = [{each.node: each.state for each in run.executions} for run in (first, second, third)]
    assert [of_run["Trainer"] for of_run in states] == ["complete", "cached", "complete"]
    assert [of_run["PruningTrainer"] for of_run in states] == ["complete"] * 3
    assert len(_trainings(root)) == 2


def test_no_dense_model_has_zeros_of_a_pruned_one(root: pathlib.Path) -> None:
    pruned = [matrices(folder / "Format-Serving") for folder in root.glob("artifacts/PruningTrainer/model/*")]
    assert [any(np.any(kernel == 0) for kernel in model.values()) for model in pruned] == [True] * 3
    for model in _trainings(root):
        kernels = [value for key, value in matrices(model).items() if "optimizer" not in key]
        assert sorted(kernel.shape for kernel in kernels) == [(3, 40), (40, 1), (40, 40)]
        assert [np.count_nonzero(kernel == 0) for kernel in kernels] == [0, 0, 0]


def test_new_data_start_from_the_dense_model_that_was_blessed_against(root: pathlib.Path, reader: StoreReader) -> None:
    context = reader.store.get_context_by_type_and_name("node", "houses_pruning.Trainer")
    executions = sorted(reader.store.get_executions_by_context(context.id), key=lambda execution: execution.id)
    starts = []
    for execution in executions:
        events = reader.store.get_events_by_execution_ids([execution.id])
        ids = [event.artifact_id for event in events if event.path.steps[0].key == "base_model"]
        starts.append([artifact.uri for artifact in reader.store.get_artifacts_by_id(ids)])
    assert starts == [[], [], [str(_trainings(root)[0].parent)]]
