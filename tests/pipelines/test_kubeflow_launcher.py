"""The launcher: its command line on small pipelines; and the whole compiled pipeline, task by task, end to end."""

import csv
import dataclasses
import json
import pathlib
import stat
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import yaml
from tfx import v1 as tfx

from tfx_pruning import PruningHParams, properties
from tfx_pruning.pipelines import kubeflow_launcher, kubeflow_runner
from tfx_pruning.pipelines.kubeflow_backend import Backend
from tfx_pruning.pipelines.kubeflow_local.artifact import Artifact
from tfx_pruning.pipelines.kubeflow_local.artifact_store import ArtifactStore
from tfx_pruning.pipelines.kubeflow_local.launch import STORE_FILE
from tfx_pruning.pipelines.local_runner import BEAM_PIPELINE_ARGS

ROWS = 1500
TARGET_SPARSITY = 0.75
WRITE = "import sys; open(sys.argv[1], 'w').write(sys.argv[2]); print('wrote')"


def _spec(**changes: Any) -> dict[str, Any]:
    """A pipeline of one task, which writes its parameter to its output."""
    executor = {
        "container": {
            "image": "image:1",
            "command": ["python", "-c", WRITE],
            "args": ["{{$.outputs.artifacts['text'].uri}}", "{{$.inputs.parameters['text']}}"],
            "env": [{"name": "COLOUR", "value": "blue"}],
        }
    }
    component = {
        "executorLabel": "exec-write",
        "inputDefinitions": {"parameters": {"text": {"parameterType": "STRING"}}},
        "outputDefinitions": {"artifacts": {"text": {"artifactType": {"schemaTitle": "system.Artifact"}}}},
    }
    task = {
        "componentRef": {"name": "write"},
        "inputs": {"parameters": {"text": {"componentInputParameter": "words"}}},
    }
    return {
        "pipelineInfo": {"name": "small"},
        "schemaVersion": "2.1.0",
        "root": {
            "dag": {"tasks": {"write": task}},
            "inputDefinitions": {"parameters": {"words": {"parameterType": "STRING", "defaultValue": "none"}}},
        },
        "components": {"write": component},
        "deploymentSpec": {"executors": {"exec-write": executor}},
    } | changes


def _launch(folder: pathlib.Path, *arguments: str, spec: dict[str, Any] | None = None) -> int:
    path = folder / "pipeline.yaml"
    path.write_text(yaml.safe_dump(spec or _spec()), encoding="utf-8")
    return kubeflow_launcher.main([str(path), "--pipeline-root", str(folder / "root"), *arguments])


def _run_file(root: pathlib.Path, pipeline: str = "small") -> dict[str, Any]:
    """What the only run under a root left."""
    (path,) = (root / pipeline).glob("run-*/run.json")
    return json.loads(path.read_text(encoding="utf-8"))


