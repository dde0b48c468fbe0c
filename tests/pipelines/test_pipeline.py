import dataclasses
import json
import pathlib

import pytest
import tensorflow as tf
from tfx import v1 as tfx
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration.pipeline import RunOptions

from helpers import house_data
from tfx_pruning import PruningHParams
from tfx_pruning.pipelines.beam_args import IN_PROCESS
from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.nodes import CandidateNodes, DenseNodes, runtime_parameter
from tfx_pruning.pipelines.pipeline import create_pipeline

CONFIG = PipelineConfig(
    pipeline_root="artifacts", data_root="data", serving_dir="serving", train_steps=11, pruning_steps=70, eval_steps=5
)


@pytest.fixture(scope="module")
def nodes() -> dict[str, BaseNode]:
    return {node.id: node for node in create_pipeline(CONFIG).components}


def _producer(node: BaseNode, key: str) -> tuple[str, str]:
    channel = node.inputs[key]
    return channel.producer_component_id, channel.output_key


def test_components(nodes: dict[str, BaseNode]) -> None:
    assert set(nodes) == {
        "CsvExampleGen",
        "StatisticsGen",
        "SchemaGen",
        "ExampleValidator",
        "Transform",
        "Resolver.latest_blessed_dense_model",
        "Trainer",
        "PruningTrainer",
        "Stripper",
        "Evaluator",
        "Pusher",
    }


@pytest.mark.parametrize(
    ("node", "key", "producer"),
    [
        ("Trainer", "base_model", ("Resolver.latest_blessed_dense_model", "model")),
        ("Trainer", "examples", ("Transform", "transformed_examples")),
        ("PruningTrainer", "base_model", ("Trainer", "model")),
        ("PruningTrainer", "examples", ("Transform", "transformed_examples")),
        ("PruningTrainer", "transform_graph", ("Transform", "transform_graph")),
        ("Stripper", "trained_model", ("PruningTrainer", "model")),
        ("Stripper", "examples", ("CsvExampleGen", "examples")),
        ("Evaluator", "model", ("Stripper", "model")),
        ("Evaluator", "baseline_model", ("Trainer", "model")),
        ("Evaluator", "examples", ("CsvExampleGen", "examples")),
        ("Pusher", "model", ("Stripper", "model")),
        ("Pusher", "model_blessing", ("Evaluator", "blessing")),
    ],
)
def test_channel(nodes: dict[str, BaseNode], node: str, key: str, producer: tuple[str, str]) -> None:
    assert _producer(nodes[node], key) == producer


def test_trainers_share_the_module_file(nodes: dict[str, BaseNode]) -> None:
    for node in ("Transform", "Trainer", "PruningTrainer"):
        assert nodes[node].exec_properties["module_file"] == CONFIG.module_file


def test_steps_and_hparams_come_from_the_config(nodes: dict[str, BaseNode]) -> None:
    for node, steps in (("Trainer", 11), ("PruningTrainer", 70)):
        assert json.loads(nodes[node].exec_properties["train_args"]) == {"num_steps": steps}
        assert json.loads(nodes[node].exec_properties["eval_args"]) == {"num_steps": 5}
    hparams = PruningHParams.parse(nodes["PruningTrainer"].exec_properties["hparams"])
    assert hparams == CONFIG.hparams


def test_distill_weight_makes_the_dense_model_the_teacher(nodes: dict[str, BaseNode]) -> None:
    assert "teacher" not in nodes["PruningTrainer"].inputs
    config = dataclasses.replace(CONFIG, pruning={"distill_weight": 0.5})
    taught = {node.id: node for node in create_pipeline(config).components}["PruningTrainer"]
    assert _producer(taught, "teacher") == ("Trainer", "model")
    assert PruningHParams.parse(taught.exec_properties["hparams"]).distill_weight == 0.5


def test_executors_are_importable_by_their_paths(nodes: dict[str, BaseNode]) -> None:
    for node, package in (("PruningTrainer", "tfx_pruning.pruning_trainer"), ("Stripper", "tfx_pruning.stripper")):
        assert nodes[node].executor_spec.class_path == f"{package}.executor.Executor"
    assert nodes["Pusher"].executor_spec.class_path == "tfx_pruning.pipelines.pusher_executor.Executor"


