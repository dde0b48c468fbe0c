"""PipelineFile: a compiled pipeline."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import yaml

_SCHEMA_VERSION = "2.1.0"
_NUMBERS = ("NUMBER_INTEGER", "NUMBER_DOUBLE")


@dataclasses.dataclass(frozen=True)
class PipelineFile:
    """A pipeline as KFP's compiler and TFX's write it, each message as its JSON.

    Attributes:
        name: Name of the pipeline.
        root: ComponentSpec of the whole pipeline.
        components: ComponentSpecs by name.
        executors: ExecutorSpecs by label.
        default_root: Where runs write to if nothing else is said; may be empty.
    """

    name: str
    root: dict[str, Any]
    components: dict[str, dict[str, Any]]
    executors: dict[str, dict[str, Any]]
    default_root: str

    @classmethod
    def read(cls, path: pathlib.Path) -> "PipelineFile":
        """Reads a file that a compiler wrote.

        Args:
            path: YAML, or JSON, of a PipelineSpec; documents after the first are for Kubernetes and are not read.

        Raises:
            ValueError: The file cannot be read, or is no pipeline of that schema.
        """
        try:
            with path.open(encoding="utf-8") as file:
                spec = next(yaml.safe_load_all(file), None)
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} cannot be read as YAML: {error}") from error
        if not isinstance(spec, dict) or "root" not in spec or "pipelineInfo" not in spec:
            raise ValueError(
                f"{path} is no compiled pipeline: compile one with python -m tfx_pruning.pipelines.kubeflow.runner."
            )
        if spec.get("schemaVersion") != _SCHEMA_VERSION:
            raise ValueError(
                f"{path} has the schema version {spec.get('schemaVersion')}, expected {_SCHEMA_VERSION}, as KFP does: "
                "compile with use_pipeline_spec_2_1=True."
            )
        return cls(
            name=spec["pipelineInfo"]["name"],
            root=spec["root"],
            components=spec.get("components", {}),
            executors=spec.get("deploymentSpec", {}).get("executors", {}),
            default_root=spec.get("defaultPipelineRoot", ""),
        )

    def executor(self, component: dict[str, Any]) -> dict[str, Any]:
        """ExecutorSpec of a component."""
        return self.executors[component["executorLabel"]]

    def parameters(self, given: Mapping[str, str]) -> dict[str, Any]:
        """The pipeline's parameters of one run.

        Args:
            given: Values by name, as text.

        Returns:
            Values by name, each of its parameter's type, defaults included.

        Raises:
            ValueError: A name is unknown, a text is no value of the type, or a parameter has neither value nor default.
        """
        specs = self.root.get("inputDefinitions", {}).get("parameters", {})
        unknown = sorted(set(given) - set(specs))
        if unknown:
            known = ", ".join(sorted(specs)) or "none"
            raise ValueError(f"The pipeline has no parameter {', '.join(unknown)}; it has: {known}.")
        values = {}
        for name, spec in specs.items():
            if name in given:
                values[name] = value_of(name, given[name], spec["parameterType"])
            elif "defaultValue" in spec:
                values[name] = spec["defaultValue"]
            elif not spec.get("isOptional"):
                raise ValueError(f"The parameter {name} has no default: give it a value.")
        return values


def value_of(name: str, text: str, kind: str) -> Any:
    """The value of a KFP parameter type that a text stands for.

    Args:
        name: Name of the parameter, for the error.
        text: The text: as it is for STRING, otherwise JSON.
        kind: ParameterType of KFP.

    Raises:
        ValueError: The text is no value of the type.
    """
    if kind == "STRING":
        return text
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not is_of(value, kind):
        raise ValueError(f"The parameter {name} must be a {kind}, got {text!r}.")
    return value


def is_of(value: Any, kind: str) -> bool:
    """Whether a value is of a KFP parameter type; STRING is of str alone."""
    if kind in _NUMBERS:
        whole = kind != "NUMBER_INTEGER" or (isinstance(value, (int, float)) and value == int(value))
        return isinstance(value, (int, float)) and not isinstance(value, bool) and whole
    types = {"STRING": str, "BOOLEAN": bool, "LIST": list, "STRUCT": dict, "TASK_FINAL_STATUS": dict}
    return kind in types and isinstance(value, types[kind])