def test_task_runs_with_the_parameter_of_the_run(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _launch(tmp_path, "--parameter", "words=a=b c") == 0
    run = _run_file(tmp_path / "root")
    assert run["parameters"] == {"words": "a=b c"}
    (artifact,) = run["tasks"]["write"]["artifacts"]["text"]
    assert run["tasks"]["write"]["state"] == "SUCCEEDED"
    assert pathlib.Path(artifact["uri"]).read_text(encoding="utf-8") == "a=b c"
    first, line, last = capsys.readouterr().out.splitlines()
    assert first.startswith("Running small in ")
    assert line.split()[0] == "write"
    assert last.endswith("/run.json")


def test_failure_is_one_error_and_is_in_the_run_file(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = _spec()
    spec["deploymentSpec"]["executors"]["exec-write"]["container"]["command"][2] = "raise SystemExit('no disk')"
    assert _launch(tmp_path, spec=spec) == kubeflow_launcher.EXIT_FAILED
    error = capsys.readouterr().err
    assert error.startswith("error: write failed with the exit status 1; the end of ")
    assert error.endswith("task.log:\nno disk\n")
    assert _run_file(tmp_path / "root")["tasks"] == {"write": {"state": "FAILED", "artifacts": {}, "parameters": {}}}


@pytest.mark.parametrize(
    ("arguments", "changes", "message"),
    [
        (["--parameter", "words"], {}, "--parameter must be NAME=VALUE, got 'words'."),
        (["--parameter", "word=x"], {}, "The pipeline has no parameter word; it has: words."),
        (["--pipeline-root", "gs://bucket/root"], {}, "root gs://bucket/root is no folder of this machine"),
        (["--pipeline-root", ""], {}, "The pipeline has no root of its own"),
        (["--engine", "podman"], {}, "podman is not installed: install it, or run with --engine=process."),
        ([], {"schemaVersion": "2.0.0"}, "has the schema version 2.0.0, expected 2.1.0"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_written(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    changes: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert _launch(tmp_path, *arguments, spec=_spec(**changes)) == kubeflow_launcher.EXIT_FAILED
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""
    assert not (tmp_path / "root").exists()


def test_podman_is_called_with_the_root_and_nothing_else_shared(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    podman = tmp_path / "bin" / "podman"
    podman.parent.mkdir()
    podman.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path / "called"}\n', encoding="utf-8")
    podman.chmod(podman.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(podman.parent), prepend=":")
    assert _launch(tmp_path, "--engine", "podman", "--parameter", "words=here") == 0
    root = tmp_path / "root"
    (run,) = (root / "small").glob("run-*")
    assert (tmp_path / "called").read_text(encoding="utf-8").splitlines() == [
        *["run", "--rm", "--pull=never", f"--volume={root}:{root}", "--env=COLOUR=blue", "--entrypoint=python"],
        *["image:1", "-c", WRITE, str(run / "write" / "text"), "here"],
    ]


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of the taxi pipeline that was compiled for the open-source backend."""

    root: pathlib.Path
    serving: pathlib.Path
    hparams: PruningHParams
    tasks: dict[str, Any]

    def output(self, task: str, key: str) -> dict[str, Any]:
        """An artifact that a task made."""
        (artifact,) = self.tasks[task]["artifacts"][key]
        return artifact

    def given(self, task: str) -> dict[str, Any]:
        """The ExecutorInput of a task."""
        (path,) = (self.root / "taxi").glob(f"run-*/{task}/executor_input.json")
        return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with the first of the taxi trips."""
    folder = tmp_path_factory.mktemp("data")
    (source,) = pathlib.Path(shipped_data()).glob("*.csv")
    with source.open(encoding="utf-8", newline="") as file, (folder / "d.csv").open("w", encoding="utf-8") as few:
        writer = csv.writer(few)
        for _, row in zip(range(ROWS + 1), csv.reader(file), strict=False):
            writer.writerow(row)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, data: pathlib.Path) -> Run:
    """Compiles for paths that are not there, and runs every task with parameters of the run."""
    root = tmp_path_factory.mktemp("taxi")
    path, serving = root / "pipeline.yaml", root / "pushed"
    compiled = kubeflow_runner.main(
        ["--output", str(path), "--image", "none", "--pipeline-root", "gs://none/root", "--data-root", "gs://none/data"]
        + ["--pipeline-name", "taxi", "--train-steps", "9999", "--min-metric", "0.5", "--max-metric-drop", "0.5"]
    )
    assert compiled == 0
    hparams = PruningHParams.for_steps(60, prune_option="second_order_gradient", target_sparsity=TARGET_SPARSITY)
    parameters = {
        "data_root": str(data),
        "train_args": '{"num_steps": 40}',
        "pruning_args": '{"num_steps": 60}',
        "eval_args": '{"num_steps": 2}',
        "hparams": hparams.to_string(),
        "push_destination": json.dumps({"filesystem": {"base_directory": str(serving)}}),
    }
    arguments = [argument for pair in parameters.items() for argument in ("--parameter", "=".join(pair))]
    assert kubeflow_launcher.main([str(path), "--pipeline-root", str(root), *arguments]) == 0
    return Run(root, serving, hparams, _run_file(root, "taxi")["tasks"])


@pytest.mark.e2e
def test_every_task_of_the_compiled_pipeline_succeeds(run: Run) -> None:
    assert len(run.tasks) == 10
    assert {task["state"] for task in run.tasks.values()} == {"SUCCEEDED"}


@pytest.mark.e2e
def test_tasks_get_parameters_of_the_run_and_artifacts_without_types(run: Run) -> None:
    given = run.given("PruningTrainer")["inputs"]
    assert json.loads(given["parameterValues"]["train_args"]) == {"num_steps": 60}
    assert given["parameterValues"]["hparams"] == run.hparams.to_string()
    assert set(given["artifacts"]) == {"base_model", "examples", "schema", "transform_graph"}
    (base_model,) = given["artifacts"]["base_model"]["artifacts"]
    assert base_model["uri"] == run.output("Trainer", "model")["uri"]
    types = [artifact["type"] for of_key in given["artifacts"].values() for artifact in of_key["artifacts"]]
    assert types == [{"instanceSchema": ""}] * 4


@pytest.mark.e2e
def test_metadata_of_the_pruned_model_is_read_back(run: Run) -> None:
    metadata = run.output("PruningTrainer", "model")["metadata"]
    assert set(properties.PRUNING) <= set(metadata)
    assert metadata[properties.PRUNE_OPTION] == "second_order_gradient"
    assert PruningHParams.parse(metadata[properties.HPARAMS]) == run.hparams
    assert metadata[properties.TARGET_SPARSITY] == TARGET_SPARSITY
    zeros = metadata[properties.PRUNABLE_PARAMETERS] - metadata[properties.NONZERO_PARAMETERS]
    assert zeros / metadata[properties.PRUNABLE_PARAMETERS] == pytest.approx(metadata[properties.SPARSITY], abs=1e-9)
    assert metadata[properties.SPARSITY] == pytest.approx(TARGET_SPARSITY, abs=1e-4)


@pytest.mark.e2e
def test_metadata_of_the_stripped_model_is_read_back(run: Run) -> None:
    trained, stripped = run.output("PruningTrainer", "model"), run.output("Stripper", "model")
    metadata = stripped["metadata"]
    # Kubeflow hands numbers on as floats; they are the same numbers after Stripper took them over.
    assert {key: metadata[key] for key in properties.PRUNING} == {
        key: trained["metadata"][key] for key in properties.PRUNING
    }
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
    (pushed,) = run.serving.iterdir()
    assert run.output("Pusher", "pushed_model")["metadata"]["pushed"] == 1
    reader = tf.train.load_checkpoint(str(pushed / "variables" / "variables"))
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    tensors = [reader.get_tensor(key) for key in reader.get_variable_to_shape_map() if key.endswith(suffix)]
    kernels = [tensor for tensor in tensors if tensor.ndim == 2]
    nonzero = sum(np.count_nonzero(kernel) for kernel in kernels)
    assert nonzero == run.output("Stripper", "model")["metadata"][properties.NONZERO_PARAMETERS]
    assert 1 - nonzero / sum(kernel.size for kernel in kernels) == pytest.approx(TARGET_SPARSITY, abs=1e-4)
    files = pathlib.Path(run.output("CsvExampleGen", "examples")["uri"], "Split-eval").glob("*")
    records = tf.data.TFRecordDataset([str(file) for file in files], compression_type="GZIP").take(8)
    examples = tf.constant(list(records.as_numpy_iterator()))
    scores = tf.saved_model.load(str(pushed)).signatures["serving_default"](examples)["outputs"].numpy()
    assert scores.shape == (8, 1)
    assert np.all((scores > 0) & (scores < 1))


@pytest.mark.e2e
def test_vertex_runs_the_driver_and_resolves_the_blessed_model(tmp_path: pathlib.Path, data: pathlib.Path) -> None:
    gen = tfx.components.CsvExampleGen(input_base=str(data))
    resolver = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
        model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        model_blessing=tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
    ).with_id("latest")
    root = tmp_path / "root"
    pipeline = tfx.dsl.Pipeline(
        "small", str(root), components=[gen, resolver], beam_pipeline_args=list(BEAM_PIPELINE_ARGS)
    )
    path = tmp_path / "pipeline.yaml"
    kubeflow_runner.compile_pipeline(pipeline, str(path), "none", Backend.VERTEX)
    (root / "small").mkdir(parents=True)
    store = ArtifactStore(root / "small" / STORE_FILE)
    for title, metadata in (("Model", {}), ("ModelBlessing", {"blessed": 1.0, "current_model_id": "1"})):
        store.add(Artifact("", {"instanceSchema": f"title: tfx.{title}\ntype: object\n"}, f"/{title}", metadata))

    assert kubeflow_launcher.main([str(path), "--backend", "vertex"]) == 0
    tasks = _run_file(root)["tasks"]
    (model,) = tasks["latest-model-resolver"]["artifacts"]["model"]
    assert (model["name"], model["uri"]) == ("1", "/Model")
    (examples,) = tasks["CsvExampleGen"]["artifacts"]["examples"]
    # Only the driver knows of the files before they are read.
    assert examples["metadata"]["input_fingerprint"].startswith("split:single_split,num_files:1,")
    assert json.loads(examples["metadata"]["split_names"]) == ["train", "eval"]
