"""Stripper as a node of a pipeline."""

import pytest
from tfx import types
from tfx.orchestration import data_types
from tfx.types import standard_artifacts

from tfx_pruning import PruningReport, Stripper
from tfx_pruning.stripper.spec import StripperSpec


@pytest.fixture
def model():
    return types.Channel(type=standard_artifacts.Model)


def test_stripper_outputs_a_model_and_a_report(model):
    stripper = Stripper(model=model)
    assert list(stripper.outputs) == ["model", "report"]
    assert stripper.outputs["report"].type is PruningReport
    assert stripper.outputs["model"].type is standard_artifacts.Model
    assert stripper.inputs["trained_model"] is model
    assert stripper.exec_properties == {"num_examples": 256}


def test_stripper_takes_examples(model):
    examples = types.Channel(type=standard_artifacts.Examples)
    stripper = Stripper(model=model, examples=examples, num_examples=10)
    assert stripper.inputs["examples"] is examples
    assert stripper.exec_properties == {"num_examples": 10}


def test_stripper_takes_a_runtime_parameter(model):
    parameter = data_types.RuntimeParameter(name="num_examples", ptype=int, default=5)
    assert Stripper(model=model, num_examples=parameter).exec_properties == {"num_examples": parameter}


def test_stripper_runs_an_executor_that_can_be_imported_by_its_path(model):
    spec = Stripper(model=model).executor_spec.encode()
    assert spec.class_path == "tfx_pruning.stripper.executor.Executor"


def test_stripper_artifacts_have_no_typed_properties_which_kubeflow_would_refuse():
    for channel in (*StripperSpec.INPUTS.values(), *StripperSpec.OUTPUTS.values()):
        assert channel.type in (standard_artifacts.Model, standard_artifacts.Examples, PruningReport)


@pytest.mark.parametrize("number", [0, -3])
def test_stripper_refuses_to_read_no_examples(number, model):
    with pytest.raises(ValueError, match=f"num_examples is {number}, expected at least 1"):
        Stripper(model=model, num_examples=number)


def test_stripper_refuses_a_channel_of_another_type():
    with pytest.raises(TypeError, match="Model"):
        Stripper(model=types.Channel(type=standard_artifacts.Examples))
