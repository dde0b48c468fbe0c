"""PostTrainingPruner as a node of a pipeline, and its executor on real artifacts."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import executor_spec
from tfx.orchestration import data_types
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts

from helpers.record_files import write_records
from tfx_pruning import PostTrainingPruner, PruningHParams, PruningReport, properties
from tfx_pruning.post_training_pruner.executor import Executor
from tfx_pruning.post_training_pruner.spec import PostTrainingPrunerSpec
from tfx_pruning.report.files import read_report

HPARAMS = PruningHParams(prune_option="wanda", target_sparsity=0.75)
DEFAULTS = {
    "hparams": HPARAMS.to_string(),
    "splits": "null",
    "num_examples": 1024,
    "signature_name": None,
    "label": None,
    "loss": "auto",
    "output": None,
    "unseen": "error",
    "damping": 0.1,
    "update": 1,
    "recalibrate_bn": 0,
}


def _pruner(**arguments):
    channels = {
        "model": types.Channel(type=standard_artifacts.Model),
        "examples": types.Channel(type=standard_artifacts.Examples),
        "hparams": HPARAMS,
    }
    return PostTrainingPruner(**{**channels, **arguments})


def test_outputs_a_model_and_a_report():
    pruner = _pruner()
    assert list(pruner.outputs) == ["model", "report"]
    assert pruner.outputs["model"].type is standard_artifacts.Model
    assert pruner.outputs["report"].type is PruningReport
    assert pruner.exec_properties == DEFAULTS
    assert _pruner(hparams=HPARAMS.to_string()).exec_properties == DEFAULTS
    assert isinstance(pruner.executor_spec, executor_spec.ExecutorClassSpec)


def test_artifacts_have_no_typed_properties_which_kubeflow_would_refuse():
    for channel in (*PostTrainingPrunerSpec.INPUTS.values(), *PostTrainingPrunerSpec.OUTPUTS.values()):
        assert channel.type in (standard_artifacts.Model, standard_artifacts.Examples, PruningReport)


@pytest.mark.parametrize(
    ("name", "ptype"),
    [("hparams", str), ("num_examples", int), ("label", str), ("unseen", str), ("damping", float), ("update", int)],
)
def test_takes_runtime_parameters(name, ptype):
    parameter = data_types.RuntimeParameter(name=name, ptype=ptype)
    assert _pruner(**{name: parameter}).exec_properties == DEFAULTS | {name: parameter}


FISHER = PruningHParams(prune_option="second_order_gradient", gradient_estimator="block_fisher")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"hparams": 3}, TypeError, "hparams must be PruningHParams, got int"),
        ({"hparams": "prune_option=obs"}, ValueError, "Unknown prune_option 'obs'"),
        ({"examples": None}, ValueError, "give it examples"),
        ({"hparams": FISHER}, ValueError, "give label, the name of the feature"),
        ({"hparams": PruningHParams(granularity="channel")}, ValueError, "granularity='channel' is not supported"),
        ({"num_examples": 0}, ValueError, "num_examples is 0, expected at least 1"),
        ({"splits": []}, ValueError, "expected one or more names"),
        ({"unseen": "skip"}, ValueError, "unseen must be one of"),
        ({"damping": -1.0}, ValueError, "damping must be a positive number"),
        ({"loss": "hinge"}, ValueError, "loss must be one of"),
        ({"update": "yes"}, TypeError, "update"),
        ({"model": types.Channel(type=standard_artifacts.Examples)}, TypeError, "Model"),
    ],
)
def test_refused_when_the_pipeline_is_made(arguments, error, message):
    with pytest.raises(error, match=message):
        _pruner(**arguments)


@pytest.fixture
def artifacts(two_layers, images, tmp_path):
    """Inputs and outputs as TFX hands them to the executor; the split 'train' has the examples."""
    trained, examples, pruned, report = (
        *(standard_artifacts.Model(), standard_artifacts.Examples(), standard_artifacts.Model()),
        PruningReport(),
    )
    for name, artifact in (("trained", trained), ("examples", examples), ("pruned", pruned), ("report", report)):
        artifact.uri = str(tmp_path / name)
        os.makedirs(artifact.uri)
    os.symlink(two_layers, tmp_path / "trained" / "Format-Serving")
    records = []
    for image, word in zip(images["image"], images["word"], strict=True):
        example = tf.train.Example()
        example.features.feature["image"].float_list.value.extend(image.ravel())
        example.features.feature["word"].int64_list.value.append(int(word))
        records.append(example.SerializeToString())
    examples.split_names = artifact_utils.encode_split_names(["eval", "train"])
    examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
    write_records(tmp_path / "examples" / "Split-train" / "data.gz", records)
    write_records(tmp_path / "examples" / "Split-eval" / "data.gz", records[:1])
    return {"trained_model": [trained], "examples": [examples]}, {"model": [pruned], "report": [report]}


def _do(artifacts, **changed):
    given = {key: value for key, value in DEFAULTS.items() if value is not None}
    Executor().Do(*artifacts, {**given, **changed})


def test_executor_prunes_and_describes_the_model(artifacts, two_layers, images, tmp_path):
    from tfx_pruning import prune_saved_model

    _do(artifacts)
    ((pruned,), (report,)) = artifacts[1].values()
    served = os.path.join(pruned.uri, "Format-Serving")
    prune_saved_model(two_layers, tmp_path / "alone", images, HPARAMS)
    for key in ("conv", "dense"):
        one, other = (
            tf.train.load_checkpoint(f"{folder}/variables/variables").get_tensor(f"{key}/.ATTRIBUTES/VARIABLE_VALUE")
            for folder in (served, tmp_path / "alone")
        )
        np.testing.assert_array_equal(one, other)
    found = {key: pruned.get_custom_property(key) for key in properties.PRUNING}
    assert found == {
        "prune_option": "wanda",
        "gradient_estimator": "backprop",
        "target_sparsity": 0.75,
        "sparsity": 0.75,
        "total_sparsity": pytest.approx(252 / 380),
        "prunable_parameters": 336,
        "nonzero_parameters": 84,
        "total_parameters": 380,
        "hparams": HPARAMS.to_string(),
        "trained_bytes": found["trained_bytes"],
    }
    assert found["trained_bytes"] > 336 * 4
    document = read_report(report.uri)
    assert [(each.path, each.nonzero) for each in document.weights] == [("conv/kernel", 36), ("dense/kernel", 48)]
    assert document.hparams == HPARAMS.to_string()
    assert document.lineage["input trained_model"].endswith("trained")


def test_executor_reads_as_many_examples_as_asked_for(artifacts, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "tfx_pruning.post_training_pruner.executor.prune_saved_model",
        lambda source, destination, examples, hparams, **more: seen.append(len(examples)) or 1 / 0,
    )
    for changed in ({}, {"num_examples": 7}, {"splits": json.dumps(["eval"])}):
        with pytest.raises(ZeroDivisionError):
            _do(artifacts, **changed)
    assert seen == [120, 7, 1]


def test_executor_leaves_no_model_after_an_error(artifacts):
    with pytest.raises(ValueError, match="have no split 'test'"):
        _do(artifacts, splits=json.dumps(["test"]))
    with pytest.raises(ValueError, match="it has no 'predict'"):
        _do(artifacts, signature_name="predict")
    assert os.listdir(artifacts[1]["model"][0].uri) == []
