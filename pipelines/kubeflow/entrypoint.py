"""The command of every task's container on Kubeflow: TFX's own entrypoint, with the types of input artifacts filled in.

The open-source backend hands artifacts on with an empty type (Vertex AI names it), which TFX's entrypoint cannot read:
`'NoneType' object has no attribute 'get'`. The types are in the component's own specification, which TFX's compiler
passes as an argument too.
"""

import json
import runpy
import sys
from collections.abc import Sequence
from typing import Any

_TFX_ENTRYPOINT = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"
_EXECUTOR_INPUT = "--json_serialized_invocation_args"
_INPUTS_SPEC = "--json_serialized_inputs_spec_args"


def with_artifact_types(arguments: Sequence[str]) -> list[str]:
    """The arguments, with a type on every input artifact that came without one.

    Args:
        arguments: Command line arguments as TFX's compiler writes them, placeholders replaced.

    Raises:
        ValueError: One of the two JSON arguments is missing.
    """
    filled = list(arguments)
    positions = {}
    for name in (_EXECUTOR_INPUT, _INPUTS_SPEC):
        if name not in filled[:-1]:
            raise ValueError(f"{name} is missing: compile the pipeline with tfx_pruning.pipelines.kubeflow.runner.")
        positions[name] = filled.index(name) + 1
    executor_input = json.loads(filled[positions[_EXECUTOR_INPUT]])
    specs = json.loads(filled[positions[_INPUTS_SPEC]]).get("artifacts", {})
    for name, artifacts in executor_input.get("inputs", {}).get("artifacts", {}).items():
        for artifact in artifacts.get("artifacts", []):
            if not _has_type(artifact) and name in specs:
                artifact["type"] = specs[name]["artifactType"]
    filled[positions[_EXECUTOR_INPUT]] = json.dumps(executor_input)
    return filled


def _has_type(artifact: dict[str, Any]) -> bool:
    return any(artifact.get("type", {}).values())


def main() -> None:
    """Runs the executor that the command line names."""
    sys.argv[1:] = with_artifact_types(sys.argv[1:])
    runpy.run_module(_TFX_ENTRYPOINT, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
