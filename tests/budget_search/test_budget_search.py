"""BudgetSearch and BudgetCheck as nodes of a pipeline, and their executors on real artifacts."""

import dataclasses
import json
import os

import pytest
import tensorflow as tf
from tfx import types
from tfx.orchestration import data_types
from tfx.types import standard_artifacts

from tfx_pruning import BudgetCheck, BudgetSearch, PruningHParams, PruningReport, properties, strip_saved_model
from tfx_pruning.budget import BudgetVerdict
from tfx_pruning.budget_check.executor import Executor as CheckExecutor
from tfx_pruning.budget_fit.plan_file import read_plan
from tfx_pruning.budget_search.executor import Executor as SearchExecutor
from tfx_pruning.report.files import HTML_NAME, read_report, read_text

HPARAMS = PruningHParams(granularity="channel", target_sparsity=0.5)
MODEL = types.Channel(type=standard_artifacts.Model)


def _search(**arguments):
    return BudgetSearch(**{"dense_model": MODEL, "hparams": HPARAMS, **arguments})


def test_a_budget_is_written_as_text_which_a_run_may_set():
    node = _search(max_bytes="1MB", max_latency=2, format="savedmodel", batch_size=8, threads=2)
    assert node.exec_properties == {
        "hparams": HPARAMS.to_string(),
        "max_bytes": "1MB",
        "max_latency": "2",
        "format": "savedmodel",
        "batch_size": 8,
        "threads": 2,
        "num_examples": 256,
        "shrink": 1,
    }
    assert node.outputs["hyperparameters"].type is standard_artifacts.HyperParameters
    assert _search(max_bytes=5).exec_properties["max_latency"] == ""


def test_runtime_parameters_are_kept():
    parameters = {
        name: data_types.RuntimeParameter(name=name, ptype=kind)
        for name, kind in (("hparams", str), ("max_bytes", str), ("max_latency", str), ("batch_size", int))
    }
    node = _search(**parameters)
    assert {name: node.exec_properties[name] for name in parameters} == parameters


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "A budget needs max_bytes, max_latency or both"),
        ({"max_bytes": "1mb"}, "max_bytes must be a number of bytes"),
        ({"max_bytes": "1MB", "format": "onnx"}, "format must be one of"),
        ({"max_bytes": "1MB", "format": "tflite_int8"}, "format='tflite_int8' needs examples"),
        ({"max_bytes": "1MB", "hparams": "target_sparsity=0.5"}, "needs granularity='channel'"),
        ({"max_bytes": "1MB", "threads": 0}, "threads must be at least 1"),
    ],
)
def test_a_wrong_budget_is_refused_when_the_pipeline_is_built(arguments, message):
    with pytest.raises(ValueError, match=message):
        _search(**arguments)


