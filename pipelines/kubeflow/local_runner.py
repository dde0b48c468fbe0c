"""Compiles the pipeline of a configuration for Kubeflow, and runs it on this machine as KFP's launcher would."""

import dataclasses
from collections.abc import Sequence

from tfx_pruning.pipelines.beam_args import IN_PROCESS
from tfx_pruning.pipelines.budget_pipeline import BUDGET
from tfx_pruning.pipelines.config import TAXI_MODULE_FILE, TAXI_MODULE_PATH, PipelineConfig
from tfx_pruning.pipelines.kubeflow.backend import Backend
from tfx_pruning.pipelines.kubeflow.local.container_engine import ContainerEngine
from tfx_pruning.pipelines.kubeflow.local.launch import Launch
from tfx_pruning.pipelines.kubeflow.local.pipeline_file import PipelineFile
from tfx_pruning.pipelines.kubeflow.local.shared_folder import make_folder
from tfx_pruning.pipelines.kubeflow.runner import compile_pipeline, kubeflow_name
from tfx_pruning.pipelines.pipeline import create_pipeline
from tfx_pruning.pipelines.run.budget_rounds import read_budget_sweep
from tfx_pruning.pipelines.run.folder import RunFolder
from tfx_pruning.pipelines.run.latency import measured_latency
from tfx_pruning.pipelines.run.outcome import RunOutcome, run_document
from tfx_pruning.pipelines.run.page_file import PageFile
from tfx_pruning.pipelines.task_state import OnTask


def run(
    config: PipelineConfig,
    folder: RunFolder,
    on_task: OnTask,
    engine: ContainerEngine,
    image: str,
    beam_pipeline_args: Sequence[str] = IN_PROCESS,
) -> RunOutcome:
    """Compiles the pipeline for the open-source backend to `pipeline.yaml`, runs it, and writes the page on the run.

    Args:
        config: What to run. The name is made one that Kubeflow takes; it starts from no earlier model. With a budget
            there is one training that prunes.
        folder: An existing folder, for the compiled file and the page.
        on_task: Called with a task's name and None when it begins, and with its state when it has ended.
        engine: What runs the tasks.
        image: Image of every task.
        beam_pipeline_args: Arguments of the components that run on Beam.

    Returns:
        The outcome of the run.

    Raises:
        ValueError: The pipeline cannot be built or compiled.
        TaskFailedError: A task failed.
    """
    config = dataclasses.replace(config, pipeline_name=kubeflow_name(config.pipeline_name), warm_start=False)
    if config.module_file == TAXI_MODULE_FILE and not config.module_path:
        # The package of every task holds it; of a file, each task would install a wheel.
        config = dataclasses.replace(config, module_path=TAXI_MODULE_PATH)
    pipeline = create_pipeline(config, None, beam_pipeline_args, runtime_parameters=True)
    make_folder(folder.artifacts)
    path = folder.root / "pipeline.yaml"
    compile_pipeline(pipeline, str(path), image)
    launch = Launch(PipelineFile.read(path), folder.artifacts, {}, engine, Backend.KUBEFLOW, on_task)
    launch.run()
    if config.budget is None:
        candidate, sweep = "", None
    else:
        sweep = read_budget_sweep(launch, config, {BUDGET: 1})
        candidate = sweep.nearest.name
    latency = measured_latency(launch, candidate)
    page = PageFile.write(folder.report, lambda: run_document(launch, candidate, latency, sweep))
    return RunOutcome.of(launch, page, latency, candidate, sweep)
