"""DagRun: one run of a compiled pipeline, task by task."""

import dataclasses
import graphlib
import json
import pathlib
from collections.abc import Iterator
from typing import Any

from tfx_pruning.pipelines.kubeflow.backend import Backend
from tfx_pruning.pipelines.kubeflow.local import executor_input as inputs
from tfx_pruning.pipelines.kubeflow.local.artifact import Artifact
from tfx_pruning.pipelines.kubeflow.local.artifact_store import ArtifactStore
from tfx_pruning.pipelines.kubeflow.local.condition import holds
from tfx_pruning.pipelines.kubeflow.local.container_engine import ContainerEngine
from tfx_pruning.pipelines.kubeflow.local.pipeline_file import PipelineFile, is_of
from tfx_pruning.pipelines.kubeflow.local.shared_folder import make_folder
from tfx_pruning.pipelines.kubeflow.local.task_result import TaskResult
from tfx_pruning.pipelines.log_end import log_end
from tfx_pruning.pipelines.task_state import OnTask, TaskFailedError, TaskState

LOG = "task.log"
EXECUTOR_INPUT = "executor_input.json"
_AFTER_FAILURES = "ALL_UPSTREAM_TASKS_COMPLETED"


class DagRun:
    """Runs the tasks of a pipeline one after the other, as the backend would.

    Attributes:
        results: Results by task, in the order in which the tasks ended.
    """

    def __init__(
        self,
        pipeline: PipelineFile,
        folder: pathlib.Path,
        store: ArtifactStore,
        engine: ContainerEngine,
        backend: Backend,
        on_task: OnTask,
    ) -> None:
        """Prepares the run.

        Args:
            pipeline: The pipeline.
            folder: Existing folder of this run; every task has one of its own in it.
            store: Artifacts of this and earlier runs.
            engine: What runs the commands.
            backend: The backend whose behaviour is followed.
            on_task: Called with a task's name and None when it begins, and with its state when it has ended.

        Raises:
            ValueError: The pipeline has parts that the backend or this launcher does not support.
        """
        self._pipeline, self._folder, self._store = pipeline, folder, store
        self._engine, self._backend, self._on_task = engine, backend, on_task
        self.results: dict[str, TaskResult] = {}
        for name, component in [("the pipeline", pipeline.root), *pipeline.components.items()]:
            _check_supported(name, component, pipeline, backend)

    def run(self, parameters: dict[str, Any]) -> None:
        """Runs all tasks. After a failure, only tasks run that run after failures too.

        Args:
            parameters: Values of the pipeline's parameters.

        Raises:
            TaskFailedError: A task failed; it is about the first one that did.
        """
        failure = self._run_dag(self._pipeline.root["dag"], parameters)
        if failure is not None:
            raise failure

    def _run_dag(self, dag: dict[str, Any], parameters: dict[str, Any]) -> TaskFailedError | None:
        """The first failure of the tasks, if there is one."""
        failure = None
        for name in _order(dag):
            task = dag["tasks"][name]
            always = task.get("triggerPolicy", {}).get("strategy") == _AFTER_FAILURES
            if failure is not None and not always:
                continue
            upstream = [self.results[key].state for key in _upstream(task) if key in self.results]
            if not always and any(state is not TaskState.SUCCEEDED for state in upstream):
                self._ended(name, TaskResult(TaskState.SKIPPED))
                continue
            component = self._pipeline.components[task["componentRef"]["name"]]
            try:
                values = self._parameters(name, task, component, parameters)
                if "dag" in component:
                    failed = self._run_dag(component["dag"], values)
                    self.results[name] = TaskResult(TaskState.FAILED if failed else TaskState.SUCCEEDED)
                    failure = failure or failed
                    continue
                self._on_task(name, None)
                self._ended(name, self._run_task(name, task, component, values))
            except TaskFailedError as error:
                self._ended(name, TaskResult(TaskState.FAILED))
                failure = failure or error
            except ValueError as error:
                self._ended(name, TaskResult(TaskState.FAILED))
                failure = failure or TaskFailedError(f"{name} failed: {error}")
        return failure

    def _ended(self, name: str, result: TaskResult) -> None:
        self.results[name] = result
        self._on_task(name, result.state)

    def _run_task(
        self, name: str, task: dict[str, Any], component: dict[str, Any], values: dict[str, Any]
    ) -> TaskResult:
        executor = self._pipeline.executor(component)
        artifacts = {
            key: self._input_artifact(name, spec) for key, spec in task.get("inputs", {}).get("artifacts", {}).items()
        }
        if "resolver" in executor:
            return self._resolve(executor["resolver"], artifacts)
        folder = self._folder / name
        outputs = inputs.provisioned(component, folder)
        typed = self._backend is Backend.VERTEX
        given = inputs.executor_input(component, values, artifacts, outputs, folder, typed)
        condition = task.get("triggerPolicy", {}).get("condition")
        if condition and not holds(condition, given):
            return TaskResult(TaskState.SKIPPED)
        if "importer" in executor:
            return self._import(executor["importer"], outputs, values)
        return self._run_container(name, executor["container"], component, given, outputs, folder)

    def _run_container(
        self,
        name: str,
        container: dict[str, Any],
        component: dict[str, Any],
        given: dict[str, Any],
        outputs: dict[str, Artifact],
        folder: pathlib.Path,
    ) -> TaskResult:
        make_folder(folder)
        if given["outputs"]["parameters"]:
            make_folder(folder / "parameters")
        environment = {variable["name"]: variable.get("value", "") for variable in container.get("env", [])}
        hook = container.get("lifecycle", {}).get("preCacheCheck")
        if hook is not None and self._backend is Backend.VERTEX:
            # The task is told what the hook reports of the artifacts.
            self._run_command(name, container["image"], hook, environment, given, folder)
            outputs = inputs.merged(outputs, _read_output(folder / inputs.OUTPUT_FILE))
            given["outputs"]["artifacts"] = inputs.output_artifacts(outputs)
        self._run_command(name, container["image"], container, environment, given, folder)
        output = _read_output(folder / inputs.OUTPUT_FILE)
        outputs = inputs.merged(outputs, output)
        values = inputs.output_parameters(component, given, output, name)
        stored = {key: [self._store.add(self._labelled(key, artifact))] for key, artifact in outputs.items()}
        return TaskResult(TaskState.SUCCEEDED, stored, values)

    def _run_command(
        self,
        name: str,
        image: str,
        command: dict[str, Any],
        environment: dict[str, str],
        given: dict[str, Any],
        folder: pathlib.Path,
    ) -> None:
        (folder / EXECUTOR_INPUT).write_text(json.dumps(given, indent=2), encoding="utf-8")
        arguments = [inputs.replaced(part, given) for part in command.get("command", []) + command.get("args", [])]
        status = self._engine.run(image, arguments, environment, folder / LOG)
        if status != 0:
            raise TaskFailedError(
                f"{name} failed with the exit status {status}; the end of {folder / LOG}:\n{log_end(folder / LOG)}"
            )

    def _labelled(self, key: str, artifact: Artifact) -> Artifact:
        """The open-source backend adds a property to every artifact that it stores."""
        if self._backend is Backend.VERTEX:
            return artifact
        return dataclasses.replace(artifact, metadata={"display_name": key} | artifact.metadata)

    def _resolve(self, resolver: dict[str, Any], artifacts: dict[str, list[Artifact]]) -> TaskResult:
        found = {}
        for key, spec in resolver["outputArtifactQueries"].items():
            query = inputs.query(spec["filter"], artifacts)
            artifact = None if query is None else self._store.latest(query)
            found[key] = [] if artifact is None else [artifact]
        return TaskResult(TaskState.SUCCEEDED, found)

    def _import(self, importer: dict[str, Any], outputs: dict[str, Artifact], values: dict[str, Any]) -> TaskResult:
        ((key, output),) = outputs.items()
        uri = importer["artifactUri"]
        uri = values[uri["runtimeParameter"]] if "runtimeParameter" in uri else uri["constant"]
        artifact = Artifact("", importer.get("typeSchema", output.type), uri, importer.get("metadata", {}))
        known = None if importer.get("reimport") else self._store.equal(artifact)
        return TaskResult(TaskState.SUCCEEDED, {key: [known or self._store.add(artifact)]})

    def _input_artifact(self, name: str, spec: dict[str, Any]) -> list[Artifact]:
        if "taskOutputArtifact" not in spec:
            raise ValueError(f"an input artifact of {name} is not another task's output, which is not supported")
        of = spec["taskOutputArtifact"]
        return self.results[of["producerTask"]].artifacts[of["outputArtifactKey"]]

    def _parameters(
        self, name: str, task: dict[str, Any], component: dict[str, Any], parameters: dict[str, Any]
    ) -> dict[str, Any]:
        kinds = component.get("inputDefinitions", {}).get("parameters", {})
        values = {}
        for key, spec in task.get("inputs", {}).get("parameters", {}).items():
            value = self._parameter(name, spec, parameters)
            kind = kinds.get(key, {}).get("parameterType", "STRING")
            if kind == "STRING" and not isinstance(value, str):
                value = json.dumps(value)
            if not is_of(value, kind):
                raise ValueError(f"the parameter {key} must be a {kind}, got {value!r}")
            values[key] = value
        return values

    def _parameter(self, name: str, spec: dict[str, Any], parameters: dict[str, Any]) -> Any:
        if "componentInputParameter" in spec:
            key = spec["componentInputParameter"]
            if key not in parameters:
                raise ValueError(f"the DAG that {name} is in has no parameter {key!r}")
            return parameters[key]
        if "taskOutputParameter" in spec:
            of = spec["taskOutputParameter"]
            if of["producerTask"] not in self.results:
                raise ValueError(f"it takes a parameter of the task {of['producerTask']!r}, which is not in the DAG")
            return self.results[of["producerTask"]].parameters[of["outputParameterKey"]]
        if "taskFinalStatus" in spec:
            producer = spec["taskFinalStatus"]["producerTask"]
            state = self.results[producer].state.value
            return {"state": state, "pipelineTaskName": producer, "pipelineJobResourceName": self._folder.name}
        constant = spec["runtimeValue"]["constant"]
        known = {
            "{{$.pipeline_job_name}}": self._folder.name,
            "{{$.pipeline_job_uuid}}": self._folder.name,
            "{{$.pipeline_task_name}}": name,
        }
        return known.get(constant, constant) if isinstance(constant, str) else constant


