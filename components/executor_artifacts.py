"""What executors say of the artifacts that they are handed, and copy from one to another."""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence

import tensorflow as tf
from absl import logging
from tfx import types

from . import properties
from .budget import BudgetVerdict

# In Stripper's Model artifact, beside the serving model, where Pusher and Evaluator do not look.
EXPORTS_FOLDER = "exports"


def artifacts_and_versions(
    input_dict: Mapping[str, Sequence[types.Artifact]], output_dict: Mapping[str, Sequence[types.Artifact]]
) -> dict[str, str]:
    """The artifacts that a component took and made, and TensorFlow's version, for the lineage in its report.

    Args:
        input_dict: Input artifacts by name, as an executor takes them.
        output_dict: Output artifacts by name, as an executor takes them.

    Returns:
        For each artifact, by 'input NAME' or 'output NAME', its type, its id in ML Metadata if it has one yet, and its
        URI; and the version of TensorFlow.
    """
    found = {}
    for kind, artifacts_by_key in (("input", input_dict), ("output", output_dict)):
        for key, artifacts in artifacts_by_key.items():
            for index, artifact in enumerate(artifacts or ()):
                name = f"{kind} {key}" + (f" {index + 1}" if len(artifacts) > 1 else "")
                identity = f" {artifact.id}" if artifact.id else ""
                found[name] = f"{artifact.type_name}{identity}: {artifact.uri}"
    return {**found, "TensorFlow": tf.__version__}


def copy_properties(source: types.Artifact, destination: types.Artifact, keys: Iterable[str] | None = None) -> None:
    """Copies custom properties from one artifact to another.

    Args:
        source: Where they are read.
        destination: Where they are set.
        keys: Which of them, those that `source` does not have are left out; None for all that TFX does not write for
            its own use. Numbers that are not finite, which ML Metadata's SQLite refuses, are left out and logged.
    """
    found = source.mlmd_artifact.custom_properties
    for key in found if keys is None else keys:
        if key in properties.BOOKKEEPING or key not in found:
            continue
        if not math.isfinite(found[key].double_value):
            logging.warning("The property %r of %s is %s and is not copied.", key, source.uri, found[key].double_value)
        elif properties.is_count(key):
            # Kubeflow hands every number on as a float, in a form of which TFX takes 0 for None.
            destination.set_int_custom_property(key, int(source.get_custom_property(key) or 0))
        else:
            destination.mlmd_artifact.custom_properties[key].CopyFrom(found[key])


def set_budget_properties(artifact: types.Artifact, verdict: BudgetVerdict) -> None:
    """Says in custom properties what a budget was, and what was delivered.

    Args:
        artifact: Where they are set.
        verdict: The budget, and what the model takes.
    """
    budget, delivered = verdict.budget, verdict.delivered
    artifact.set_string_custom_property(properties.BUDGET, json.dumps(dataclasses.asdict(budget)))
    artifact.set_int_custom_property(properties.DELIVERED_BYTES, delivered.bytes)
    if delivered.latency is not None:
        artifact.set_string_custom_property(properties.DELIVERED_LATENCY, repr(delivered.latency.median))
    artifact.set_int_custom_property(properties.BUDGET_MET, int(not verdict.failures))
