import json
import pathlib
import re
from typing import Any

import kfp
import kfp.components
import pytest
import yaml
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx import v1 as tfx
from tfx.utils import import_utils

from helpers.pipeline_nodes import NODES
from tfx_pruning import PostTrainingPruner, PruningHParams, PruningReport, PruningTrainer, Stripper
from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.kubeflow import runner
from tfx_pruning.pipelines.kubeflow.backend import Backend
from tfx_pruning.pipelines.kubeflow.local.condition import holds
from tfx_pruning.pipelines.kubeflow.resources import TaskResources
from tfx_pruning.pipelines.pipeline import create_pipeline

ROOT = pathlib.Path(__file__).parents[3]
ResourceSpec = pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec
COMPONENTS = set(NODES)
TRAINING = {"Trainer", "PruningTrainer"}
PATHS = ["--image", "registry/tfx-pruning:1", "--pipeline-root", "gs://bucket/root", "--data-root", "gs://bucket/data"]


class Compiled:
    """The documents of a compiled file."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        with path.open(encoding="utf-8") as file:
            self.spec, *self.others = yaml.safe_load_all(file)
        self.tasks = self.spec["root"]["dag"]["tasks"]

    def container(self, task: str) -> dict[str, Any]:
        """The container of a task."""
        return self.spec["deploymentSpec"]["executors"][f"{task}_executor"]["container"]

    def parameter(self, task: str, name: str) -> dict[str, Any]:
        """Where a task has a parameter from."""
        return self.tasks[task]["inputs"]["parameters"][name]


def _main(folder: pathlib.Path, *arguments: str) -> Compiled:
    path = folder / "pipeline.yaml"
    assert runner.main(["--output", str(path), *PATHS, *arguments]) == 0
    return Compiled(path)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """The taxi pipeline for the open-source backend."""
    return _main(
        tmp_path_factory.mktemp("compiled"),
        *["--train-steps", "11", "--pruning-steps", "70", "--hparams", "target_sparsity=0.75", "--min-metric", "0.7"],
        *["--cpu-request", "500m", "--cpu-limit", "2", "--memory-request", "2Gi", "--memory-limit", "4Gi"],
        *["--accelerator", "nvidia.com/gpu=2", "--node-selector", "pool=gpu", "--node-selector", "zone=a"],
    )


@pytest.fixture(scope="module")
def vertex(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """The taxi pipeline for Vertex AI, with a teacher."""
    return _main(tmp_path_factory.mktemp("vertex"), "--backend", "vertex", "--hparams", "distill_weight=0.5")


def test_every_component_is_a_task_of_the_image_and_of_our_entrypoint(compiled: Compiled) -> None:
    assert set(compiled.tasks) == COMPONENTS
    for task in COMPONENTS:
        container = compiled.container(task)
        assert container["image"] == "registry/tfx-pruning:1"
        assert container["command"] == ["python", "-m", "tfx_pruning.pipelines.kubeflow.entrypoint"]
        assert container["args"][2:5] == [
            "--json_serialized_invocation_args",
            "{{$}}",
            "--json_serialized_inputs_spec_args",
        ]
    executors = {task: compiled.container(task)["args"][1] for task in ("PruningTrainer", "Stripper")}
    assert executors == {
        "PruningTrainer": "tfx_pruning.pruning_trainer.executor.Executor",
        "Stripper": "tfx_pruning.stripper.executor.Executor",
    }


def test_kfp_loads_it_with_every_parameter_and_its_default(compiled: Compiled) -> None:
    component = kfp.components.load_component_from_file(str(compiled.path))
    assert component.name == "chicago-taxi-pruning"
    inputs = component.component_spec.inputs
    assert all(of_input.type == "String" and of_input.optional for of_input in inputs.values())
    assert all(spec["isOptional"] for spec in compiled.spec["root"]["inputDefinitions"]["parameters"].values())
    defaults = {name: of_input.default for name, of_input in inputs.items()}
    assert defaults.pop("data_root") == "gs://bucket/data"
    expected = PipelineConfig(
        pipeline_root="x", data_root="x", serving_dir="x", pruning_steps=70, pruning={"target_sparsity": 0.75}
    ).hparams
    assert PruningHParams.parse(defaults.pop("hparams")) == expected
    protos = {name: json.loads(value) for name, value in defaults.items()}
    (metrics,) = protos.pop("eval_config")["metrics_specs"]
    assert metrics["metrics"][0]["threshold"]["value_threshold"] == {"lower_bound": 0.7}
    assert protos == {
        "train_args": {"num_steps": 11},
        "pruning_args": {"num_steps": 70},
        "eval_args": {"num_steps": 20},
        "push_destination": {"filesystem": {"base_directory": "gs://bucket/root/serving"}},
    }


def test_own_data_are_compiled_from_the_settings_of_a_file(tmp_path: pathlib.Path) -> None:
    settings = tmp_path / "houses.yaml"
    settings.write_text(
        """\