def test_check_takes_what_search_puts_out():
    search = _search(max_bytes="1MB")
    node = BudgetCheck(model=MODEL, dense_model=MODEL, hyperparameters=search.outputs["hyperparameters"])
    assert node.outputs["report"].type is PruningReport
    again = BudgetCheck(model=MODEL, dense_model=MODEL, hyperparameters=node.outputs["next_hyperparameters"])
    assert again.exec_properties == {"num_examples": 256}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Model artifacts of Stripper, of 64 and of 16 hidden units, and their bytes."""
    folder = tmp_path_factory.mktemp("models")
    found = {}
    for name, units in (("dense", 64), ("small", 16)):
        module = tf.Module()
        module.a = tf.Variable(tf.random.stateless_normal([200, units], [1, 2]), name="a")
        module.b = tf.Variable(tf.random.stateless_normal([units, 3], [3, 4]), name="b")

        @tf.function(input_signature=[tf.TensorSpec([None, 200], name="x")])
        def serve(x, module=module):
            return {"y": tf.nn.relu(x @ module.a) @ module.b}

        tf.saved_model.save(module, folder / name / "trained", signatures={"serving_default": serve})
        strip_saved_model(folder / name / "trained", folder / name / "Format-Serving")
        artifact = standard_artifacts.Model()
        artifact.uri = str(folder / name)
        found[name] = artifact
    return found


def _output(folder, kind):
    artifact = kind()
    artifact.uri = str(folder)
    os.makedirs(folder)
    return artifact


@pytest.fixture(scope="module")
def searched(models, tmp_path_factory):
    """The hyperparameters for 30 kB, of which the dense model takes some 65."""
    output = _output(tmp_path_factory.mktemp("search") / "hyperparameters", standard_artifacts.HyperParameters)
    asked = {**_search(max_bytes="30kB").exec_properties}
    SearchExecutor().Do({"dense_model": [models["dense"]]}, {"hyperparameters": [output]}, asked)
    return output


def _checked(models, name, hyperparameters, folder):
    report = _output(folder / "report", PruningReport)
    following = _output(folder / "next", standard_artifacts.HyperParameters)
    CheckExecutor().Do(
        {"model": [models[name]], "dense_model": [models["dense"]], "hyperparameters": [hyperparameters]},
        {"report": [report], "next_hyperparameters": [following]},
        {"num_examples": 256},
    )
    return report, following


def test_search_puts_out_the_sparsity_that_pruning_trainer_takes(searched):
    (file,) = os.listdir(searched.uri)
    with open(os.path.join(searched.uri, file), encoding="utf-8") as stream:
        values = json.load(stream)["values"]
    sparsity = PruningHParams(granularity="channel").tuned(values).target_sparsity
    assert 0.5 < sparsity < 0.9
    assert float(searched.get_string_custom_property(properties.NEXT_SPARSITY)) == sparsity


def test_a_model_over_its_budget_is_told_and_the_next_sparsity_is_higher(models, searched, tmp_path):
    report, following = _checked(models, "dense", searched, tmp_path)
    assert report.get_int_custom_property(properties.BUDGET_MET) == 0
    assert report.get_int_custom_property(properties.BUDGET_RETRY) == 1
    assert read_plan([following])[1] > read_plan([searched])[1]
    verdict = BudgetVerdict.from_dict(json.loads(report.get_string_custom_property(properties.BUDGET_VERDICT)))
    assert verdict.delivered.bytes == report.get_int_custom_property(properties.DELIVERED_BYTES) > 30_000
    assert read_report(report.uri).budget == verdict
    assert "Over the budget: the savedmodel takes" in read_text(os.path.join(report.uri, HTML_NAME))


def test_a_model_that_is_needlessly_small_keeps_to_the_budget_and_may_be_trained_again(models, searched, tmp_path):
    report, following = _checked(models, "small", searched, tmp_path)
    assert report.get_int_custom_property(properties.BUDGET_MET) == 1
    assert report.get_int_custom_property(properties.BUDGET_RETRY) == 1
    assert read_plan([following])[1] < read_plan([searched])[1]
    assert "The budget holds: at most 30,000 bytes as savedmodel" in read_text(os.path.join(report.uri, HTML_NAME))


def test_hyperparameters_of_a_tuner_are_refused(models, tmp_path):
    tuned = _output(tmp_path / "tuned", standard_artifacts.HyperParameters)
    with open(os.path.join(tuned.uri, "best_hyperparameters.txt"), "w", encoding="utf-8") as stream:
        json.dump({"space": [], "values": {"pruning/target_sparsity": 0.5}}, stream)
    with pytest.raises(ValueError, match="not of BudgetSearch"):
        _checked(models, "small", tuned, tmp_path)


@pytest.mark.slow
def test_a_latency_is_measured_beside_the_dense_model(models, tmp_path):
    output = _output(tmp_path / "hyperparameters", standard_artifacts.HyperParameters)
    asked = {**_search(max_latency="1000ms").exec_properties}
    SearchExecutor().Do({"dense_model": [models["dense"]]}, {"hyperparameters": [output]}, asked)
    report, _ = _checked(models, "small", output, tmp_path)
    verdict = read_report(report.uri).budget
    assert 0 < verdict.delivered.latency.lower <= verdict.delivered.latency.upper
    assert verdict.dense.latency.calls == verdict.delivered.latency.calls
    assert dataclasses.astuple(verdict.delivered.latency)[0] == float(
        report.get_string_custom_property(properties.DELIVERED_LATENCY)
    )