def _check_supported(name: str, component: dict[str, Any], pipeline: PipelineFile, backend: Backend) -> None:
    if "dag" in component:
        unknown = set(_order(component["dag"])) - set(component["dag"]["tasks"])
        if unknown:
            raise ValueError(f"Tasks of {name} depend on {', '.join(sorted(unknown))}, which are not in the same DAG.")
        if "outputs" in component["dag"]:
            raise ValueError(f"{name} hands on outputs of its tasks, which this launcher does not support.")
        for key, task in component["dag"]["tasks"].items():
            if "parameterIterator" in task or "artifactIterator" in task:
                raise ValueError(f"{key} is a loop, which this launcher does not support.")
        return
    executor = pipeline.executor(component)
    if "resolver" in executor and backend is Backend.KUBEFLOW:
        raise ValueError(
            f"{name} is a Resolver, which the open-source backend does not have: run with --backend=vertex."
        )
    if not {"container", "importer", "resolver"} & set(executor):
        raise ValueError(f"{name} is neither a container, an importer nor a resolver, but {', '.join(executor)}.")


def _order(dag: dict[str, Any]) -> list[str]:
    """Names of the tasks, each after those that must have ended before; raises ValueError if that cannot be."""
    return list(
        graphlib.TopologicalSorter({name: _upstream(task) for name, task in dag["tasks"].items()}).static_order()
    )


def _upstream(task: dict[str, Any]) -> list[str]:
    """Names of the tasks that must have ended before."""
    return list(dict.fromkeys([*task.get("dependentTasks", []), *_producers(task.get("inputs", {}))]))


def _producers(task_inputs: dict[str, Any]) -> Iterator[str]:
    for kind in ("artifacts", "parameters"):
        for spec in task_inputs.get(kind, {}).values():
            for source in ("taskOutputArtifact", "taskOutputParameter", "taskFinalStatus"):
                if source in spec:
                    yield spec[source]["producerTask"]


def _read_output(path: pathlib.Path) -> dict[str, Any]:
    """ExecutorOutput of KFP; empty if the command wrote none."""
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"its output metadata in {path} is no JSON: {error}") from error
