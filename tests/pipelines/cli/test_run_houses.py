"""Runs on a user's data over one root, end to end: what is pushed, and what each dense training starts from."""

import csv
import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from helpers import house_data
from helpers.shrunk_models import matrices, without_what_was_cut
from tfx_pruning import PruningHParams, properties
from tfx_pruning.metadata.artifacts import ArtifactRecord, list_artifacts
from tfx_pruning.metadata.connection import connection_config, open_store
from tfx_pruning.metadata.runs import list_runs
from tfx_pruning.metadata.store_reader import StoreReader

pytestmark = pytest.mark.e2e

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "run.md"
SCRIPT = pathlib.Path(sys.executable).with_name("tfx-pruning")


@dataclasses.dataclass(frozen=True)
class Houses:
    """A run on a user's data.

    Attributes:
        root: Its root.
        temporary: Where it put temporary files.
        printed: What it printed as JSON.
    """

    root: pathlib.Path
    temporary: pathlib.Path
    printed: dict[str, Any]

    @property
    def reader(self) -> StoreReader:
        """Reads ML Metadata."""
        return StoreReader(open_store(connection_config(str(self.root / "metadata.sqlite"))))

    def artifacts(self, kind: str) -> list[ArtifactRecord]:
        """What the first run over the root made."""
        first = list_runs(self.reader)[-1].id
        return [each for each in list_artifacts(self.reader, kind) if first in each.runs]


