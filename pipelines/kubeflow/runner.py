"""Compiles a pruning pipeline for Kubeflow: `python -m tfx_pruning.pipelines.kubeflow.runner --help`.

What it writes is a pipeline of KFP v2, which `kfp.Client` and the console take. Nothing runs.
"""

import argparse
import dataclasses
import importlib.metadata
import pathlib
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import kfp.compiler.pipeline_spec_builder as kfp_builder
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx import v1 as tfx
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.resolver import RESOLVER_STRATEGY_CLASS
from tfx.orchestration.data_types import RuntimeParameter

from tfx_pruning.budget import FORMATS
from tfx_pruning.pipelines.beam_args import IN_PROCESS
from tfx_pruning.pipelines.config import DATA_FORMATS, DIRECTIONS, TAXI_MODULE_PATH, PipelineConfig
from tfx_pruning.pipelines.kubeflow.backend import Backend
from tfx_pruning.pipelines.kubeflow.resources import TaskResources, cores, gigabytes
from tfx_pruning.pipelines.pipeline import create_pipeline

EXIT_FAILED = 1
TRAINING = ("Trainer", "PruningTrainer")
# What times models, if a budget has a latency.
TIMING = ("BudgetSearch", "BudgetCheck")

_COMMAND = ["python", "-m", "tfx_pruning.pipelines.kubeflow.entrypoint"]
_KUBERNETES = "kubernetes"
_DESCRIPTION = "Train, prune, strip, evaluate and push a model."
# What TFX compiles for Vertex AI.
_VERTEX_STRATEGIES = (
    tfx.dsl.experimental.LatestArtifactStrategy,
    tfx.dsl.experimental.LatestBlessedModelStrategy,
)
_FIELDS = {field.name for field in dataclasses.fields(PipelineConfig)}


