"""Small pipelines whose tasks are one-line programs, run as processes."""

import json
import pathlib
from typing import Any

import pytest

from tfx_pruning.pipelines.kubeflow.backend import Backend
from tfx_pruning.pipelines.kubeflow.local.artifact import Artifact
from tfx_pruning.pipelines.kubeflow.local.artifact_store import ArtifactStore
from tfx_pruning.pipelines.kubeflow.local.container_engine import ProcessEngine
from tfx_pruning.pipelines.kubeflow.local.dag_run import DagRun
from tfx_pruning.pipelines.kubeflow.local.pipeline_file import PipelineFile
from tfx_pruning.pipelines.task_state import TaskFailedError, TaskState

BLESSED = "(inputs.artifacts['blessing'].artifacts[0].metadata['blessed'] == 1.0)"
# Leaves what it was given in the file 'seen', and metadata for the artifacts it was to make.
RECORD = """
import json, pathlib, sys
given = json.loads(sys.argv[1])
pathlib.Path(given["outputs"]["outputFile"]).with_name("seen").write_text(json.dumps([given, *sys.argv[2:]]))
artifacts = {}
for key, value in given["outputs"]["artifacts"].items():
    made = {"name": key, "uri": value["artifacts"][0]["uri"] + "/made", "metadata": {"blessed": 1, "steps": 3}}
    artifacts[key] = {"artifacts": [made]}
pathlib.Path(given["outputs"]["outputFile"]).write_text(json.dumps({"artifacts": artifacts}))
"""
FAIL = "import sys; print('all', 'is', 'lost'); sys.exit(9)"


def _schema(title: str) -> dict[str, str]:
    return {"instanceSchema": f"title: {title}\ntype: object\n"}


def _container(script: str, *arguments: str) -> dict[str, Any]:
    return {"container": {"image": "none", "command": ["python", "-c"], "args": [script, "{{$}}", *arguments]}}


def _output(producer: str, key: str) -> dict[str, Any]:
    return {"taskOutputArtifact": {"producerTask": producer, "outputArtifactKey": key}}


