"""Launch: a run of a compiled pipeline in a folder of its own, and what it leaves there."""

import dataclasses
import datetime
import json
import pathlib
from collections.abc import Mapping

from tfx_pruning.pipelines.kubeflow.backend import Backend
from tfx_pruning.pipelines.kubeflow.local.artifact_store import ArtifactStore
from tfx_pruning.pipelines.kubeflow.local.container_engine import ContainerEngine
from tfx_pruning.pipelines.kubeflow.local.dag_run import DagRun
from tfx_pruning.pipelines.kubeflow.local.pipeline_file import PipelineFile
from tfx_pruning.pipelines.kubeflow.local.shared_folder import make_folder
from tfx_pruning.pipelines.run.outputs import NodeOutput
from tfx_pruning.pipelines.task_state import OnTask

RUN_FILE = "run.json"
STORE_FILE = "artifacts.jsonl"


class Launch:
    """One run; a RunOutputs when it has ended.

    Attributes:
        name: Name of the run.
        pipeline_name: Name of the pipeline.
        folder: Folder of the run.
        record: The file that records what every task made; written by `run`.
    """

    def __init__(
        self,
        pipeline: PipelineFile,
        root: pathlib.Path,
        parameters: Mapping[str, str],
        engine: ContainerEngine,
        backend: Backend,
        on_task: OnTask,
    ) -> None:
        """Makes the folder.

        Args:
            pipeline: The pipeline.
            root: Folder of artifacts, logs and the store; made if it is missing.
            parameters: Parameters of the run, as text; others have their defaults.
            engine: What runs the commands.
            backend: The backend whose behaviour is followed.
            on_task: Called with a task's name and None when it begins, and with its state when it has ended.

        Raises:
            ValueError: The pipeline has parts that the backend or this launcher does not support, or a parameter is
                refused.
            OSError: The folder cannot be made.
        """
        self._parameters = pipeline.parameters(parameters)
        self.pipeline_name = pipeline.name
        store = ArtifactStore(root / pipeline.name / STORE_FILE)
        self.name = datetime.datetime.now(datetime.timezone.utc).strftime("run-%Y%m%dT%H%M%S-%f")
        self.folder = root / pipeline.name / self.name
        self.record = str(self.folder / RUN_FILE)
        self._dag_run = DagRun(pipeline, self.folder, store, engine, backend, on_task)
        root.mkdir(parents=True, exist_ok=True)
        make_folder(self.folder.parent)
        make_folder(self.folder)

    def run(self) -> None:
        """Runs every task, and writes the record, after a failure too.

        Raises:
            TaskFailedError: A task failed.
        """
        try:
            self._dag_run.run(self._parameters)
        finally:
            content = {
                "pipeline": self.pipeline_name,
                "parameters": self._parameters,
                "tasks": {name: dataclasses.asdict(result) for name, result in self._dag_run.results.items()},
            }
            pathlib.Path(self.record).write_text(json.dumps(content, indent=2), encoding="utf-8")

    def output(self, node: str, key: str) -> NodeOutput:
        """As RunOutputs."""
        result = self._dag_run.results.get(node)
        artifacts = result.artifacts.get(key) if result is not None else None
        if not artifacts:
            raise ValueError(f"The run {self.name} of {self.pipeline_name!r} has no {key} of {node}.")
        return NodeOutput(artifacts[0].uri, artifacts[0].metadata)