def test_without_warm_start_there_is_no_resolver() -> None:
    config = dataclasses.replace(CONFIG, warm_start=False)
    nodes = {node.id: node for node in create_pipeline(config).components}
    assert not [node for node in nodes.values() if isinstance(node, tfx.dsl.Resolver)]
    assert "base_model" not in nodes["Trainer"].inputs
    assert _producer(nodes["PruningTrainer"], "base_model") == ("Trainer", "model")


def test_module_path_names_the_functions_of_an_installed_module() -> None:
    config = dataclasses.replace(CONFIG, module_path="package.taxi")
    nodes = {node.id: node for node in create_pipeline(config).components}
    assert nodes["Transform"].exec_properties["preprocessing_fn"] == "package.taxi.preprocessing_fn"
    for node in ("Trainer", "PruningTrainer"):
        assert nodes[node].exec_properties["run_fn"] == "package.taxi.run_fn"
        assert nodes[node].exec_properties.get("module_file") is None


def test_tfrecords_are_imported() -> None:
    nodes = {node.id: node for node in create_pipeline(dataclasses.replace(CONFIG, data_format="tfrecord")).components}
    assert "CsvExampleGen" not in nodes
    assert nodes["ImportExampleGen"].exec_properties["input_base"] == "data"
    assert _producer(nodes["Stripper"], "examples") == ("ImportExampleGen", "examples")
    assert _producer(nodes["Evaluator"], "examples") == ("ImportExampleGen", "examples")


@pytest.mark.slow
def test_tfrecords_gzipped_or_not_become_the_examples(tmp_path: pathlib.Path) -> None:
    data = house_data.write_tfrecords(tmp_path / "data")
    config = dataclasses.replace(
        CONFIG, data_format="tfrecord", data_root=str(data), pipeline_root=str(tmp_path / "artifacts")
    )
    connection = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))
    pipeline = create_pipeline(config, connection, IN_PROCESS)
    tfx.orchestration.LocalDagRunner().run(pipeline, run_options=RunOptions(to_nodes=["ImportExampleGen"]))
    splits = {}
    for split in ("train", "eval"):
        files = [str(file) for file in (tmp_path / "artifacts").glob(f"ImportExampleGen/examples/*/Split-{split}/*")]
        splits[split] = list(tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator())
    assert 0.2 < len(splits["eval"]) / house_data.ROWS < 0.5
    found = [tf.train.Example.FromString(each) for split in splits.values() for each in split]
    expected = [tf.train.Example.FromString(each) for each in house_data.examples()]
    assert sorted(map(str, found)) == sorted(map(str, expected))


def test_candidates_share_the_dense_nodes_and_have_ids_and_parameters_of_their_own() -> None:
    dense = DenseNodes.of(CONFIG, runtime_parameter)
    candidates = {
        name: CandidateNodes.of(CONFIG, dense, f"target_sparsity={sparsity}", name, runtime_parameter)
        for name, sparsity in (("a", 0.5), ("b", 0.75))
    }
    for name, candidate in candidates.items():
        kinds = ("PruningTrainer", "Stripper", "Evaluator")
        assert [node.id for node in candidate.components] == [f"{kind}.{name}" for kind in kinds]
        assert candidate.pruning_trainer.inputs["base_model"] is dense.trainer.outputs["model"]
        assert candidate.stripper.inputs["trained_model"] is candidate.pruning_trainer.outputs["model"]
        assert candidate.evaluator.inputs["model"] is candidate.stripper.outputs["model"]
        assert candidate.evaluator.inputs["baseline_model"] is dense.trainer.outputs["model"]
    hparams = {name: each.pruning_trainer.exec_properties["hparams"] for name, each in candidates.items()}
    assert {name: (each.name, each.default) for name, each in hparams.items()} == {
        "a": ("hparams_a", "target_sparsity=0.5"),
        "b": ("hparams_b", "target_sparsity=0.75"),
    }


def test_root_and_cache_come_from_the_config() -> None:
    config = PipelineConfig(pipeline_root="elsewhere", data_root="data", serving_dir="serving", enable_cache=False)
    pipeline = create_pipeline(config, beam_pipeline_args=["--direct_num_workers=2"])
    assert pipeline.pipeline_info.pipeline_root == "elsewhere"
    assert pipeline.enable_cache is False
    assert pipeline.beam_pipeline_args == ["--direct_num_workers=2"]
    assert isinstance(pipeline, tfx.dsl.Pipeline)
