"""`tfx-pruning run --runner=kubeflow-local`: the whole compiled pipeline, task by task, end to end."""

import dataclasses
import json
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from helpers.page_text import PageText
from helpers.pipeline_nodes import NODES
from helpers.shrunk_models import matrices, without_what_was_cut
from helpers.taxi_trips import write_few_trips
from tfx_pruning import PruningHParams, properties

ROWS = 1500
TARGET_SPARSITY = 0.75
DISTILL_WEIGHT = 0.25
PRUNING = {
    "prune_option": "second_order_gradient",
    "target_sparsity": TARGET_SPARSITY,
    "granularity": "channel",
    "cost": "flops",
    "distill_weight": DISTILL_WEIGHT,
}


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of the taxi pipeline, and what the command printed."""

    root: pathlib.Path
    printed: dict[str, Any]
    progress: str
    record: dict[str, Any]

    @property
    def tasks(self) -> dict[str, Any]:
        """What became of every task."""
        return self.record["tasks"]

    def output(self, task: str, key: str) -> dict[str, Any]:
        """An artifact that a task made."""
        (artifact,) = self.tasks[task]["artifacts"][key]
        return artifact

    def given(self, task: str) -> dict[str, Any]:
        """The ExecutorInput of a task."""
        path = pathlib.Path(self.printed["record"]).parent / task / "executor_input.json"
        return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of few steps on few trips, told by a file and by flags."""
    folder = tmp_path_factory.mktemp("taxi")
    write_few_trips(folder / "data", ROWS)
    settings = {
        "data_root": "data",
        "eval_steps": 2,
        "train_steps": 9999,
        "shrink": True,
        "try_module": False,  # tests/pipelines/trial and test_run_houses.py try modules
        "pruning": {"target_sparsity": 0.1},
    }
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    command = [pathlib.Path(sys.executable).with_name("tfx-pruning"), "run", "--json", "--runner", "kubeflow-local"]
    command += ["--root", folder / "root", "--config", folder / "settings.json", "--min-metric", "0.5"]
    command += ["--max-metric-drop", "0.5", "--train-steps", "40", "--pruning-steps", "60"]
    command += ["--hparams", ",".join(f"{name}={value}" for name, value in PRUNING.items())]
    result = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    printed = json.loads(result.stdout)
    record = json.loads(pathlib.Path(printed["record"]).read_text(encoding="utf-8"))
    return Run(folder / "root", printed, result.stderr, record)


@pytest.fixture(scope="module")
def hparams() -> PruningHParams:
    return PruningHParams.for_steps(60, **PRUNING)


@pytest.mark.e2e
def test_progress_is_on_stderr_and_the_result_on_stdout(run: Run) -> None:
    first, *lines = run.progress.splitlines()
    assert first == f"Running chicago_taxi_pruning in {run.root}; details in {run.root / 'run.log'}"
    # A task that takes long has further lines, such as 'Trainer: 10 s so far'.
    ended = [line.split()[0] for line in lines if not line.startswith("    ")]
    assert ended == list(run.tasks)
    assert run.printed["pipeline_name"] == run.record["pipeline"] == "chicago-taxi-pruning"
    assert run.printed["refusals"] == []


@pytest.mark.e2e
def test_printed_figures_are_those_of_the_artifacts(run: Run) -> None:
    metadata = run.output("Stripper", "model")["metadata"]
    for key in ("sparsity", "prunable_parameters", "nonzero_parameters", "stripped_bytes", "gzipped_bytes"):
        assert run.printed[key] == metadata[getattr(properties, key.upper())]
    assert run.printed["pushed_to"] == run.output("Pusher", "pushed_model")["metadata"]["pushed_destination"]
    assert list(run.printed["pruned"]) == list(run.printed["dense"]) == ["AUC", "BinaryAccuracy"]
    page = PageText(pathlib.Path(run.printed["report"]).read_text(encoding="utf-8"))
    metrics = {row[0]: row[1:3] for row in page.tables["evaluation"][1:]}
    expected = [f"{run.printed[model]['AUC']:.4f}" for model in ("dense", "pruned")]
    assert metrics["AUC"] == expected


@pytest.mark.e2e
def test_every_task_of_the_compiled_pipeline_succeeds(run: Run) -> None:
    assert sorted(run.tasks) == sorted(NODES)
    assert {task["state"] for task in run.tasks.values()} == {"SUCCEEDED"}