def _run(folder: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command with the settings in a folder; it succeeds."""
    command = [SCRIPT, "run", "--root", folder / "root", "--config", folder / "houses.yaml", "--json"]
    command += ["--train-steps", "120", *arguments]
    environment = os.environ | {"TMPDIR": str(folder / "temporary")}
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=900, check=False, cwd=folder, env=environment
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Houses:
    """A run with the settings of docs/run.md and fewer steps, in a folder whose files have the names of libraries."""
    folder = tmp_path_factory.mktemp("houses_run")
    (settings,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (folder / "houses.yaml").write_text(settings, encoding="utf-8")
    shutil.copy(house_data.MODULE_FILE, folder)
    with (folder / "houses.py").open("a", encoding="utf-8") as module:
        module.write("\nfrom beside_houses import NUMBERS  # noqa: E402\n")
    (folder / "beside_houses.py").write_text("NUMBERS = ('age', 'area', 'rooms')\n", encoding="utf-8")
    for library in ("proto", "random", "types"):
        (folder / f"{library}.py").write_text("raise ImportError('of the folder')\n", encoding="utf-8")
    house_data.write_csv(folder / "data")
    root, temporary = folder / "root", folder / "temporary"
    temporary.mkdir()
    result = _run(folder, "--hparams", "target_sparsity=0.75", "--pruning-steps", "150")
    assert result.stderr.splitlines()[0] == f"Running houses_pruning in {root}; details in {root / 'run.log'}"
    return Houses(root, temporary, json.loads(result.stdout))


@pytest.fixture(scope="module")
def later(houses: Houses) -> Houses:
    """Two more runs: the first with another sparsity, the second with one more row in the data; all are blessed."""
    folder = houses.root.parent
    flags = ["--pruning-steps", "60", "--max-metric-drop", "1e9", "--no-try-module"]
    _run(folder, *flags, "--hparams", "target_sparsity=0.5")
    with (folder / "data" / "a.csv").open("a", encoding="utf-8", newline="") as file:
        csv.writer(file).writerow(house_data.rows()[0])
    _run(folder, *flags, "--hparams", "target_sparsity=0.75")
    return houses


def test_own_data_end_with_a_pushed_model_of_exactly_that_sparsity(houses: Houses) -> None:
    pushed = houses.printed
    (model,) = [each for each in houses.artifacts("Model") if each.made_by.node == "PruningTrainer"]
    trained, shrunk = pathlib.Path(model.uri, "Format-Serving"), pathlib.Path(pushed["pushed_to"])
    kernels, cut = matrices(shrunk), without_what_was_cut(trained, shrunk)
    assert [key for key, kernel in kernels.items() if not np.array_equal(kernel, cut[key])] == []
    nonzero = {matrices(trained)[key].shape: np.count_nonzero(matrices(trained)[key]) for key in kernels}
    assert nonzero[3, 40] + nonzero[40, 40] == round((120 + 1600) * 0.25)
    assert nonzero[40, 1] == 40
    assert (pushed["prunable_parameters"], pushed["nonzero_parameters"]) == (1720, 430)
    assert pushed["sparsity"] == pytest.approx(0.75, abs=1e-6)
    assert pathlib.Path(pushed["pushed_to"]).parent == houses.root / "serving"
    assert (pushed["pipeline_name"], pushed["refusals"]) == ("houses_pruning", [])
    assert pushed["record"] == str(houses.root / "metadata.sqlite")


def test_pushed_model_has_the_metric_that_was_printed(houses: Houses) -> None:
    pushed = houses.printed
    (examples,) = [each for each in houses.artifacts("Examples") if each.made_by.node == "CsvExampleGen"]
    files = [str(file) for file in pathlib.Path(examples.uri, "Split-eval").glob("*")]
    records = list(tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator())
    prices = np.array(
        [tf.train.Example.FromString(each).features.feature["price"].float_list.value for each in records]
    )
    serve = tf.saved_model.load(pushed["pushed_to"]).signatures["serving_default"]
    answers = serve(examples=tf.constant(records))["price"].numpy()
    assert answers.shape == prices.shape
    assert list(pushed["pruned"]) == ["MeanSquaredError", "MeanAbsoluteError"]
    assert pushed["pruned"]["MeanSquaredError"] == pytest.approx(np.mean((answers - prices) ** 2), rel=1e-4)
    assert pushed["pruned"]["MeanAbsoluteError"] == pytest.approx(np.mean(np.abs(answers - prices)), rel=1e-4)
    assert pushed["pruned"]["MeanSquaredError"] <= pushed["dense"]["MeanSquaredError"] + 20


def test_metadata_tells_what_was_printed(houses: Houses) -> None:
    pushed = houses.printed
    models = {model.made_by.node: model.properties for model in houses.artifacts("Model")}
    stripped = models["Stripper"]
    for name in ("prunable_parameters", "nonzero_parameters", "trained_bytes", "stripped_bytes", "gzipped_bytes"):
        assert pushed[name] == stripped[getattr(properties, name.upper())]
    hparams = PruningHParams.parse(models["PruningTrainer"][properties.HPARAMS])
    assert hparams == PruningHParams.for_steps(150, target_sparsity=0.75, exclude=["head"])


def test_run_leaves_no_temporary_files(houses: Houses) -> None:
    assert list(houses.temporary.iterdir()) == []


def _trainings(root: pathlib.Path) -> list[pathlib.Path]:
    """The dense models, in the order of their trainings."""
    folders = root.glob("artifacts/Trainer/model/*")
    return [folder / "Format-Serving" for folder in sorted(folders, key=lambda folder: int(folder.name))]


def test_another_sparsity_trains_no_dense_model(later: Houses) -> None:
    first, second, third = reversed(list_runs(later.reader))
    states = [{each.node: each.state for each in run.executions} for run in (first, second, third)]
    assert [of_run["Trainer"] for of_run in states] == ["complete", "cached", "complete"]
    assert [of_run["PruningTrainer"] for of_run in states] == ["complete"] * 3
    assert len(_trainings(later.root)) == 2


def test_no_dense_model_has_zeros_of_a_pruned_one(later: Houses) -> None:
    pruned = [matrices(folder / "Format-Serving") for folder in later.root.glob("artifacts/PruningTrainer/model/*")]
    assert [any(np.any(kernel == 0) for kernel in model.values()) for model in pruned] == [True] * 3
    for model in _trainings(later.root):
        kernels = [value for key, value in matrices(model).items() if "optimizer" not in key]
        assert sorted(kernel.shape for kernel in kernels) == [(3, 40), (40, 1), (40, 40)]
        assert [np.count_nonzero(kernel == 0) for kernel in kernels] == [0, 0, 0]


def test_new_data_start_from_the_dense_model_that_was_blessed_against(later: Houses) -> None:
    reader = later.reader
    context = reader.store.get_context_by_type_and_name("node", "houses_pruning.Trainer")
    executions = sorted(reader.store.get_executions_by_context(context.id), key=lambda execution: execution.id)
    starts = []
    for execution in executions:
        events = reader.store.get_events_by_execution_ids([execution.id])
        ids = [event.artifact_id for event in events if event.path.steps[0].key == "base_model"]
        starts.append([artifact.uri for artifact in reader.store.get_artifacts_by_id(ids)])
    assert starts == [[], [], [str(_trainings(later.root)[0].parent)]]
