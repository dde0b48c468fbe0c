import json

import pytest

from tfx_pruning.pipelines.kubeflow.entrypoint import with_artifact_types

SPEC = {"artifacts": {"model": {"artifactType": {"instanceSchema": "title: tfx.Model\n"}}}, "parameters": {}}


def _arguments(*artifacts: dict) -> list[str]:
    given = {"inputs": {"artifacts": {"model": {"artifacts": list(artifacts)}}}, "outputs": {"outputFile": "/out"}}
    return [
        "--executor_class_path",
        "a.Executor",
        "--json_serialized_invocation_args",
        json.dumps(given),
        "--json_serialized_inputs_spec_args",
        json.dumps(SPEC),
        "--direct_num_workers=1",
    ]


@pytest.mark.parametrize("missing", [{}, {"type": {}}, {"type": {"instanceSchema": ""}}])
def test_missing_type_comes_from_the_component(missing: dict) -> None:
    arguments = _arguments({"uri": "/a", **missing}, {"uri": "/b", **missing})
    filled = with_artifact_types(arguments)
    artifacts = json.loads(filled[3])["inputs"]["artifacts"]["model"]["artifacts"]
    assert artifacts == [{"uri": uri, "type": {"instanceSchema": "title: tfx.Model\n"}} for uri in ("/a", "/b")]
    assert json.loads(filled[3])["outputs"] == {"outputFile": "/out"}
    assert filled[:3] + filled[4:] == arguments[:3] + arguments[4:]


@pytest.mark.parametrize("kind", [{"instanceSchema": "title: tfx.Special\n"}, {"schemaTitle": "tfx.Special"}])
def test_type_that_is_there_stays(kind: dict) -> None:
    arguments = _arguments({"uri": "/a", "type": kind})
    filled = with_artifact_types(arguments)
    assert json.loads(filled[3]) == json.loads(arguments[3])


def test_task_without_inputs_is_taken() -> None:
    arguments = _arguments()
    arguments[3] = json.dumps({"outputs": {"outputFile": "/out"}})
    assert json.loads(with_artifact_types(arguments)[3]) == {"outputs": {"outputFile": "/out"}}


@pytest.mark.parametrize("name", ["--json_serialized_invocation_args", "--json_serialized_inputs_spec_args"])
def test_missing_argument_is_refused(name: str) -> None:
    arguments = _arguments()
    position = arguments.index(name)
    del arguments[position : position + 2]
    with pytest.raises(ValueError, match=f"{name} is missing"):
        with_artifact_types(arguments)
