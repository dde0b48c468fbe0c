"""SparsitySelector as a node of a pipeline."""

import math

import pytest
from tfx import types
from tfx.orchestration import data_types
from tfx.types import standard_artifacts

from tfx_pruning import PruningReport, SparsitySelector


@pytest.fixture
def models():
    return {name: types.Channel(type=standard_artifacts.Model) for name in ("s50", "s90")}


@pytest.fixture
def evaluations():
    return {name: types.Channel(type=standard_artifacts.ModelEvaluation) for name in ("s50", "s90")}


def test_inputs_are_named_by_their_candidates(models, evaluations):
    dense = types.Channel(type=standard_artifacts.Model)
    selector = SparsitySelector(models, evaluations, metric="auc", tolerance=1, bound=0, baseline_model=dense)
    assert dict(selector.inputs) == {
        "model_s50": models["s50"],
        "evaluation_s50": evaluations["s50"],
        "model_s90": models["s90"],
        "evaluation_s90": evaluations["s90"],
        "baseline_model": dense,
    }
    assert selector.exec_properties == {"metric": "auc", "tolerance": 1.0, "direction": "higher", "bound": 0.0}
    assert {type(selector.exec_properties[name]) for name in ("tolerance", "bound")} == {float}
    assert {key: channel.type for key, channel in selector.outputs.items()} == {
        "model": standard_artifacts.Model,
        "blessing": standard_artifacts.ModelBlessing,
        "report": PruningReport,
    }


def test_two_selectors_have_their_own_inputs(models, evaluations):
    one = {"a": models["s50"]}, {"a": evaluations["s50"]}
    assert list(SparsitySelector(*one, metric="auc", tolerance=0.1).inputs) == ["model_a", "evaluation_a"]
    assert len(SparsitySelector(models, evaluations, metric="auc", tolerance=0.1).inputs) == 4


def test_runtime_parameters(models, evaluations):
    tolerance = data_types.RuntimeParameter(name="tolerance", ptype=float)
    bound = data_types.RuntimeParameter(name="bound", ptype=float)
    properties = SparsitySelector(models, evaluations, "auc", tolerance, bound=bound).exec_properties
    assert (properties["tolerance"], properties["bound"]) == (tolerance, bound)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"models": {}, "evaluations": {}}, ValueError, "models must have at least one candidate, got none"),
        ({"evaluations": {}}, ValueError, "same names, but only one of them has 's50', 's90'"),
        ({"tolerance": -1}, ValueError, "tolerance must be 0 or more, got -1"),
        ({"tolerance": None}, TypeError, "tolerance must be a finite number, got None"),
        ({"bound": math.nan}, ValueError, "bound must be a finite number, got nan"),
        ({"direction": "best"}, ValueError, "direction must be 'higher' or 'lower', got 'best'"),
        ({"metric": ""}, ValueError, "metric must be the name of a metric"),
    ],
)
def test_what_cannot_be_right_is_refused_when_the_pipeline_is_built(models, evaluations, change, error, message):
    with pytest.raises(error, match=message):
        SparsitySelector(**{"models": models, "evaluations": evaluations, "metric": "auc", "tolerance": 0.1, **change})


@pytest.mark.parametrize(
    ("name", "error"), [("s 90", ValueError), ("", ValueError), ("s-90", ValueError), (90, TypeError)]
)
def test_names_that_are_no_keys_are_refused(models, evaluations, name, error):
    with pytest.raises(error, match="A candidate's name must be"):
        SparsitySelector({name: models["s50"]}, {name: evaluations["s50"]}, metric="auc", tolerance=0.1)