@pytest.mark.e2e
def test_tasks_get_parameters_of_the_run_and_artifacts_without_types(run: Run, hparams: PruningHParams) -> None:
    given = run.given("PruningTrainer")["inputs"]
    assert json.loads(given["parameterValues"]["train_args"]) == {"num_steps": 60}
    assert given["parameterValues"]["hparams"] == hparams.to_string()
    assert set(given["artifacts"]) == {"base_model", "examples", "schema", "teacher", "transform_graph"}
    for key in ("base_model", "teacher"):
        (dense,) = given["artifacts"][key]["artifacts"]
        assert dense["uri"] == run.output("Trainer", "model")["uri"]
    types = [artifact["type"] for of_key in given["artifacts"].values() for artifact in of_key["artifacts"]]
    assert types == [{"instanceSchema": ""}] * 5


@pytest.mark.e2e
def test_metadata_of_the_pruned_model_is_read_back(run: Run, hparams: PruningHParams) -> None:
    metadata = run.output("PruningTrainer", "model")["metadata"]
    assert set(properties.PRUNING) <= set(metadata)
    assert metadata[properties.PRUNE_OPTION] == "second_order_gradient"
    assert PruningHParams.parse(metadata[properties.HPARAMS]) == hparams
    assert metadata[properties.TARGET_SPARSITY] == TARGET_SPARSITY
    zeros = metadata[properties.PRUNABLE_PARAMETERS] - metadata[properties.NONZERO_PARAMETERS]
    assert zeros / metadata[properties.PRUNABLE_PARAMETERS] == pytest.approx(metadata[properties.SPARSITY], abs=1e-9)
    before, kept = metadata[properties.MULTIPLY_ADDS], metadata[properties.MULTIPLY_ADDS_KEPT]
    # Channels go as a whole.
    assert TARGET_SPARSITY <= 1 - kept / before < TARGET_SPARSITY + 0.02
    assert metadata[properties.MULTIPLY_ADDS_SPARSITY] == pytest.approx(1 - kept / before, abs=1e-9)


@pytest.mark.e2e
def test_metadata_of_the_stripped_model_is_read_back(run: Run) -> None:
    trained, stripped = run.output("PruningTrainer", "model"), run.output("Stripper", "model")
    metadata = stripped["metadata"]
    # Kubeflow hands numbers on as floats; they are the same numbers after Stripper took them over.
    keys = (*properties.PRUNING, *properties.PRUNING_OF_FLOPS)
    assert {key: metadata[key] for key in keys} == {key: trained["metadata"][key] for key in keys}
    assert metadata[properties.MULTIPLY_ADDS_SHRUNK] <= metadata[properties.MULTIPLY_ADDS_KEPT]
    files = [file for file in pathlib.Path(stripped["uri"], "Format-Serving").rglob("*") if file.is_file()]
    assert metadata[properties.STRIPPED_BYTES] == sum(file.stat().st_size for file in files)
    assert 0 < metadata[properties.GZIPPED_BYTES] < metadata[properties.STRIPPED_BYTES]
    assert metadata[properties.VARIABLES_REMOVED] > 0
    assert metadata[properties.SIGNATURES_CHECKED] == "serving_default,transform_features"


@pytest.mark.e2e
def test_blessing_names_the_stripped_model(run: Run) -> None:
    metadata = run.output("Evaluator", "blessing")["metadata"]
    assert metadata["blessed"] == 1
    assert metadata["current_model_id"] == run.output("Stripper", "model")["name"]
    assert metadata["baseline_model_id"] == run.output("Trainer", "model")["name"]


@pytest.mark.e2e
def test_pushed_model_is_sparse_and_serves(run: Run) -> None:
    (pushed,) = (run.root / "serving").iterdir()
    assert run.output("Pusher", "pushed_model")["metadata"]["pushed"] == 1
    trained = pathlib.Path(run.output("PruningTrainer", "model")["uri"], "Format-Serving")
    kernels, cut = matrices(pushed), without_what_was_cut(trained, pushed)
    assert [key for key, kernel in kernels.items() if not np.array_equal(kernel, cut[key])] == []
    whole = [matrices(trained)[key] for key in kernels]
    nonzero = sum(np.count_nonzero(kernel) for kernel in whole)
    # The others are in the biases, one a channel at most.
    others = run.output("Stripper", "model")["metadata"][properties.NONZERO_PARAMETERS] - nonzero
    assert 0 <= others <= sum(kernel.shape[1] for kernel in whole)
    files = pathlib.Path(run.output("CsvExampleGen", "examples")["uri"], "Split-eval").glob("*")
    records = tf.data.TFRecordDataset([str(file) for file in files], compression_type="GZIP").take(8)
    examples = tf.constant(list(records.as_numpy_iterator()))
    scores = tf.saved_model.load(str(pushed)).signatures["serving_default"](examples)["outputs"].numpy()
    assert scores.shape == (8, 1)
    assert np.all((scores > 0) & (scores < 1))