def compile_pipeline(
    pipeline: tfx.dsl.Pipeline,
    output: str,
    image: str,
    backend: Backend = Backend.KUBEFLOW,
    resources: Mapping[str, TaskResources] | None = None,
) -> None:
    """Compiles any TFX pipeline to a YAML file of KFP v2.

    TFX's KubeflowV2DagRunner does most of the work. This adds what it leaves out: defaults of RuntimeParameters,
    resources of file-based ExampleGens, node selectors. For the open-source backend it removes what only Vertex AI
    supports: the driver of ExampleGens and, with it, their cache, which would not notice changed data.

    Args:
        pipeline: The pipeline. Its name must hold lower-case letters, digits and hyphens only.
        output: Path of the file, ending in .yaml. What was there is replaced once the compilation is complete.
        image: Container image of every task; it must have this package.
        backend: Who is to run it.
        resources: Resources by component id; components that are not named have none.

    Raises:
        ValueError: `output` has another ending, a component id is not in the pipeline, a file beside a `module_file`
            has the name of a library, or the backend does not support a part of it: Resolvers on KUBEFLOW, node
            selectors and Resolvers with strategies of one's own on VERTEX.
        OSError: `output` cannot be written.
    """
    resources = resources or {}
    components = {node.id: node for node in pipeline.components}
    _check_compilable(pipeline, output, image, backend, resources)
    for component_id, of_task in resources.items():
        components[component_id].with_platform_config(_resource_spec(of_task))

    runner = tfx.orchestration.experimental.KubeflowV2DagRunner(
        tfx.orchestration.experimental.KubeflowV2DagRunnerConfig(
            default_image=image, default_commands=_COMMAND, use_pipeline_spec_2_1=True
        )
    )
    job = runner.run(pipeline, write_out=False)
    spec = json_format.ParseDict(job["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())
    spec.default_pipeline_root = str(pipeline.pipeline_info.pipeline_root)
    _set_defaults(spec, pipeline)
    _set_executors(spec, components, backend)
    _write(spec, _platform_spec(spec, resources), output)


def kubeflow_name(pipeline_name: str) -> str:
    """The name as Kubeflow takes it: 'chicago_taxi_pruning' is 'chicago-taxi-pruning'.

    Raises:
        ValueError: It has neither letters from a to z nor digits.
    """
    name = re.sub(r"[^a-z0-9]+", "-", pipeline_name.lower()).strip("-")
    if not name:
        raise ValueError(
            f"pipeline_name must have a letter from a to z or a digit for Kubeflow, got {pipeline_name!r}."
        )
    return name


def main(argv: Sequence[str] | None = None) -> int:
    """Compiles the pipeline of a configuration file or of flags.

    Args:
        argv: Command line arguments; None for those of the process.

    Returns:
        0, or EXIT_FAILED after an error.
    """
    arguments = _parser().parse_args(argv)
    try:
        every = TaskResources(
            cpu_request=arguments.cpu_request,
            cpu_limit=arguments.cpu_limit,
            memory_request=arguments.memory_request,
            memory_limit=arguments.memory_limit,
        )
        training = _training_resources(every, arguments)
        config = _config(arguments)
        pipeline = create_pipeline(config, None, IN_PROCESS, runtime_parameters=True)
        timing = _timing_resources(every, config)
        of_kind = dict.fromkeys(TRAINING, training) | dict.fromkeys(TIMING, timing)
        resources = {
            node.id: of_kind.get(node.id.partition(".")[0], every)
            for node in pipeline.components
            if isinstance(node, BaseComponent)
        }
        compile_pipeline(pipeline, arguments.output, arguments.image, Backend.of(arguments.backend), resources)
    except (ValueError, TypeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    print(f"{pipeline.pipeline_info.pipeline_name}: {arguments.output}")
    return 0


def _check_compilable(
    pipeline: tfx.dsl.Pipeline, output: str, image: str, backend: Backend, resources: Mapping[str, TaskResources]
) -> None:
    if not output.endswith((".yaml", ".yml")):
        raise ValueError(f"output must end in .yaml, got {output!r}: kfp loads no other file.")
    if not image:
        raise ValueError("image must be the name of an image, got '': name one that holds this package.")
    ids = [node.id for node in pipeline.components]
    for component_id, of_task in resources.items():
        if component_id not in ids:
            raise ValueError(f"resources: the pipeline has no component {component_id!r}, but {', '.join(ids)}.")
        if backend is Backend.VERTEX and of_task.node_selector:
            raise ValueError(f"{component_id}: Vertex AI has no node selector; name the accelerator's type instead.")
    for node in pipeline.components:
        if isinstance(node, tfx.dsl.Resolver):
            _check_resolver(node, backend)
        module_file = node.exec_properties.get("module_file")
        if isinstance(module_file, str) and "://" not in module_file:
            _check_hides_no_library(node.id, pathlib.Path(module_file))


def _check_hides_no_library(component_id: str, module_file: pathlib.Path) -> None:
    """Raises a ValueError if a library is named as a file beside the module.

    TFX packs all of them into the module's wheel, and has its folder before Python's own in the processes that a task
    starts, such as pip, which then fail with errors that name no file of the user's.
    """
    libraries = {*sys.stdlib_module_names, *importlib.metadata.packages_distributions()}
    hidden = sorted(file.name for file in module_file.parent.glob("*.py") if file.stem in libraries)
    if hidden:
        raise ValueError(
            f"{component_id}: {', '.join(hidden)} beside {module_file.name} in {module_file.parent} "
            f"{'has the name of a library' if len(hidden) == 1 else 'have names of libraries'}, which each task would "
            "take it for. Rename it, move the module to a folder of its own, or put the module into the image and name "
            "it with module_path (--module)."
        )


def _check_resolver(resolver: tfx.dsl.Resolver, backend: Backend) -> None:
    if backend is Backend.KUBEFLOW:
        raise ValueError(
            f"{resolver.id}: the open-source backend has no Resolver. Leave it out (warm_start=False of "
            "PipelineConfig), import the artifact by its URI, or compile for Vertex AI."
        )
    strategy = resolver.exec_properties.get(RESOLVER_STRATEGY_CLASS)
    if strategy not in _VERTEX_STRATEGIES:
        raise ValueError(
            f"{resolver.id}: Vertex AI has no Resolver with {getattr(strategy, '__name__', strategy)}, but with "
            f"{' and '.join(each.__name__ for each in _VERTEX_STRATEGIES)}. Leave it out (warm_start=False of "
            "PipelineConfig), or import the artifact by its URI."
        )


def _resource_spec(
    resources: TaskResources,
) -> pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec:
    """Quantities in both forms of KFP, as KFP's own compiler writes them."""
    spec = pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec(
        resource_cpu_request=resources.cpu_request,
        resource_cpu_limit=resources.cpu_limit,
        resource_memory_request=resources.memory_request,
        resource_memory_limit=resources.memory_limit,
        cpu_request=cores("cpu_request", resources.cpu_request),
        cpu_limit=cores("cpu_limit", resources.cpu_limit),
        memory_request=gigabytes("memory_request", resources.memory_request),
        memory_limit=gigabytes("memory_limit", resources.memory_limit),
    )
    if resources.accelerator_count:
        spec.accelerator.type = spec.accelerator.resource_type = resources.accelerator_type
        spec.accelerator.count = resources.accelerator_count
        spec.accelerator.resource_count = str(resources.accelerator_count)
    return spec


def _set_defaults(spec: pipeline_spec_pb2.PipelineSpec, pipeline: tfx.dsl.Pipeline) -> None:
    """Gives the pipeline's parameters the defaults of its RuntimeParameters, which TFX's compiler drops."""
    for node in pipeline.components:
        for value in node.exec_properties.values():
            if isinstance(value, RuntimeParameter) and value.default is not None:
                parameter = spec.root.input_definitions.parameters[value.name]
                json_format.ParseDict(value.default, parameter.default_value)
                parameter.is_optional = True
                parameter.description = value.description or ""


def _set_executors(spec: pipeline_spec_pb2.PipelineSpec, components: Mapping[str, BaseNode], backend: Backend) -> None:
    deployment = json_format.ParseDict(
        json_format.MessageToDict(spec.deployment_spec), pipeline_spec_pb2.PipelineDeploymentConfig()
    )
    for component_id, component in components.items():
        executor = deployment.executors.get(f"{component_id}_executor")
        if executor is None or not executor.HasField("container"):
            continue
        container = executor.container
        if component.platform_config:
            container.resources.CopyFrom(component.platform_config)
        if backend is Backend.KUBEFLOW and container.HasField("lifecycle"):
            container.ClearField("lifecycle")
            spec.root.dag.tasks[component_id].ClearField("caching_options")
    spec.deployment_spec.Clear()
    spec.deployment_spec.update(json_format.MessageToDict(deployment))


def _platform_spec(
    spec: pipeline_spec_pb2.PipelineSpec, resources: Mapping[str, TaskResources]
) -> pipeline_spec_pb2.PlatformSpec:
    """The part of the file that is for Kubernetes alone: node selectors."""
    platform = pipeline_spec_pb2.PlatformSpec()
    for component_id, of_task in resources.items():
        if of_task.node_selector:
            label = spec.components[component_id].executor_label
            executors = platform.platforms[_KUBERNETES].deployment_spec.executors
            executors[label].update({"nodeSelector": {"labels": dict(of_task.node_selector)}})
    return platform


def _write(spec: pipeline_spec_pb2.PipelineSpec, platform: pipeline_spec_pb2.PlatformSpec, output: str) -> None:
    path = pathlib.Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        whole = pathlib.Path(folder) / "pipeline.yaml"
        kfp_builder.write_pipeline_spec_to_file(spec, _DESCRIPTION, platform, str(whole))
        whole.replace(path)


def _training_resources(every: TaskResources, arguments: argparse.Namespace) -> TaskResources:
    """Resources of the training tasks: those of every task, and an accelerator and node selector."""
    kind, _, count = arguments.accelerator.partition("=")
    if arguments.accelerator and not (kind and count.isdigit()):
        raise ValueError(f"--accelerator must be TYPE=COUNT such as nvidia.com/gpu=1, got {arguments.accelerator!r}.")
    selector = []
    for pair in arguments.node_selector:
        label, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"--node-selector must be LABEL=VALUE, got {pair!r}.")
        selector.append((label, value))
    return TaskResources(
        cpu_request=every.cpu_request,
        cpu_limit=every.cpu_limit,
        memory_request=every.memory_request,
        memory_limit=every.memory_limit,
        accelerator_type=kind,
        accelerator_count=int(count or 0),
        node_selector=tuple(selector),
    )


def _timing_resources(every: TaskResources, config: PipelineConfig) -> TaskResources:
    """Resources of the tasks that time models: the cores that a call may take, unless every task is promised others."""
    if config.max_latency is None or every.cpu_request or every.cpu_limit:
        return every
    return dataclasses.replace(every, cpu_request=str(config.threads), cpu_limit=str(config.threads))


def _config(arguments: argparse.Namespace) -> PipelineConfig:
    values = PipelineConfig.file_values(arguments.config) if arguments.config else {}
    # Fields whose flags were given.
    values |= {name: value for name, value in vars(arguments).items() if name in _FIELDS and value is not None}
    if arguments.hparams is not None:
        values = PipelineConfig.with_hparams(values, arguments.hparams)
    if arguments.no_cache:
        values["enable_cache"] = False
    if not (values.get("module_path") or values.get("module_file")):
        values["module_path"] = TAXI_MODULE_PATH
    values.setdefault("serving_dir", f"{str(values.get('pipeline_root')).rstrip('/')}/serving")
    config = PipelineConfig.from_values(values | {"warm_start": False})
    return dataclasses.replace(config, pipeline_name=kubeflow_name(config.pipeline_name))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tfx_pruning.pipelines.kubeflow.runner",
        description="Compiles the pipeline of a configuration file, or of the taxi example, for Kubeflow Pipelines "
        "(KFP v2).",
        epilog="Data, steps, hyperparameters, thresholds and the place to push to are defaults, which every run may "
        "set anew by the parameters data_root, train_args, pruning_args, eval_args, hparams, eval_config, "
        "push_destination and, of a budget, max_bytes and max_latency. Flags have precedence over the file. "
        f"Exit status: 0 compiled, {EXIT_FAILED} failed, 2 wrong arguments.",
    )
    add = parser.add_argument

    def add_field(name: str, help: str, **attributes: Any) -> None:
        """Adds the flag of a field of PipelineConfig, whose default ends the help."""
        default = getattr(PipelineConfig, name)
        add(f"--{name.replace('_', '-')}", help=f"{help} (default: {default})", **attributes)

    add("--output", required=True, help="file to write, .yaml")
    add("--image", required=True, help="image of every task, with this package in it")
    add("--config", help="YAML or JSON file with fields of PipelineConfig")
    add("--pipeline-root", help="where runs write their artifacts: a URI that tasks can write to")
    add("--data-root", help="folder of the data, as tasks see it")
    add_field("data_format", "what is in it", choices=DATA_FORMATS)
    add("--serving-dir", help="where models are pushed to (default: PIPELINE_ROOT/serving)")
    add(
        "--backend",
        choices=[one.value for one in Backend],
        default=Backend.KUBEFLOW.value,
        help="open-source Kubeflow Pipelines, or Vertex AI (default: %(default)s)",
    )
    add("--pipeline-name", help="name of the pipeline (default: the module's, or chicago-taxi-pruning)")
    add(
        "--module",
        dest="module_path",
        help=f"module in the image with preprocessing_fn and run_fn (default: {TAXI_MODULE_PATH})",
    )
    add("--label-key", help="label, as the evaluator sees it")
    add_field("metric", "class of the metric that decides")
    add_field("metric_direction", "which values of it are better", choices=DIRECTIONS)
    add("--min-metric", type=float, help="least value of it to be pushed with")
    add("--max-metric", type=float, help="largest value, if lower ones are better")
    add_field("max_metric_drop", "most that it may be worse than the dense model's", type=float)
    add_field("train_steps", "steps of dense training", type=int)
    add_field("pruning_steps", "steps while pruning", type=int)
    add("--max-bytes", help="most that the pushed model may take, such as 1MB")
    add(
        "--max-latency",
        help="longest that a call of it may take, such as 2ms; the tasks that time it get --threads cores",
    )
    add_field("format", "what that is for", choices=FORMATS)
    add_field("batch_size", "examples of a call", type=int)
    add_field("threads", "threads of a call", type=int)
    add("--hparams", help="fields of PruningHParams, such as target_sparsity=0.9,allocation=uniform")
    add("--cpu-request", default="", help="cores that each task is promised, such as 2 or 500m")
    add("--cpu-limit", default="", help="cores that each task may take")
    add("--memory-request", default="", help="memory that each task is promised, such as 4Gi")
    add("--memory-limit", default="", help="memory that each task may take")
    add("--accelerator", default="", help="of the two training tasks, TYPE=COUNT such as nvidia.com/gpu=1")
    add("--node-selector", action="append", default=[], help="of the two training tasks, LABEL=VALUE; repeatable")
    add("--no-cache", action="store_true", help="run tasks whose inputs have not changed too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
