import dataclasses

import pytest
import yaml
from google.protobuf import json_format
from kfp import components
from tensorflow_model_analysis.proto import config_pb2
from tfx import v1 as tfx

from tfx_pruning import PruningHParams
from tfx_pruning.pipelines.config import TAXI_MODULE_PATH, PipelineConfig
from tfx_pruning.pipelines.kubeflow.runner import compile_pipeline
from tfx_pruning.pipelines.sweep.pipeline import create_sweep_pipeline
from tfx_pruning.pipelines.sweep.plan import Candidate

CONFIG = PipelineConfig(
    pipeline_root="artifacts",
    data_root="data",
    serving_dir="serving",
    module_path=TAXI_MODULE_PATH,
    pipeline_name="sweep",
    metric="MeanSquaredError",
    metric_direction="lower",
    min_metric=None,
    max_metric=7.0,
    max_metric_drop=0.25,
)
CANDIDATES = [
    Candidate(f"weight_s{round(sparsity * 10_000)}", PruningHParams(target_sparsity=sparsity))
    for sparsity in (0.5, 0.9, 0.95)
]


def _nodes(candidates=CANDIDATES, config=CONFIG, **arguments):
    return {node.id: node for node in create_sweep_pipeline(config, candidates, **arguments).components}


@pytest.fixture(scope="module")
def nodes():
    return _nodes()


def _producer(node, key):
    channel = node.inputs[key]
    return channel.producer_component_id, channel.output_key


def test_data_and_dense_model_are_there_once_and_three_nodes_for_each_candidate(nodes):
    data = ["CsvExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "Transform", "Trainer", "Stripper.dense"]
    kinds = ["PruningTrainer", "Stripper", "Evaluator"]
    of_candidates = [f"{kind}.{each.name}" for kind in kinds for each in CANDIDATES]
    assert sorted(nodes) == sorted([*data, *of_candidates, "SparsitySelector", "Pusher"])
    assert not [node for node in nodes.values() if isinstance(node, tfx.dsl.Resolver)]


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: candidate.name)
def test_a_candidate_comes_from_the_dense_model_and_goes_to_the_selector(nodes, candidate):
    trainer, stripper, evaluator = (
        nodes[f"{kind}.{candidate.name}"] for kind in ("PruningTrainer", "Stripper", "Evaluator")
    )
    assert _producer(trainer, "base_model") == ("Trainer", "model")
    assert PruningHParams.parse(trainer.exec_properties["hparams"]) == candidate.hparams
    assert trainer.exec_properties["run_fn"] == f"{TAXI_MODULE_PATH}.run_fn"
    assert _producer(stripper, "trained_model") == (trainer.id, "model")
    assert _producer(evaluator, "model") == (stripper.id, "model")
    assert _producer(evaluator, "baseline_model") == ("Trainer", "model")
    selector = nodes["SparsitySelector"]
    assert _producer(selector, f"model_{candidate.name}") == (stripper.id, "model")
    assert _producer(selector, f"evaluation_{candidate.name}") == (evaluator.id, "evaluation")


def test_only_candidates_with_a_distill_weight_have_the_dense_model_as_teacher():
    taught = Candidate("taught_s5000", PruningHParams(target_sparsity=0.5, distill_weight=0.5))
    nodes = _nodes([CANDIDATES[0], taught])
    assert _producer(nodes["PruningTrainer.taught_s5000"], "teacher") == ("Trainer", "model")
    assert "teacher" not in nodes[f"PruningTrainer.{CANDIDATES[0].name}"].inputs


def test_what_the_selector_chose_is_pushed(nodes):
    assert _producer(nodes["Pusher"], "model") == ("SparsitySelector", "model")
    assert _producer(nodes["Pusher"], "model_blessing") == ("SparsitySelector", "blessing")
    assert _producer(nodes["SparsitySelector"], "baseline_model") == ("Stripper.dense", "model")
    assert _producer(nodes["Stripper.dense"], "trained_model") == ("Trainer", "model")


def test_the_tolerance_is_that_of_the_config(nodes):
    assert nodes["SparsitySelector"].exec_properties == {
        "metric": "MeanSquaredError",
        "tolerance": 0.25,
        "direction": "lower",
        "bound": 7.0,
    }
    auc = dataclasses.replace(CONFIG, metric="AUC", metric_direction="higher", min_metric=0.8, max_metric=None)
    assert _nodes(config=auc)["SparsitySelector"].exec_properties["bound"] == 0.8


def test_the_selector_is_the_only_judge(nodes):
    evaluator = nodes[f"Evaluator.{CANDIDATES[0].name}"]
    config = json_format.Parse(evaluator.exec_properties["eval_config"], config_pb2.EvalConfig())
    metrics = {metric.class_name: metric for spec in config.metrics_specs for metric in spec.metrics}
    assert "MeanSquaredError" in metrics
    assert not [name for name, metric in metrics.items() if metric.HasField("threshold")]


def test_nodes_of_a_candidate_do_not_depend_on_the_others(nodes):
    alone = _nodes(CANDIDATES[1:2], select=False)
    assert "SparsitySelector" not in alone
    assert "Pusher" not in alone
    for name, node in alone.items():
        assert node.exec_properties == nodes[name].exec_properties, name
        assert {key: _producer(node, key) for key in node.inputs} == {
            key: _producer(nodes[name], key) for key in nodes[name].inputs
        }, name


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ([], "candidates must have at least one candidate, got none"),
        ([CANDIDATES[0], CANDIDATES[0]], "The name 'weight_s5000' is taken"),
        ([Candidate("dense", PruningHParams())], "The name 'dense' is taken"),
        (
            [Candidate("s-90", PruningHParams())],
            "A candidate's name must be of ASCII letters, .* got 's-90'",
        ),
    ],
)
def test_wrong_candidates_are_refused(candidates, message):
    with pytest.raises(ValueError, match=message):
        create_sweep_pipeline(CONFIG, candidates)


def test_kubeflow_takes_it(tmp_path):
    path = tmp_path / "sweep.yaml"
    compile_pipeline(create_sweep_pipeline(CONFIG, CANDIDATES), str(path), "image")
    components.load_component_from_file(str(path))
    tasks = next(yaml.safe_load_all(path.read_text(encoding="utf-8")))["root"]["dag"]["tasks"]
    selector = tasks["SparsitySelector"]
    assert selector["inputs"]["artifacts"]["evaluation_weight_s9500"]["taskOutputArtifact"] == {
        "outputArtifactKey": "evaluation",
        "producerTask": "Evaluator.weight_s9500",
    }
    assert len(selector["inputs"]["artifacts"]) == 7
    assert set(selector["dependentTasks"]) == {"Stripper.dense"} | {
        f"{kind}.{each.name}" for kind in ("Stripper", "Evaluator") for each in CANDIDATES
    }
