import pathlib
from typing import Any

import pytest
import yaml

from tfx_pruning.pipelines.kubeflow.local.pipeline_file import PipelineFile

PARAMETERS = {
    "text": {"parameterType": "STRING"},
    "steps": {"parameterType": "NUMBER_INTEGER", "defaultValue": 7.0, "isOptional": True},
    "rate": {"parameterType": "NUMBER_DOUBLE", "defaultValue": 0.5, "isOptional": True},
    "fast": {"parameterType": "BOOLEAN", "isOptional": True},
    "more": {"parameterType": "STRUCT", "isOptional": True},
}
SPEC = {
    "pipelineInfo": {"name": "small"},
    "schemaVersion": "2.1.0",
    "defaultPipelineRoot": "/root",
    "root": {"dag": {"tasks": {}}, "inputDefinitions": {"parameters": PARAMETERS}},
}


def _read(tmp_path: pathlib.Path, *documents: Any) -> PipelineFile:
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    return PipelineFile.read(path)


def test_only_the_first_document_is_read(tmp_path: pathlib.Path) -> None:
    pipeline = _read(tmp_path, SPEC, {"platforms": {"kubernetes": {}}})
    assert (pipeline.name, pipeline.default_root) == ("small", "/root")


def test_parameters_are_of_their_types_and_have_their_defaults(tmp_path: pathlib.Path) -> None:
    pipeline = _read(tmp_path, SPEC)
    assert pipeline.parameters({"text": "1"}) == {"text": "1", "steps": 7.0, "rate": 0.5}
    given = {"text": "", "steps": "9", "rate": "1", "fast": "true", "more": '{"a": [1]}'}
    assert pipeline.parameters(given) == {"text": "", "steps": 9, "rate": 1, "fast": True, "more": {"a": [1]}}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "The parameter text has no default"),
        ({"text": "", "stepz": "1"}, "has no parameter stepz; it has: fast, more, rate, steps, text"),
        ({"text": "", "steps": "1.5"}, "steps must be a NUMBER_INTEGER, got '1.5'"),
        ({"text": "", "steps": "many"}, "steps must be a NUMBER_INTEGER, got 'many'"),
        ({"text": "", "rate": "true"}, "rate must be a NUMBER_DOUBLE, got 'true'"),
        ({"text": "", "fast": "1"}, "fast must be a BOOLEAN, got '1'"),
        ({"text": "", "more": "[]"}, r"more must be a STRUCT, got '\[\]'"),
    ],
)
def test_wrong_parameter_is_refused(tmp_path: pathlib.Path, given: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _read(tmp_path, SPEC).parameters(given)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("text", "is no compiled pipeline"),
        ({"root": {}}, "is no compiled pipeline"),
        (SPEC | {"schemaVersion": "2.0.0"}, "has the schema version 2.0.0, expected 2.1.0"),
    ],
)
def test_other_file_is_refused(tmp_path: pathlib.Path, document: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _read(tmp_path, document)


def test_file_that_is_no_yaml_or_missing_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "broken.yaml").write_text("a: [", encoding="utf-8")
    for name in ("broken.yaml", "missing.yaml"):
        with pytest.raises(ValueError, match=f"{name} cannot be read as YAML"):
            PipelineFile.read(tmp_path / name)
