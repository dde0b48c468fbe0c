"""What SparsitySelector puts out."""

import argparse
import dataclasses
import json
import math
import os

import pytest
from tfx.components.util import model_utils
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor
from tfx.types import standard_artifacts

from helpers.evaluations import write_evaluation
from helpers.store_builder import stored_properties
from tfx_pruning import PruningReport, properties
from tfx_pruning.budget import Budget, BudgetVerdict, Delivered
from tfx_pruning.report.files import HTML_NAME, JSON_NAME, read_report
from tfx_pruning.sparsity_selector.executor import Executor

DENSE = 0.9
PROPERTIES = {"metric": "auc", "tolerance": 0.05, "direction": "higher"}


class Selector:
    """A SparsitySelector whose candidates are files of text.

    Attributes:
        models, evaluations: The inputs, by the candidates' names.
        outputs: The outputs by their keys.
    """

    def __init__(self, folder, metrics, dense=DENSE):
        self.models, self.evaluations = {}, {}
        for index, (name, (sparsity, metric)) in enumerate(metrics.items()):
            model = standard_artifacts.Model()
            model.uri = str(folder / "candidates" / name)
            model.id = 70 + index
            write(model.uri, "Format-Serving/saved_model.pb", f"model {name}")
            write(model.uri, "Format-Serving/variables/variables.index", f"variables {name}")
            write(model.uri, "exports/model.tflite", f"export {name}")
            model.set_float_custom_property(properties.SPARSITY, sparsity)
            model.set_int_custom_property(properties.STRIPPED_BYTES, 1000 + index)
            model.set_int_custom_property(properties.GZIPPED_BYTES, round(1000 * (1 - sparsity)))
            model.set_string_custom_property(properties.HPARAMS, f"target_sparsity={sparsity}")
            model.set_int_custom_property("tflite_bytes", 17)
            model.name = f"of {name}"
            self.models[name] = model
            evaluation = standard_artifacts.ModelEvaluation()
            evaluation.uri = str(folder / "evaluations" / name)
            write_evaluation(evaluation.uri, {"candidate": {"auc": metric}, "baseline": {"auc": dense}})
            self.evaluations[name] = evaluation
        self.outputs = {
            "model": standard_artifacts.Model(),
            "blessing": standard_artifacts.ModelBlessing(),
            "report": PruningReport(),
        }
        for key, artifact in self.outputs.items():
            artifact.uri = str(folder / "outputs" / key)
            os.makedirs(artifact.uri)

    def run(self, inputs=None, **changes):
        """Runs the executor."""
        found = {f"model_{name}": [model] for name, model in self.models.items()}
        found |= {f"evaluation_{name}": [evaluation] for name, evaluation in self.evaluations.items()}
        outputs = {key: [artifact] for key, artifact in self.outputs.items()}
        Executor().Do({**found, **(inputs or {})}, outputs, {**PROPERTIES, **changes})

    def files(self, key):
        """Files of an output and what is in them."""
        folder = self.outputs[key].uri
        paths = [os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names]
        return {os.path.relpath(path, folder): open(path, encoding="utf-8").read() for path in paths}


def write(folder, name, text):
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


@pytest.fixture
def selector(tmp_path):
    return Selector(tmp_path, {"s50": (0.5, 0.91), "s90": (0.9, 0.86), "s99": (0.99, 0.8)})


def test_the_sparsest_within_is_copied_whole(selector):
    selector.run()
    assert selector.files("model") == {
        "Format-Serving/saved_model.pb": "model s90",
        "Format-Serving/variables/variables.index": "variables s90",
        "exports/model.tflite": "export s90",
    }


def test_the_properties_of_the_chosen_model_are_carried_over(selector):
    selector.run()
    model = selector.outputs["model"]
    custom = {
        properties.SPARSITY: 0.9,
        properties.STRIPPED_BYTES: 1001,
        properties.GZIPPED_BYTES: 100,
        properties.HPARAMS: "target_sparsity=0.9",
        "tflite_bytes": 17,
        properties.CANDIDATE: "s90",
        properties.METRIC: "auc",
        properties.METRIC_VALUE: "0.86",
        properties.BASELINE_METRIC_VALUE: "0.9",
        properties.METRIC_LIMIT: "0.85",
    }
    assert {key: model.get_custom_property(key) for key in custom} == custom
    assert model.name == ""
    assert isinstance(model.get_custom_property(properties.STRIPPED_BYTES), int)


