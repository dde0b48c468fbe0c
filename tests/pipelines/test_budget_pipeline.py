"""The pipeline of a budget: its nodes, for this machine and for Kubeflow."""

import dataclasses

import pytest
import yaml
from tfx import v1 as tfx

from tfx_pruning import PruningHParams
from tfx_pruning.pipelines.budget_pipeline import create_budget_pipeline
from tfx_pruning.pipelines.config import TAXI_MODULE_PATH, PipelineConfig
from tfx_pruning.pipelines.kubeflow import runner
from tfx_pruning.pipelines.pipeline import create_pipeline

CONFIG = PipelineConfig(
    pipeline_root="artifacts",
    data_root="data",
    serving_dir="serving",
    module_path=TAXI_MODULE_PATH,
    max_bytes="250kB",
    max_latency="2ms",
    threads=2,
    format="tflite",
)


@pytest.fixture(scope="module")
def nodes():
    """Of one way to prune with two trainings."""
    pipeline = create_budget_pipeline(CONFIG, {"budget": CONFIG.hparams}, {"budget": 2})
    return {node.id: node for node in pipeline.components}


def _producer(node, key):
    channel = node.inputs[key]
    return channel.producer_component_id, channel.output_key


def test_each_training_takes_the_sparsity_of_what_was_measured_before(nodes):
    assert _producer(nodes["BudgetSearch.budget"], "dense_model") == ("Stripper.dense", "model")
    first, second = nodes["PruningTrainer.budget_1"], nodes["PruningTrainer.budget_2"]
    assert _producer(first, "hyperparameters") == ("BudgetSearch.budget", "hyperparameters")
    assert _producer(second, "hyperparameters") == ("BudgetCheck.budget_1", "next_hyperparameters")
    for number in (1, 2):
        check = nodes[f"BudgetCheck.budget_{number}"]
        assert _producer(check, "model") == (f"Stripper.budget_{number}", "model")
        assert _producer(check, "hyperparameters") == _producer(
            nodes[f"PruningTrainer.budget_{number}"], "hyperparameters"
        )
        assert _producer(nodes["SparsitySelector"], f"check_budget_{number}") == (check.id, "report")
        stripper = nodes[f"Stripper.budget_{number}"]
        assert (stripper.exec_properties["shrink"], stripper.exec_properties["export"]) == (1, '["tflite"]')
    assert not [node for node in nodes.values() if isinstance(node, tfx.dsl.Resolver)]


def test_search_has_the_budget_and_the_hyperparameters_of_the_training(nodes):
    asked = nodes["BudgetSearch.budget"].exec_properties
    assert {name: asked[name] for name in ("max_bytes", "max_latency", "format", "threads", "batch_size")} == {
        "max_bytes": "250000",
        "max_latency": "2.0",
        "format": "tflite",
        "threads": 2,
        "batch_size": 1,
    }
    hparams = PruningHParams.parse(asked["hparams"])
    assert (hparams.granularity, hparams.cost) == ("channel", "flops")
    assert nodes["PruningTrainer.budget_1"].exec_properties["hparams"] == asked["hparams"]


def test_what_the_selector_chose_is_pushed(nodes):
    assert _producer(nodes["Pusher"], "model") == ("SparsitySelector", "model")
    assert _producer(nodes["Pusher"], "model_blessing") == ("SparsitySelector", "blessing")


def test_further_trainings_leave_the_nodes_before_them_as_they_are(nodes):
    alone = create_budget_pipeline(CONFIG, {"budget": CONFIG.hparams}, {}, select=False).components
    assert "SparsitySelector" not in {node.id for node in alone}
    for node in alone:
        assert node.exec_properties == nodes[node.id].exec_properties, node.id
        assert {key: _producer(node, key) for key in node.inputs} == {
            key: _producer(nodes[node.id], key) for key in nodes[node.id].inputs
        }, node.id


def test_a_configuration_with_a_budget_makes_this_pipeline():
    ids = {node.id for node in create_pipeline(CONFIG).components}
    assert {"BudgetSearch.budget", "BudgetCheck.budget_1", "SparsitySelector"} <= ids
    assert not {"PruningTrainer", "BudgetCheck.budget_2"} & ids
    without = dataclasses.replace(CONFIG, max_bytes=None, max_latency=None, format="savedmodel")
    assert "PruningTrainer" in {node.id for node in create_pipeline(without).components}
    with pytest.raises(ValueError, match="config has no budget"):
        create_budget_pipeline(without, {}, {})


def test_compiles_for_kubeflow_with_cores_for_the_nodes_that_time(tmp_path):
    file = tmp_path / "pipeline.yaml"
    arguments = ["--output", str(file), "--image", "i", "--pipeline-root", "gs://b/root", "--data-root", "gs://b/data"]
    budget = ["--max-bytes", "1MB", "--max-latency", "2ms", "--threads", "4"]
    assert runner.main([*arguments, *budget, "--accelerator", "nvidia.com/gpu=1"]) == 0
    with file.open(encoding="utf-8") as stream:
        spec = next(yaml.safe_load_all(stream))
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert (parameters["max_bytes"]["defaultValue"], parameters["max_latency"]["defaultValue"]) == ("1000000", "2.0")
    executors = spec["deploymentSpec"]["executors"]
    for task in ("BudgetSearch.budget", "BudgetCheck.budget_1"):
        resources = executors[f"{task}_executor"]["container"]["resources"]
        assert (resources["cpuRequest"], resources["cpuLimit"]) == (4.0, 4.0), task
    training = executors["PruningTrainer.budget_1_executor"]["container"]["resources"]
    assert training["accelerator"]["type"] == "nvidia.com/gpu"
    assert "cpuLimit" not in training
