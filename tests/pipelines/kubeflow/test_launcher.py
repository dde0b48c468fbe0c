"""The launcher: its command line on small pipelines, and what only Vertex AI has."""

import json
import pathlib
import stat
from typing import Any

import pytest
import yaml
from tfx import v1 as tfx

from helpers.taxi_trips import write_few_trips
from tfx_pruning.pipelines.beam_args import IN_PROCESS
from tfx_pruning.pipelines.kubeflow import launcher, runner
from tfx_pruning.pipelines.kubeflow.backend import Backend
from tfx_pruning.pipelines.kubeflow.local.artifact import Artifact
from tfx_pruning.pipelines.kubeflow.local.artifact_store import ArtifactStore
from tfx_pruning.pipelines.kubeflow.local.launch import STORE_FILE

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
    return launcher.main([str(path), "--pipeline-root", str(folder / "root"), *arguments])


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
    assert _launch(tmp_path, spec=spec) == launcher.EXIT_FAILED
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
    assert _launch(tmp_path, *arguments, spec=_spec(**changes)) == launcher.EXIT_FAILED
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


@pytest.mark.e2e
def test_vertex_runs_the_driver_and_resolves_the_blessed_model(tmp_path: pathlib.Path) -> None:
    data = write_few_trips(tmp_path / "data", 50)
    gen = tfx.components.CsvExampleGen(input_base=str(data))
    resolver = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
        model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        model_blessing=tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
    ).with_id("latest")
    root = tmp_path / "root"
    pipeline = tfx.dsl.Pipeline("small", str(root), components=[gen, resolver], beam_pipeline_args=list(IN_PROCESS))
    path = tmp_path / "pipeline.yaml"
    runner.compile_pipeline(pipeline, str(path), "none", Backend.VERTEX)
    (root / "small").mkdir(parents=True)
    store = ArtifactStore(root / "small" / STORE_FILE)
    for title, metadata in (("Model", {}), ("ModelBlessing", {"blessed": 1.0, "current_model_id": "1"})):
        store.add(Artifact("", {"instanceSchema": f"title: tfx.{title}\ntype: object\n"}, f"/{title}", metadata))

    assert launcher.main([str(path), "--backend", "vertex"]) == 0
    tasks = _run_file(root)["tasks"]
    (model,) = tasks["latest-model-resolver"]["artifacts"]["model"]
    assert (model["name"], model["uri"]) == ("1", "/Model")
    (examples,) = tasks["CsvExampleGen"]["artifacts"]["examples"]
    # Only the driver knows of the files before they are read.
    assert examples["metadata"]["input_fingerprint"].startswith("split:single_split,num_files:1,")
    assert json.loads(examples["metadata"]["split_names"]) == ["train", "eval"]
