"""Stripper as a node of a pipeline."""

import pytest
from tfx import types
from tfx.orchestration import data_types
from tfx.types import standard_artifacts

from tfx_pruning import Stripper
from tfx_pruning.stripper.spec import StripperSpec


@pytest.fixture
def model():
    return types.Channel(type=standard_artifacts.Model)


def test_stripper_outputs_a_model(model):
    stripper = Stripper(model=model)
    assert list(stripper.outputs) == ["model"]
    assert stripper.outputs["model"].type is standard_artifacts.Model
    assert stripper.inputs["trained_model"] is model
    assert stripper.exec_properties == {
        "num_examples": 256,
        "export": "[]",
        "export_signature": None,
        "export_tolerance": None,
    }


def test_stripper_takes_examples(model):
    examples = types.Channel(type=standard_artifacts.Examples)
    stripper = Stripper(model=model, examples=examples, num_examples=10)
    assert stripper.inputs["examples"] is examples
    assert stripper.exec_properties["num_examples"] == 10


def test_stripper_takes_a_runtime_parameter(model):
    parameter = data_types.RuntimeParameter(name="num_examples", ptype=int, default=5)
    assert Stripper(model=model, num_examples=parameter).exec_properties["num_examples"] is parameter


def test_stripper_runs_an_executor_that_can_be_imported_by_its_path(model):
    spec = Stripper(model=model).executor_spec.encode()
    assert spec.class_path == "tfx_pruning.stripper.executor.Executor"


def test_stripper_artifacts_have_no_typed_properties_which_kubeflow_would_refuse():
    for channel in (*StripperSpec.INPUTS.values(), *StripperSpec.OUTPUTS.values()):
        assert channel.type in (standard_artifacts.Model, standard_artifacts.Examples)


@pytest.mark.parametrize("number", [0, -3])
def test_stripper_refuses_to_read_no_examples(number, model):
    with pytest.raises(ValueError, match=f"num_examples is {number}, expected at least 1"):
        Stripper(model=model, num_examples=number)


def test_stripper_refuses_a_channel_of_another_type():
    with pytest.raises(TypeError, match="Model"):
        Stripper(model=types.Channel(type=standard_artifacts.Examples))


def test_stripper_takes_formats_to_export(model):
    stripper = Stripper(model=model, export=("tflite", "frozen_graph"), export_signature="scores", export_tolerance=1)
    assert stripper.exec_properties == {
        "num_examples": 256,
        "export": '["tflite", "frozen_graph"]',
        "export_signature": "scores",
        "export_tolerance": 1.0,
    }


def test_stripper_takes_formats_as_a_runtime_parameter(model):
    parameter = data_types.RuntimeParameter(name="export", ptype=str, default='["tflite"]')
    assert Stripper(model=model, export=parameter).exec_properties["export"] is parameter


@pytest.mark.parametrize(
    ("export", "error", "message"),
    [
        (["tflight"], ValueError, "unknown format 'tflight', expected some of frozen_graph, keras_weights, tflite, "),
        (["tflite", "tflite"], ValueError, "the format 'tflite' twice"),
        ("tflite", TypeError, r"expected a sequence of format names, such as \['tflite'\]"),
        (["tflite_sparse_int8"], ValueError, "tflite_sparse_int8, which need examples"),
    ],
)
def test_stripper_refuses_formats_that_cannot_be_had(export, error, message, model):
    with pytest.raises(error, match=message):
        Stripper(model=model, export=export)


@pytest.mark.parametrize("tolerance", [0, -0.5, float("nan")])
def test_stripper_refuses_a_tolerance_that_nothing_meets(tolerance, model):
    with pytest.raises(ValueError, match="expected a number above 0"):
        Stripper(model=model, export=["tflite"], export_tolerance=tolerance)