module_path: houses
label_key: price
preprocessing_signature: ''
data_format: tfrecord
metric: MeanSquaredError
metric_direction: lower
max_metric_drop: 20
train_steps: 5
pruning_steps: 60
pruning: {target_sparsity: 0.5, exclude: [head]}
""",
        encoding="utf-8",
    )
    compiled = _main(tmp_path, "--config", str(settings), "--train-steps", "7", "--hparams", "target_sparsity=0.75")
    assert compiled.spec["pipelineInfo"]["name"] == "houses-pruning"
    assert set(compiled.tasks) == COMPONENTS - {"CsvExampleGen"} | {"ImportExampleGen"}
    assert compiled.parameter("ImportExampleGen", "input_base") == {"componentInputParameter": "data_root"}
    assert "lifecycle" not in compiled.container("ImportExampleGen")
    assert compiled.parameter("Trainer", "run_fn") == {"runtimeValue": {"constant": "houses.run_fn"}}
    parameters = compiled.spec["root"]["inputDefinitions"]["parameters"]
    defaults = {name: parameter["defaultValue"] for name, parameter in parameters.items()}
    assert json.loads(defaults["train_args"]) == {"num_steps": 7}
    hparams = PruningHParams.for_steps(60, target_sparsity=0.75, exclude=["head"])
    assert PruningHParams.parse(defaults["hparams"]) == hparams
    (model,) = json.loads(defaults["eval_config"])["model_specs"]
    assert model == {"signature_name": "serving_default", "label_key": "price"}


@pytest.mark.parametrize(
    ("name", "expected"), [("chicago_taxi_pruning", "chicago-taxi-pruning"), ("My Houses (2)", "my-houses-2")]
)
def test_name_for_kubeflow(name: str, expected: str) -> None:
    assert runner.kubeflow_name(name) == expected


def test_name_without_anything_for_kubeflow_is_refused() -> None:
    with pytest.raises(
        ValueError, match="pipeline_name must have a letter from a to z or a digit for Kubeflow, got '__'"
    ):
        runner.kubeflow_name("__")


def test_docs_submit_with_parameters_that_the_file_has(compiled: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted = {}

    class Client:
        def __init__(self, host: str) -> None:
            self.host = host

        def create_run_from_pipeline_package(self, pipeline_file: str, arguments: dict[str, str]) -> None:
            submitted.update(arguments)

    monkeypatch.setattr(kfp, "Client", Client)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "kubeflow.md").read_text(encoding="utf-8"), re.DOTALL)
    exec(code, {})
    inputs = kfp.components.load_component_from_file(str(compiled.path)).component_spec.inputs
    assert set(submitted) <= set(inputs)
    hparams = PruningHParams.parse(submitted["hparams"])
    assert (hparams.target_sparsity, hparams.target_step) == (0.95, 1200)
    assert json.loads(submitted["pruning_args"]) == {"num_steps": 2000}


@pytest.mark.parametrize(
    ("task", "name", "parameter"),
    [
        ("CsvExampleGen", "input_base", "data_root"),
        ("Trainer", "train_args", "train_args"),
        ("Trainer", "eval_args", "eval_args"),
        ("PruningTrainer", "train_args", "pruning_args"),
        ("PruningTrainer", "eval_args", "eval_args"),
        ("PruningTrainer", "hparams", "hparams"),
        ("Evaluator", "eval_config", "eval_config"),
        ("Pusher", "push_destination", "push_destination"),
    ],
)
def test_tasks_take_the_parameters_of_the_run(compiled: Compiled, task: str, name: str, parameter: str) -> None:
    assert compiled.parameter(task, name) == {"componentInputParameter": parameter}


def test_user_code_is_that_of_the_image(compiled: Compiled) -> None:
    module = "tfx_pruning.pipelines.modules.taxi"
    for task, function in (("Transform", "preprocessing_fn"), ("Trainer", "run_fn"), ("PruningTrainer", "run_fn")):
        assert compiled.parameter(task, function) == {"runtimeValue": {"constant": f"{module}.{function}"}}
        assert not {"module_file", "module_path"} & set(compiled.tasks[task]["inputs"]["parameters"])


def test_every_task_has_resources_and_training_an_accelerator(compiled: Compiled) -> None:
    expected = {
        "resourceCpuRequest": "500m",
        "resourceCpuLimit": "2",
        "resourceMemoryRequest": "2Gi",
        "resourceMemoryLimit": "4Gi",
        "cpuRequest": 0.5,
        "cpuLimit": 2.0,
        "memoryRequest": 2.147483648,
        "memoryLimit": 4.294967296,
    }
    accelerator = {"type": "nvidia.com/gpu", "resourceType": "nvidia.com/gpu", "count": "2", "resourceCount": "2"}
    for task in COMPONENTS:
        with_accelerator = {"accelerator": accelerator} if task in TRAINING else {}
        assert compiled.container(task)["resources"] == expected | with_accelerator


def test_node_selector_is_of_the_training_tasks(compiled: Compiled) -> None:
    selector = {"nodeSelector": {"labels": {"pool": "gpu", "zone": "a"}}}
    executors = {compiled.spec["components"][task]["executorLabel"]: selector for task in TRAINING}
    assert compiled.others == [{"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}]


def test_open_source_backend_gets_what_it_has(compiled: Compiled) -> None:
    assert all("container" in executor for executor in compiled.spec["deploymentSpec"]["executors"].values())
    assert "lifecycle" not in compiled.container("CsvExampleGen")
    # Nobody would see that the data changed.
    cached = {task for task in COMPONENTS if "cachingOptions" in compiled.tasks[task]}
    assert cached == COMPONENTS - {"CsvExampleGen"}
    assert compiled.spec["schemaVersion"] == "2.1.0"
    assert compiled.spec["defaultPipelineRoot"] == "gs://bucket/root"


def test_vertex_gets_the_driver_and_a_dense_training_that_starts_from_no_model(vertex: Compiled) -> None:
    assert set(vertex.tasks) == COMPONENTS
    assert "base_model" not in vertex.tasks["Trainer"]["inputs"]["artifacts"]
    driver = vertex.container("CsvExampleGen")["lifecycle"]["preCacheCheck"]["command"]
    assert driver[-1] == "tfx.orchestration.kubeflow.v2.file_based_example_gen.driver"
    assert vertex.tasks["CsvExampleGen"]["cachingOptions"] == {"enableCache": True}
    assert vertex.others == []
    kfp.components.load_component_from_file(str(vertex.path))


def test_teacher_is_the_dense_model_if_the_hyperparameters_have_a_share_for_it(
    vertex: Compiled, compiled: Compiled
) -> None:
    teacher = vertex.tasks["PruningTrainer"]["inputs"]["artifacts"]["teacher"]
    assert teacher == {"taskOutputArtifact": {"producerTask": "Trainer", "outputArtifactKey": "model"}}
    assert "teacher" not in compiled.tasks["PruningTrainer"]["inputs"]["artifacts"]


def test_artifact_types_are_tfx_own_or_reports(compiled: Compiled) -> None:
    schemas = [
        yaml.safe_load(artifact["artifactType"]["instanceSchema"])
        for component in compiled.spec["components"].values()
        for direction in ("inputDefinitions", "outputDefinitions")
        for artifact in component.get(direction, {}).get("artifacts", {}).values()
    ]
    others = [schema["title"] for schema in schemas if not schema["title"].startswith("tfx.")]
    assert len(schemas) > len(others)
    assert others == ["tfx_pruning.PruningReport"] * 2
    assert import_utils.import_class_by_path(others[0]) is PruningReport


def test_no_cache_is_for_every_task(tmp_path: pathlib.Path) -> None:
    tasks = _main(tmp_path, "--no-cache", "--backend", "vertex").tasks
    assert not any("cachingOptions" in task for task in tasks.values())


def _small_pipeline(*, condition: bool = False) -> tfx.dsl.Pipeline:
    """Our components with an id, resources and a RuntimeParameter each; a Stripper on a condition."""
    gen = tfx.components.CsvExampleGen(input_base="data")
    trainer = PruningTrainer(
        run_fn="module.run_fn",
        examples=gen.outputs["examples"],
        hparams=tfx.dsl.experimental.RuntimeParameter("pruning", str, "target_sparsity=0.5"),
    ).with_id("MyTrainer")
    trainer = trainer.with_platform_config(ResourceSpec(cpu_limit=3.0, memory_limit=5.0))
    count = tfx.dsl.experimental.RuntimeParameter("count", int, 8)
    components = [gen, trainer]
    if condition:
        evaluator = tfx.components.Evaluator(examples=gen.outputs["examples"], model=trainer.outputs["model"])
        with tfx.dsl.Cond(evaluator.outputs["blessing"].future()[0].custom_property("blessed") == 1):
            stripper = Stripper(model=trainer.outputs["model"], num_examples=count).with_id("MyStripper")
        components.append(evaluator)
    else:
        stripper = Stripper(model=trainer.outputs["model"], num_examples=count).with_id("MyStripper")
    pruner = PostTrainingPruner(model=trainer.outputs["model"], hparams="target_sparsity=0.5", num_examples=count)
    components.append(pruner.with_id("MyPruner"))
    return tfx.dsl.Pipeline("small", "gs://bucket/root", components=[*components, stripper])


def test_ids_platform_configs_and_runtime_parameters_of_our_components_are_compiled(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "small.yaml"
    runner.compile_pipeline(
        _small_pipeline(), str(path), "image", resources={"MyStripper": TaskResources(memory_limit="1G")}
    )
    compiled = Compiled(path)
    assert set(compiled.tasks) == {"CsvExampleGen", "MyTrainer", "MyPruner", "MyStripper"}
    arguments = compiled.container("MyPruner")["args"]
    assert arguments[arguments.index("--executor_class_path") + 1].startswith("tfx_pruning.post_training_pruner.")
    assert compiled.container("MyTrainer")["resources"] == {"cpuLimit": 3.0, "memoryLimit": 5.0}
    assert compiled.container("MyStripper")["resources"] == {"memoryLimit": 1.0, "resourceMemoryLimit": "1G"}
    assert "resources" not in compiled.container("CsvExampleGen")
    assert compiled.parameter("MyTrainer", "hparams") == {"componentInputParameter": "pruning"}
    for task in ("MyPruner", "MyStripper"):
        assert compiled.parameter(task, "num_examples") == {"componentInputParameter": "count"}
    inputs = kfp.components.load_component_from_file(str(path)).component_spec.inputs
    assert {name: (of_input.type, of_input.default) for name, of_input in inputs.items()} == {
        "pruning": ("String", "target_sparsity=0.5"),
        "count": ("Integer", 8),
    }


def test_condition_is_compiled_and_decided_by_the_blessing(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "small.yaml"
    runner.compile_pipeline(_small_pipeline(condition=True), str(path), "image")
    task = Compiled(path).tasks["MyStripper"]
    (key,) = set(task["inputs"]["artifacts"]) - {"trained_model"}
    for blessed in (1.0, 0.0):
        artifacts = {key: {"artifacts": [{"uri": "/blessing", "metadata": {"blessed": blessed}}]}}
        assert holds(task["triggerPolicy"]["condition"], {"inputs": {"artifacts": artifacts}}) is (blessed == 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "pipeline.json"], "output must end in .yaml, got 'pipeline.json': kfp loads no other file."),
        (["--image", ""], "image must be the name of an image, got '': name one that holds this package."),
        (["--hparams", "target_sparsity=1"], "target_sparsity must be in [0, 1), got 1.0."),
        (["--memory-limit", "4"], "memory_limit must be a positive amount of memory such as '4Gi' or '512M', got '4'."),
        (["--accelerator", "gpu"], "--accelerator must be TYPE=COUNT such as nvidia.com/gpu=1, got 'gpu'."),
        (["--node-selector", "pool"], "--node-selector must be LABEL=VALUE, got 'pool'."),
        (
            ["--backend", "vertex", "--node-selector", "pool=gpu"],
            "Trainer: Vertex AI has no node selector; name the accelerator's type instead.",
        ),
    ],
)
def test_wrong_argument_is_refused_and_nothing_is_written(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code = runner.main(["--output", "new/pipeline.yaml", *PATHS, *arguments])
    assert code == runner.EXIT_FAILED
    assert capsys.readouterr().err.endswith(f"error: {message}\n")
    assert list(tmp_path.iterdir()) == []


def test_output_that_cannot_be_written_is_refused(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    output = str(tmp_path / "file" / "pipeline.yaml")
    assert runner.main(["--output", output, *PATHS]) == runner.EXIT_FAILED
    assert "Not a directory" in capsys.readouterr().err or (tmp_path / "file").is_file()


@pytest.mark.parametrize(
    ("backend", "resources", "message"),
    [
        (Backend.KUBEFLOW, {"Trainer": TaskResources()}, "resources: the pipeline has no component 'Trainer', but Csv"),
        (Backend.KUBEFLOW, {}, "Resolver.latest_blessed_dense_model: the open-source backend has no Resolver"),
        (
            Backend.VERTEX,
            {},
            "Resolver.latest_blessed_dense_model: Vertex AI has no Resolver with LatestBlessedDenseModel, but with "
            "LatestArtifactStrategy and LatestBlessedModelStrategy.",
        ),
    ],
)
def test_pipeline_that_the_backend_cannot_run_is_refused(
    tmp_path: pathlib.Path, backend: Backend, resources: dict[str, TaskResources], message: str
) -> None:
    config = PipelineConfig(pipeline_root="root", data_root="data", serving_dir="serving", pipeline_name="taxi")
    pipeline = _small_pipeline() if resources else create_pipeline(config)
    with pytest.raises(ValueError, match=message):
        runner.compile_pipeline(pipeline, str(tmp_path / "pipeline.yaml"), "image", backend, resources)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("beside", "told"),
    [
        (["types.py"], r"types\.py beside houses\.py in .* has the name of a library, which each task"),
        (
            ["proto.py", "random.py", "mine.py"],
            r"proto\.py, random\.py beside houses\.py in .* have names of libraries, which",
        ),
    ],
)
def test_files_beside_the_module_that_would_hide_libraries_are_refused(
    tmp_path: pathlib.Path, beside: list[str], told: str
) -> None:
    for name in ["houses.py", *beside]:
        (tmp_path / name).touch()
    config = PipelineConfig(
        "root", "data", "serving", module_file=str(tmp_path / "houses.py"), label_key="price", warm_start=False
    )
    with pytest.raises(ValueError, match=told):
        runner.compile_pipeline(create_pipeline(config), str(tmp_path / "pipeline.yaml"), "image")
    assert not (tmp_path / "pipeline.yaml").exists()
