"""Stripper as a node of a pipeline."""

import pytest
from tfx import types
from tfx.dsl.components.base import executor_spec
from tfx.orchestration import data_types
from tfx.types import standard_artifacts

from tfx_pruning import PruningReport, Stripper
from tfx_pruning.stripper.spec import StripperSpec

_DEFAULTS = {
    "splits": "null",
    "signature_name": "serving_default",
    "tolerance": 0.0,
    "num_examples": 256,
    "export": "[]",
    "export_signature": None,
    "export_tolerance": None,
    "export_metric": None,
    "export_label": None,
    "shrink": 0,
    "shrink_tolerance": None,
}


@pytest.fixture
def model():
    return types.Channel(type=standard_artifacts.Model)


def test_stripper_takes_a_metric_for_its_exports(model):
    measured = {"export_metric": "AUC", "export_label": "label"}
    given = {"model": model, "examples": types.Channel(type=standard_artifacts.Examples), "export": ["tflite"]}
    assert Stripper(**given, **measured).exec_properties == _DEFAULTS | measured | {"export": '["tflite"]'}
    for missing, message in (("export_label", "expected both or neither"), ("examples", "Give Stripper export and")):
        fields = {name: value for name, value in {**given, **measured}.items() if name != missing}
        with pytest.raises(ValueError, match=message):
            Stripper(**fields)


def test_stripper_outputs_a_model_and_a_report(model):
    stripper = Stripper(model=model)
    assert list(stripper.outputs) == ["model", "report"]
    assert stripper.outputs["report"].type is PruningReport
    assert stripper.outputs["model"].type is standard_artifacts.Model
    assert stripper.inputs["trained_model"] is model
    assert stripper.exec_properties == _DEFAULTS


def test_stripper_takes_examples(model):
    examples = types.Channel(type=standard_artifacts.Examples)
    stripper = Stripper(
        model=model, examples=examples, splits=("eval", "test"), signature_name="f", tolerance=1, num_examples=10
    )
    assert stripper.inputs["examples"] is examples
    assert stripper.exec_properties == _DEFAULTS | {
        "splits": '["eval", "test"]',
        "signature_name": "f",
        "tolerance": 1.0,
        "num_examples": 10,
    }
    assert type(stripper.exec_properties["tolerance"]) is float


@pytest.mark.parametrize(("name", "ptype"), [("num_examples", int), ("tolerance", float), ("signature_name", str)])
def test_stripper_takes_runtime_parameters(name, ptype, model):
    parameter = data_types.RuntimeParameter(name=name, ptype=ptype)
    assert Stripper(model=model, **{name: parameter}).exec_properties == _DEFAULTS | {name: parameter}


def test_stripper_runs_an_executor_that_can_be_imported_by_its_path(model):
    spec = Stripper(model=model).executor_spec.encode()
    assert spec.python_executor_spec.class_path == "tfx_pruning.stripper.executor.Executor"


def test_stripper_takes_beam_pipeline_args_of_its_own(model):
    stripper = Stripper(model=model).with_beam_pipeline_args(["--direct_num_workers=2"])
    assert isinstance(stripper.executor_spec, executor_spec.BeamExecutorSpec)
    assert list(stripper.executor_spec.encode().beam_pipeline_args) == ["--direct_num_workers=2"]
    assert list(Stripper(model=model).executor_spec.encode().beam_pipeline_args) == []


def test_stripper_artifacts_have_no_typed_properties_which_kubeflow_would_refuse():
    for channel in (*StripperSpec.INPUTS.values(), *StripperSpec.OUTPUTS.values()):
        assert channel.type in (standard_artifacts.Model, standard_artifacts.Examples, PruningReport)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_examples", 0, "num_examples is 0, expected at least 1"),
        ("num_examples", -3, "num_examples is -3, expected at least 1"),
        ("tolerance", -1e-6, "tolerance is -1e-06, expected a finite number of at least 0.0"),
        ("tolerance", float("nan"), "tolerance is nan, expected a finite number of at least 0.0"),
        ("signature_name", "", "signature_name is empty, expected the name of a signature"),
        ("splits", [], r"splits is \[\], expected one or more names"),
        ("splits", ["eval", ""], r"splits is \['eval', ''\], expected one or more names"),
        ("splits", ["eval", "eval"], "each once"),
    ],
)
def test_stripper_refuses_values(name, value, message, model):
    with pytest.raises(ValueError, match=message):
        Stripper(model=model, **{name: value})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("tolerance", "0.1", "tolerance is '0.1' of type str, expected a number"),
        ("signature_name", 3, "signature_name is 3, expected the name of a signature"),
        ("splits", "eval", "splits is 'eval', expected a list of names"),
        ("splits", [1], r"splits is \[1\], expected a list of names"),
    ],
)
def test_stripper_refuses_types(name, value, message, model):
    with pytest.raises(TypeError, match=message):
        Stripper(model=model, **{name: value})


def test_stripper_refuses_a_channel_of_another_type():
    with pytest.raises(TypeError, match="Model"):
        Stripper(model=types.Channel(type=standard_artifacts.Examples))


def test_stripper_takes_formats_to_export(model):
    stripper = Stripper(model=model, export=("tflite", "frozen_graph"), export_signature="scores", export_tolerance=1)
    assert stripper.exec_properties == _DEFAULTS | {
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
        (["tflight"], ValueError, "Unknown export 'tflight'. Did you mean 'tflite'?"),
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


def test_stripper_shrinks(model):
    stripper = Stripper(model=model, shrink=True, shrink_tolerance=1)
    assert stripper.exec_properties == _DEFAULTS | {"shrink": 1, "shrink_tolerance": 1.0}


def test_stripper_shrinks_as_a_runtime_parameter_says(model):
    parameter = data_types.RuntimeParameter(name="shrink", ptype=int, default=1)
    assert Stripper(model=model, shrink=parameter).exec_properties["shrink"] is parameter


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"shrink": "yes"}, TypeError, "shrink is 'yes' of type str, expected True or False"),
        ({"shrink_tolerance": 1e-5}, ValueError, "give shrink=True, too"),
        ({"shrink": True, "shrink_tolerance": 0}, ValueError, "expected a finite number above 0.0"),
        ({"shrink": True, "export": ["keras_weights"]}, ValueError, "cannot be exported of a shrunk model"),
    ],
)
def test_stripper_refuses_to_shrink_so(arguments, error, message, model):
    with pytest.raises(error, match=message):
        Stripper(model=model, **arguments)
