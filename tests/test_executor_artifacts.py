import math
import pathlib
import re

import pytest
from tfx.types import standard_artifacts

from helpers.store_builder import stored_properties
from tfx_pruning import PruningReport, properties
from tfx_pruning.executor_artifacts import artifacts_and_versions, copy_properties


def test_every_artifact_is_named_with_its_id_and_place():
    first, second, model = standard_artifacts.Examples(), standard_artifacts.Examples(), PruningReport()
    first.uri, second.uri, model.uri, first.id = "/a", "/b", "/c", 7
    found = artifacts_and_versions({"examples": [first, second], "base_model": []}, {"report": [model]})
    version = found.pop("TensorFlow")
    assert re.fullmatch(r"2\.\d+\.\d+", version)
    assert found == {
        "input examples 1": "Examples 7: /a",
        "input examples 2": "Examples: /b",
        "output report": "tfx_pruning.PruningReport: /c",
    }


def _model():
    """A model as Kubeflow hands it on: every number is a float."""
    model = standard_artifacts.Model()
    model.set_float_custom_property(properties.SPARSITY, 1.0)
    model.set_float_custom_property(properties.PRUNABLE_PARAMETERS, 88.0)
    model.set_float_custom_property("tflite_bytes", 17.0)
    model.set_string_custom_property(properties.TOLERANCE, "0.0")
    model.set_string_custom_property("tfx_version", "1.21.0")
    return model


def _copied(keys):
    copy = standard_artifacts.Model()
    copy_properties(_model(), copy, keys)
    return {key: copy.get_custom_property(key) for key in copy.mlmd_artifact.custom_properties}


def test_properties_are_copied_with_their_types_but_for_those_of_tfx():
    copied = _copied(None)
    assert copied == {
        properties.SPARSITY: 1.0,
        properties.PRUNABLE_PARAMETERS: 88,
        "tflite_bytes": 17,
        properties.TOLERANCE: "0.0",
    }
    assert [type(value) for _, value in sorted(copied.items())] == [int, float, int, str]


def test_every_key_that_is_documented_as_an_int_is_a_count():
    source = pathlib.Path(properties.__file__).read_text(encoding="utf-8")
    kinds = dict(re.findall(r"^([A-Z_]+) = .*  # (int|float|str)\b", source, re.MULTILINE))
    assert len(kinds) > 30
    ints = {key for key, kind in kinds.items() if kind == "int"}
    assert {key for key in kinds if properties.is_count(getattr(properties, key))} == ints


def test_only_the_properties_that_are_named_and_there_are_copied():
    assert _copied([properties.SPARSITY, properties.HPARAMS]) == {properties.SPARSITY: 1.0}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("key", [properties.TOTAL_SPARSITY, properties.TOTAL_PARAMETERS])
def test_what_ml_metadata_refuses_is_left_out(tmp_path, key, value):
    source, copy = _model(), standard_artifacts.Model()
    source.set_float_custom_property(key, value)
    copy_properties(source, copy)
    stored = stored_properties(tmp_path / "metadata.sqlite", copy)
    assert key not in stored
    assert stored[properties.PRUNABLE_PARAMETERS] == 88
    assert stored[properties.SPARSITY] == 1.0


def test_a_count_of_zero_is_carried_over_as_kubeflow_hands_it_on():
    source, destination = standard_artifacts.Model(), standard_artifacts.Model()
    source.set_json_value_custom_property(properties.SCALES_FOLDED, 0.0)
    copy_properties(source, destination)
    assert destination.get_int_custom_property(properties.SCALES_FOLDED) == 0
    assert properties.SCALES_FOLDED in destination.mlmd_artifact.custom_properties