def test_the_blessing_names_the_model_that_was_copied(selector):
    selector.run()
    blessing = selector.outputs["blessing"]
    assert model_utils.is_model_blessed(blessing)
    assert selector.files("blessing") == {"BLESSED": ""}
    assert blessing.get_int_custom_property("current_model_id") == selector.models["s90"].id
    assert blessing.get_string_custom_property("current_model") == selector.models["s90"].uri


def test_every_candidate_is_in_the_report_and_on_its_artifact(selector):
    selector.run()
    sweep = read_report(selector.outputs["report"].uri).sweep
    assert [(each.name, each.sparsity, each.metric) for each in sweep.candidates] == [
        ("s50", 0.5, 0.91),
        ("s90", 0.9, 0.86),
        ("s99", 0.99, 0.8),
    ]
    assert (sweep.chosen.name, sweep.baseline.metric, sweep.baseline.gzipped_bytes) == ("s90", DENSE, None)
    assert HTML_NAME in selector.files("report")
    noted = json.loads(selector.outputs["report"].get_string_custom_property(properties.CANDIDATES))
    assert [(each["name"], each["metric"], each["within"]) for each in noted] == [
        ("s50", 0.91, True),
        ("s90", 0.86, True),
        ("s99", 0.8, False),
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_metric_loses_an_artifact_of_ml_metadata(tmp_path, value):
    selector = Selector(tmp_path, {"bad": (0.99, value), "tiny": (0.9, DENSE - 1e-9)})
    selector.run(tolerance=2e-9)
    stored = {
        key: stored_properties(tmp_path / f"{key}.sqlite", artifact) for key, artifact in selector.outputs.items()
    }
    for found in stored.values():
        assert float(found[properties.METRIC_VALUE]) == DENSE - 1e-9
        assert found[properties.CANDIDATE] == "tiny"
    noted = json.loads(stored["report"][properties.CANDIDATES], parse_constant=pytest.fail)
    assert [(each["name"], each["metric"]) for each in noted] == [("bad", None), ("tiny", DENSE - 1e-9)]


def test_sparsities_closer_than_ml_metadatas_six_decimals_are_told_apart(tmp_path):
    selector = Selector(tmp_path, {"a": (0.9999999, 0.9), "b": (0.9999998, 0.9)})
    for name, nonzero in (("a", 1), ("b", 2)):
        selector.models[name].set_int_custom_property(properties.PRUNABLE_PARAMETERS, 10**7)
        selector.models[name].set_int_custom_property(properties.NONZERO_PARAMETERS, nonzero)
        stored = stored_properties(tmp_path / f"{name}.sqlite", selector.models[name])
        assert stored[properties.SPARSITY] == 1.0
        selector.models[name].set_float_custom_property(properties.SPARSITY, stored[properties.SPARSITY])
    selector.run()
    sweep = read_report(selector.outputs["report"].uri).sweep
    assert [each.sparsity for each in sweep.candidates] == [1 - 1e-7, 1 - 2e-7]
    assert sweep.chosen.name == "a"


def test_a_model_is_chosen_though_the_page_cannot_be_made(selector, monkeypatch):
    def fail(_):
        raise ArithmeticError("a plot that fails\0")

    monkeypatch.setattr("tfx_pruning.report.files.page", fail)
    selector.run()
    report = selector.outputs["report"]
    assert report.get_custom_property(properties.MISSING) == r"ArithmeticError: a plot that fails\x00"
    assert list(selector.files("report")) == [JSON_NAME]
    assert selector.files("model")["Format-Serving/saved_model.pb"] == "model s90"
    assert selector.files("blessing") == {"BLESSED": ""}
    assert report.has_custom_property(properties.CANDIDATES)


def test_nothing_is_left_if_it_is_interrupted_at_the_report(selector, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("tfx_pruning.report.files.page", interrupt)
    _refused(selector, KeyboardInterrupt, "^$")


def test_none_within_leaves_no_model_and_no_blessing(selector):
    selector.run(bound=0.95)
    assert selector.files("model") == {}
    assert selector.files("blessing") == {"NOT_BLESSED": ""}
    assert not model_utils.is_model_blessed(selector.outputs["blessing"])
    assert not selector.outputs["model"].has_custom_property(properties.SPARSITY)
    assert selector.outputs["report"].get_custom_property(properties.METRIC_LIMIT) == "0.95"
    assert read_report(selector.outputs["report"].uri).sweep.chosen is None


def test_lower_is_better(tmp_path):
    selector = Selector(tmp_path, {"s50": (0.5, 0.91), "s90": (0.9, 0.95), "s99": (0.99, 0.96)})
    selector.run(direction="lower")
    assert selector.outputs["model"].get_custom_property(properties.CANDIDATE) == "s90"


def test_of_candidates_that_are_alike_the_first_by_name_is_taken_whatever_the_order_of_inputs(tmp_path):
    selector = Selector(tmp_path, {"b": (0.9, 0.9), "a": (0.9, 0.9), "c": (0.9, 0.9)})
    selector.run()
    assert selector.outputs["model"].get_custom_property(properties.CANDIDATE) == "a"


def test_sizes_of_the_dense_model(selector):
    dense = standard_artifacts.Model()
    dense.set_int_custom_property(properties.STRIPPED_BYTES, 5000)
    dense.set_float_custom_property(properties.GZIPPED_BYTES, 4000.0)  # as Kubeflow hands it on
    selector.run({"baseline_model": [dense]})
    baseline = read_report(selector.outputs["report"].uri).sweep.baseline
    assert (baseline.stripped_bytes, baseline.gzipped_bytes) == (5000, 4000)


def _refused(selector, error, message, **changes):
    with pytest.raises(error, match=message):
        selector.run(**changes)
    assert [selector.files(key) for key in selector.outputs] == [{}, {}, {}]


def test_a_model_without_sparsity_is_refused(selector):
    selector.models["s90"] = standard_artifacts.Model()
    _refused(selector, ValueError, "The model of 's90' has no property 'sparsity'; expected what Stripper puts out")


def test_a_missing_evaluation_is_refused(selector):
    selector.evaluations["s50"].uri += "/nowhere"
    _refused(selector, ValueError, "evaluations/s50/nowhere is gone")


def test_candidates_of_different_dense_models_are_refused(selector, tmp_path):
    other = Selector(tmp_path / "other", {"s50": (0.5, 0.9)}, dense=0.89)
    selector.evaluations["s50"] = other.evaluations["s50"]
    _refused(selector, ValueError, r"auc of the dense model differs: 0\.89 in s50, 0\.9 in s90")


def test_the_dense_model_may_differ_in_rounding(selector, tmp_path):
    other = Selector(tmp_path / "other", {"s99": (0.99, 0.8)}, dense=DENSE + 1e-7)
    selector.evaluations["s99"] = other.evaluations["s99"]
    selector.run()
    assert selector.outputs["model"].get_custom_property(properties.BASELINE_METRIC_VALUE) == repr(DENSE)


def test_a_chosen_model_that_is_gone_is_refused(selector):
    selector.models["s90"].uri += "/nowhere"
    _refused(selector, OSError, "The chosen model .*/s90/nowhere is gone")


def test_nothing_is_left_if_the_blessing_cannot_be_written(selector, tmp_path):
    (tmp_path / "file").touch()
    selector.outputs["blessing"].uri = str(tmp_path / "file" / "blessing")
    with pytest.raises(OSError, match="blessing/BLESSED' cannot be written"):
        selector.run()
    assert [selector.files(key) for key in ("model", "report")] == [{}, {}]


def test_a_wrong_parameter_of_a_run_is_refused(selector):
    _refused(selector, ValueError, "tolerance must be 0 or more, got -1", tolerance=-1)


def test_kubeflow_runs_it(selector, tmp_path):
    """As a task of Kubeflow, which has ids as text, every number as a float, and inputs in no order."""
    specs = {
        f"{kind}_{name}": {"artifactType": {"schemaTitle": title, "schemaVersion": "0.0.1"}}
        for name in selector.models
        for kind, title in (("model", "tfx.Model"), ("evaluation", "tfx.ModelEvaluation"))
    }
    artifacts = {
        key: {"artifacts": [_runtime_artifact(artifact, specs[key]["artifactType"], str(index))]}
        for index, (key, artifact) in enumerate(
            [
                *((f"model_{name}", model) for name, model in selector.models.items()),
                *((f"evaluation_{name}", evaluation) for name, evaluation in selector.evaluations.items()),
            ]
        )
    }
    titles = {"model": "tfx.Model", "blessing": "tfx.ModelBlessing", "report": "tfx_pruning.PruningReport"}
    outputs = {
        key: {"artifacts": [_runtime_artifact(artifact, {"schemaTitle": titles[key], "schemaVersion": "0.0.1"}, key)]}
        for key, artifact in selector.outputs.items()
    }
    output_file = tmp_path / "task" / "output.json"
    given = {
        "inputs": {"parameterValues": dict(PROPERTIES), "artifacts": artifacts},
        "outputs": {"artifacts": outputs, "outputFile": str(output_file)},
    }
    arguments = argparse.Namespace(
        executor_class_path="tfx_pruning.sparsity_selector.executor.Executor",
        json_serialized_invocation_args=json.dumps(given),
        json_serialized_inputs_spec_args=json.dumps({"artifacts": specs}),
    )
    kubeflow_v2_run_executor.main((arguments, []))
    assert selector.files("model")["Format-Serving/saved_model.pb"] == "model s90"
    made = json.loads(output_file.read_text(encoding="utf-8"))["artifacts"]
    metadata = {key: made[key]["artifacts"][0]["metadata"] for key in made}
    assert metadata["blessing"]["blessed"] == 1
    assert metadata["model"][properties.CANDIDATE] == "s90"
    assert metadata["model"][properties.STRIPPED_BYTES] == 1001
    noted = json.loads(metadata["report"][properties.CANDIDATES])
    assert [each["stripped_bytes"] for each in noted] == [1000, 1001, 1002]


def _runtime_artifact(artifact, artifact_type, name):
    keys = artifact.mlmd_artifact.custom_properties
    metadata = {key: artifact.get_custom_property(key) for key in keys}
    return {"name": name, "uri": artifact.uri, "type": artifact_type, "metadata": metadata}


def _checks(budget, **sizes):
    """BudgetCheck's reports, by the keys of the inputs."""
    found = {}
    for name, size in sizes.items():
        report = PruningReport()
        verdict = BudgetVerdict(budget, Delivered(4000), Delivered(size))
        report.set_string_custom_property(properties.BUDGET_VERDICT, json.dumps(dataclasses.asdict(verdict)))
        found[f"check_{name}"] = [report]
    return found


def test_the_best_within_the_budget_is_copied_and_says_what_it_takes(selector):
    selector.run(_checks(Budget(max_bytes=1000), s50=1001, s90=1000, s99=100))
    assert selector.files("model")["Format-Serving/saved_model.pb"] == "model s90"
    for artifact in selector.outputs.values():
        assert artifact.get_int_custom_property(properties.BUDGET_MET) == 1
        assert artifact.get_int_custom_property(properties.DELIVERED_BYTES) == 1000
        assert json.loads(artifact.get_string_custom_property(properties.BUDGET))["max_bytes"] == 1000
    assert read_report(selector.outputs["report"].uri).sweep.chosen.name == "s90"


def test_of_a_tflite_budget_the_file_alone_is_served(selector):
    selector.run(_checks(Budget(max_bytes=1000, format="tflite"), s50=900, s90=800, s99=700))
    assert selector.files("model") == {"Format-Serving/model.tflite": "export s50"}


def test_no_model_is_blessed_that_is_over_the_budget(selector):
    selector.run(_checks(Budget(max_bytes=10), s50=11, s90=11, s99=11))
    assert not model_utils.is_model_blessed(selector.outputs["blessing"])
    assert selector.files("model") == {}


def test_a_report_that_is_none_of_a_check_is_refused(selector):
    reports = {f"check_{name}": [PruningReport()] for name in selector.models}
    with pytest.raises(ValueError, match="The check of 's50' has no property 'budget_verdict' that can be read"):
        selector.run(reports)
