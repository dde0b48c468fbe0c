"""ExecutorInput of KFP, as JSON: what a task's command is given, and how its placeholders are replaced."""

import json
import pathlib
from typing import Any

from tfx_pruning.pipelines.kubeflow.local.artifact import Artifact
from tfx_pruning.pipelines.kubeflow.local.pipeline_file import value_of

OUTPUT_FILE = "output_metadata.json"
_ALL = "{{$}}"


def provisioned(component: dict[str, Any], folder: pathlib.Path) -> dict[str, Artifact]:
    """The artifacts that a component is to make, each with a URI under the task's folder."""
    specs = component.get("outputDefinitions", {}).get("artifacts", {})
    return {
        key: Artifact(name="", type=spec["artifactType"], uri=str(folder / key), metadata=spec.get("metadata", {}))
        for key, spec in specs.items()
    }


def executor_input(
    component: dict[str, Any],
    parameters: dict[str, Any],
    artifacts: dict[str, list[Artifact]],
    outputs: dict[str, Artifact],
    folder: pathlib.Path,
    typed: bool,
) -> dict[str, Any]:
    """Builds the ExecutorInput of one task.

    Args:
        component: ComponentSpec of the task.
        parameters: Values of its input parameters.
        artifacts: Its input artifacts.
        outputs: As `provisioned` returns them.
        folder: The task's folder, for the files in which the command leaves output parameters and metadata.
        typed: Whether input artifacts have their types.
    """
    output_parameters = component.get("outputDefinitions", {}).get("parameters", {})
    return {
        "inputs": {
            "parameterValues": parameters,
            "artifacts": {
                key: {"artifacts": [artifact.runtime_artifact(typed) for artifact in of_key]}
                for key, of_key in artifacts.items()
            },
        },
        "outputs": {
            "artifacts": output_artifacts(outputs),
            "parameters": {key: {"outputFile": str(folder / "parameters" / key)} for key in output_parameters},
            "outputFile": str(folder / OUTPUT_FILE),
        },
    }


def output_artifacts(outputs: dict[str, Artifact]) -> dict[str, Any]:
    """`outputs.artifacts` of an ExecutorInput; the server names them by their keys until they are stored."""
    return {
        key: {"artifacts": [artifact.runtime_artifact(typed=True) | {"name": key}]} for key, artifact in outputs.items()
    }


def merged(outputs: dict[str, Artifact], output: dict[str, Any]) -> dict[str, Artifact]:
    """The artifacts with what a command reports of them in its ExecutorOutput."""
    made = {key: of_key["artifacts"] for key, of_key in output.get("artifacts", {}).items()}
    return {key: artifact.merged(made[key][0]) if made.get(key) else artifact for key, artifact in outputs.items()}


def replaced(argument: str, given: dict[str, Any]) -> str:
    """An argument of a command with its placeholders replaced, as the launcher of KFP replaces them.

    Args:
        argument: The argument as it was compiled.
        given: The ExecutorInput.
    """
    argument = argument.replace(_ALL, json.dumps(given))
    for placeholder, value in _placeholders(given).items():
        argument = argument.replace(placeholder, value)
    return argument


def query(template: str, artifacts: dict[str, list[Artifact]]) -> str | None:
    """A resolver's query, filled in with the metadata of its input artifacts; None if one of them is missing."""
    for key, of_key in artifacts.items():
        if not of_key:
            return None
        for name, value in of_key[0].metadata.items():
            template = template.replace(f"{{{{$.inputs.artifacts['{key}'].metadata['{name}']}}}}", _text(value))
    return None if "{{$" in template else template


def output_parameters(
    component: dict[str, Any], given: dict[str, Any], output: dict[str, Any], task: str
) -> dict[str, Any]:
    """The output parameters of a task, from its output metadata or from files of their own.

    Raises:
        ValueError: A file is missing, or holds no value of the parameter's type.
    """
    values = dict(output.get("parameterValues", {}))
    for key, spec in component.get("outputDefinitions", {}).get("parameters", {}).items():
        if key not in values:
            path = pathlib.Path(given["outputs"]["parameters"][key]["outputFile"])
            if not path.exists():
                raise ValueError(f"{task} wrote no value of its output parameter {key} to {path}.")
            values[key] = value_of(f"{task}.{key}", path.read_text(encoding="utf-8"), spec["parameterType"])
    return values


def _placeholders(given: dict[str, Any]) -> dict[str, str]:
    found = {}
    for direction in ("inputs", "outputs"):
        for key, artifacts in given[direction]["artifacts"].items():
            for artifact in artifacts["artifacts"][:1]:
                # Local files need no copy: the path is the URI.
                for field in ("uri", "path"):
                    found[f"{{{{$.{direction}.artifacts['{key}'].{field}}}}}"] = artifact["uri"]
    for key, value in given["inputs"]["parameterValues"].items():
        found[f"{{{{$.inputs.parameters['{key}']}}}}"] = _text(value)
    for key, output in given["outputs"]["parameters"].items():
        found[f"{{{{$.outputs.parameters['{key}'].output_file}}}}"] = output["outputFile"]
    return found


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(value)