class Pipeline:
    """Builds a pipeline of such tasks, and runs it."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.tasks: dict[str, Any] = {}
        self.components: dict[str, Any] = {}
        self.executors: dict[str, Any] = {}
        self.store = ArtifactStore(folder / "artifacts.jsonl")
        self.reported: list[tuple[str, TaskState | None]] = []

    def add(
        self,
        name: str,
        executor: dict[str, Any],
        inputs: dict[str, Any] | None = None,
        parameters: dict[str, tuple[str, Any]] | None = None,
        outputs: dict[str, str] | None = None,
        output_parameters: dict[str, str] | None = None,
        **task: Any,
    ) -> None:
        """A task: input artifacts, (type, source) of parameters, titles of output artifacts, types of parameters."""
        parameters = parameters or {}
        self.executors[f"exec-{name}"] = executor
        self.components[name] = {
            "executorLabel": f"exec-{name}",
            "inputDefinitions": {"parameters": {key: {"parameterType": kind} for key, (kind, _) in parameters.items()}},
            "outputDefinitions": {
                "artifacts": {key: {"artifactType": _schema(title)} for key, title in (outputs or {}).items()},
                "parameters": {key: {"parameterType": kind} for key, kind in (output_parameters or {}).items()},
            },
        }
        sources = {key: source for key, (_, source) in parameters.items()}
        self.tasks[name] = {
            "componentRef": {"name": name},
            "inputs": {"artifacts": inputs or {}, "parameters": sources},
            **task,
        }

    def run(self, backend: Backend = Backend.KUBEFLOW, **parameters: Any) -> DagRun:
        """Runs the pipeline in a new folder."""
        self.folder = self.folder / "run"
        self.folder.mkdir()
        root = {"dag": {"tasks": self.tasks}}
        pipeline = PipelineFile("small", root, self.components, self.executors, "")
        run = DagRun(
            pipeline, self.folder, self.store, ProcessEngine(), backend, lambda *event: self.reported.append(event)
        )
        try:
            run.run(parameters)
        finally:
            self.states = {name: result.state for name, result in run.results.items()}
        return run

    def seen(self, task: str) -> list[Any]:
        """The ExecutorInput that a recording task got, and its arguments."""
        return json.loads((self.folder / task / "seen").read_text(encoding="utf-8"))


@pytest.fixture
def pipeline(tmp_path: pathlib.Path) -> Pipeline:
    return Pipeline(tmp_path)


def test_tasks_run_in_the_order_of_their_dependencies(pipeline: Pipeline) -> None:
    pipeline.add("last", _container(RECORD), dependentTasks=["second"])
    pipeline.add("second", _container(RECORD), inputs={"model": _output("first", "model")})
    pipeline.add("first", _container(RECORD), outputs={"model": "tfx.Model"})
    pipeline.run()
    assert [name for name, state in pipeline.reported if state is None] == ["first", "second", "last"]
    assert set(pipeline.states.values()) == {TaskState.SUCCEEDED}


def test_what_a_task_made_is_stored_and_handed_on_with_its_metadata(pipeline: Pipeline) -> None:
    pipeline.add("first", _container(RECORD), outputs={"model": "tfx.Model"})
    pipeline.add("second", _container(RECORD), inputs={"base": _output("first", "model")})
    run = pipeline.run()
    uri = str(pipeline.folder / "first" / "model")
    (made,) = run.results["first"].artifacts["model"]
    metadata = {"display_name": "model", "blessed": 1, "steps": 3}
    assert made == Artifact("1", _schema("tfx.Model"), f"{uri}/made", metadata)
    assert pipeline.store.latest('schema_title="tfx.Model"') == made
    given = pipeline.seen("second")[0]
    # The open-source backend hands artifacts on without their types.
    artifact = {"name": "1", "uri": f"{uri}/made", "type": {"instanceSchema": ""}, "metadata": metadata}
    assert given["inputs"]["artifacts"] == {"base": {"artifacts": [artifact]}}
    (asked,) = pipeline.seen("first")[0]["outputs"]["artifacts"]["model"]["artifacts"]
    assert asked == {"name": "model", "uri": uri, "type": _schema("tfx.Model"), "metadata": {}}


def test_vertex_hands_types_on(pipeline: Pipeline) -> None:
    pipeline.add("first", _container(RECORD), outputs={"model": "tfx.Model"})
    pipeline.add("second", _container(RECORD), inputs={"base": _output("first", "model")})
    pipeline.run(Backend.VERTEX)
    (artifact,) = pipeline.seen("second")[0]["inputs"]["artifacts"]["base"]["artifacts"]
    assert artifact["type"] == _schema("tfx.Model")
    assert "display_name" not in artifact["metadata"]


def test_placeholders_are_replaced(pipeline: Pipeline) -> None:
    pipeline.add("first", _container(RECORD), outputs={"model": "tfx.Model"})
    templates = [
        "{{$.inputs.artifacts['base'].uri}}|{{$.inputs.artifacts['base'].path}}",
        "--steps={{$.inputs.parameters['steps']}}",
        "{{$.inputs.parameters['rate']}} {{$.inputs.parameters['text']}}",
        "{{$.outputs.artifacts['out'].uri}}",
        "{{$.outputs.parameters['loss'].output_file}}",
    ]
    script = RECORD + "\npathlib.Path(sys.argv[6]).write_text('0.25')"
    pipeline.add(
        "second",
        _container(script, *templates),
        inputs={"base": _output("first", "model")},
        parameters={
            "steps": ("NUMBER_INTEGER", {"runtimeValue": {"constant": 40.0}}),
            "rate": ("NUMBER_DOUBLE", {"componentInputParameter": "rate"}),
            "text": ("STRING", {"runtimeValue": {"constant": 'a "b" c'}}),
        },
        outputs={"out": "tfx.Model"},
        output_parameters={"loss": "NUMBER_DOUBLE"},
    )
    pipeline.add(
        "third",
        _container(RECORD),
        parameters={
            "loss": (
                "NUMBER_DOUBLE",
                {"taskOutputParameter": {"producerTask": "second", "outputParameterKey": "loss"}},
            )
        },
    )
    pipeline.run(rate=0.5)
    given, *arguments = pipeline.seen("second")
    base = str(pipeline.folder / "first" / "model" / "made")
    folder = pipeline.folder / "second"
    assert arguments == [
        f"{base}|{base}",
        "--steps=40",
        '0.5 a "b" c',
        str(folder / "out"),
        str(folder / "parameters" / "loss"),
    ]
    assert given["inputs"]["parameterValues"] == {"steps": 40.0, "rate": 0.5, "text": 'a "b" c'}
    assert pipeline.seen("third")[0]["inputs"]["parameterValues"] == {"loss": 0.25}


def test_failure_stops_the_run_with_the_end_of_the_log(pipeline: Pipeline) -> None:
    pipeline.add("first", _container(FAIL), outputs={"model": "tfx.Model"})
    pipeline.add("second", _container(RECORD), inputs={"model": _output("first", "model")})
    with pytest.raises(TaskFailedError, match=r"^first failed with the exit status 9; .*task\.log:\nall is lost$"):
        pipeline.run()
    assert pipeline.states == {"first": TaskState.FAILED}
    assert pipeline.store.latest("state=LIVE") is None


def test_exit_handler_runs_after_a_failure_and_is_told_of_it(pipeline: Pipeline) -> None:
    pipeline.add("work", _container(FAIL))
    status = ("TASK_FINAL_STATUS", {"taskFinalStatus": {"producerTask": "work"}})
    policy = {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    pipeline.add("handler", _container(RECORD), parameters={"status": status}, triggerPolicy=policy)
    pipeline.add("after", _container(RECORD), dependentTasks=["work"])
    with pytest.raises(TaskFailedError, match="work failed"):
        pipeline.run()
    assert pipeline.states == {"work": TaskState.FAILED, "handler": TaskState.SUCCEEDED}
    told = pipeline.seen("handler")[0]["inputs"]["parameterValues"]["status"]
    assert (told["state"], told["pipelineTaskName"]) == ("FAILED", "work")


def test_nested_dag_gets_the_parameters_of_its_task(pipeline: Pipeline) -> None:
    pipeline.add("inner", _container(RECORD), parameters={"x": ("STRING", {"componentInputParameter": "here"})})
    inner = pipeline.tasks.pop("inner")
    pipeline.components["part"] = {
        "dag": {"tasks": {"inner": inner}},
        "inputDefinitions": {"parameters": {"here": {"parameterType": "STRING"}}},
    }
    inputs = {"parameters": {"here": {"componentInputParameter": "there"}}}
    pipeline.tasks["part"] = {"componentRef": {"name": "part"}, "inputs": inputs}
    pipeline.run(there="value")
    assert pipeline.seen("inner")[0]["inputs"]["parameterValues"] == {"x": "value"}
    assert pipeline.states == {"inner": TaskState.SUCCEEDED, "part": TaskState.SUCCEEDED}


@pytest.mark.parametrize(("condition", "state"), [(BLESSED, TaskState.SUCCEEDED), (f"!{BLESSED}", TaskState.SKIPPED)])
def test_condition_decides_and_skips_what_comes_after(pipeline: Pipeline, condition: str, state: TaskState) -> None:
    pipeline.add("evaluate", _container(RECORD), outputs={"blessing": "tfx.ModelBlessing"})
    blessing = {"blessing": _output("evaluate", "blessing")}
    policy = {"condition": condition}
    pipeline.add("push", _container(RECORD), blessing, outputs={"pushed": "tfx.PushedModel"}, triggerPolicy=policy)
    pipeline.add("tell", _container(RECORD), {"pushed": _output("push", "pushed")})
    pipeline.run()
    assert pipeline.states == {"evaluate": TaskState.SUCCEEDED, "push": state, "tell": state}
    assert (pipeline.folder / "push").exists() is (state is TaskState.SUCCEEDED)


def test_resolvers_find_the_blessed_model_of_an_earlier_run(pipeline: Pipeline) -> None:
    filters = {
        "blessing": 'schema_title="tfx.ModelBlessing" AND state=LIVE AND metadata.blessed.number_value=1',
        "model": 'schema_title="tfx.Model" AND state=LIVE AND '
        "name=\"{{$.inputs.artifacts['input'].metadata['current_model_id']}}\"",
    }
    for name, key, inputs in (
        ("find-blessing", "blessing", {}),
        ("find-model", "model", {"input": _output("find-blessing", "blessing")}),
    ):
        resolver = {"resolver": {"outputArtifactQueries": {key: {"filter": filters[key]}}}}
        pipeline.add(name, resolver, inputs, outputs={key: "tfx.Model"})
    pipeline.add("train", _container(RECORD), {"base": _output("find-model", "model")})
    pipeline.run(Backend.VERTEX)
    assert pipeline.seen("train")[0]["inputs"]["artifacts"] == {"base": {"artifacts": []}}

    model = pipeline.store.add(Artifact("", _schema("tfx.Model"), "/blessed", {}))
    pipeline.store.add(Artifact("", _schema("tfx.Model"), "/later", {}))
    metadata = {"blessed": 1.0, "current_model_id": model.name}
    pipeline.store.add(Artifact("", _schema("tfx.ModelBlessing"), "/blessing", metadata))
    pipeline.run(Backend.VERTEX)
    (base,) = pipeline.seen("train")[0]["inputs"]["artifacts"]["base"]["artifacts"]
    assert (base["uri"], base["name"]) == ("/blessed", model.name)
    with pytest.raises(ValueError, match="find-blessing is a Resolver, which the open-source backend does not have"):
        pipeline.run(Backend.KUBEFLOW)


def test_importer_takes_the_artifact_that_is_there_already(pipeline: Pipeline) -> None:
    importer = {"artifactUri": {"runtimeParameter": "uri"}, "typeSchema": _schema("tfx.Schema"), "metadata": {"v": 1.0}}
    uri = {"uri": ("STRING", {"componentInputParameter": "schema_uri"})}
    pipeline.add("import", {"importer": importer}, parameters=uri, outputs={"result": "tfx.Schema"})
    runs = [pipeline.run(schema_uri=path) for path in ("/a", "/a", "/b")]
    artifacts = [run.results["import"].artifacts["result"][0] for run in runs]
    assert [(artifact.name, artifact.uri) for artifact in artifacts] == [("1", "/a"), ("1", "/a"), ("2", "/b")]
    assert artifacts[0].metadata == {"v": 1.0}
    importer["reimport"] = True
    assert pipeline.run(schema_uri="/a").results["import"].artifacts["result"][0].name == "3"


@pytest.mark.parametrize(("backend", "runs"), [(Backend.KUBEFLOW, False), (Backend.VERTEX, True)])
def test_driver_runs_before_the_task_on_vertex_alone(pipeline: Pipeline, backend: Backend, runs: bool) -> None:
    executor = _container("import sys; print('task')")
    executor["container"]["lifecycle"] = {"preCacheCheck": _container("print('driver')")["container"]}
    pipeline.add("gen", executor)
    pipeline.run(backend)
    log = (pipeline.folder / "gen" / "task.log").read_text(encoding="utf-8").split()
    assert log == (["driver", "task"] if runs else ["task"])


def test_task_is_told_what_its_driver_says_of_its_artifacts(pipeline: Pipeline) -> None:
    executor = _container(RECORD)
    executor["container"]["lifecycle"] = {"preCacheCheck": _container(RECORD)["container"]}
    pipeline.add("gen", executor, outputs={"examples": "tfx.Examples"})
    pipeline.run(Backend.VERTEX)
    (examples,) = pipeline.seen("gen")[0]["outputs"]["artifacts"]["examples"]["artifacts"]
    assert examples["metadata"] == {"blessed": 1, "steps": 3}
    assert examples["uri"] == str(pipeline.folder / "gen" / "examples" / "made")


def test_task_gets_its_environment_and_an_empty_folder(pipeline: Pipeline) -> None:
    executor = _container("import os; print(os.environ['COLOUR'], os.listdir())")
    executor["container"]["env"] = [{"name": "COLOUR", "value": "blue"}]
    pipeline.add("task", executor)
    pipeline.run()
    assert (pipeline.folder / "task" / "task.log").read_text(encoding="utf-8") == "blue []\n"


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        (("NUMBER_INTEGER", {"runtimeValue": {"constant": "40"}}), "x must be a NUMBER_INTEGER, got '40'"),
        (("STRING", {"componentInputParameter": "none"}), "the DAG that task is in has no parameter 'none'"),
    ],
)
def test_wrong_parameter_fails_the_task(pipeline: Pipeline, parameter: tuple[str, Any], message: str) -> None:
    pipeline.add("task", _container(RECORD), parameters={"x": parameter})
    with pytest.raises(TaskFailedError, match=f"task failed: .*{message}"):
        pipeline.run()
    assert pipeline.states == {"task": TaskState.FAILED}


def test_output_that_was_promised_and_not_made_fails_the_task(pipeline: Pipeline) -> None:
    pipeline.add("task", _container(RECORD), output_parameters={"loss": "NUMBER_DOUBLE"})
    with pytest.raises(TaskFailedError, match="task wrote no value of its output parameter loss"):
        pipeline.run()


def test_command_that_is_not_there_fails_the_task(pipeline: Pipeline) -> None:
    pipeline.add("task", {"container": {"image": "none", "command": ["no-such-program"]}})
    with pytest.raises(TaskFailedError, match=r"exit status 127.*\n.*no-such-program cannot be run"):
        pipeline.run()


@pytest.mark.parametrize(
    ("upstream", "message"),
    [("none", "Tasks of the pipeline depend on none, which are not in the same DAG"), ("last", "cycle")],
)
def test_order_that_cannot_be_is_refused_before_anything_runs(pipeline: Pipeline, upstream: str, message: str) -> None:
    pipeline.add("first", _container(RECORD), dependentTasks=[upstream])
    pipeline.add("last", _container(RECORD), dependentTasks=["first"])
    with pytest.raises(ValueError, match=message):
        pipeline.run()
    assert pipeline.reported == []


def test_nested_dag_without_its_parameter_fails(pipeline: Pipeline) -> None:
    pipeline.components["part"] = {"dag": {"tasks": {}}}
    inputs = {"parameters": {"here": {"componentInputParameter": "there"}}}
    pipeline.tasks["part"] = {"componentRef": {"name": "part"}, "inputs": inputs}
    with pytest.raises(TaskFailedError, match="part failed: the DAG that part is in has no parameter 'there'"):
        pipeline.run()


def test_loop_is_refused_before_anything_runs(pipeline: Pipeline) -> None:
    pipeline.add("first", _container(RECORD))
    pipeline.add("loop", _container(RECORD), parameterIterator={"itemInput": "x"})
    with pytest.raises(ValueError, match="loop is a loop"):
        pipeline.run()
    assert pipeline.reported == []
