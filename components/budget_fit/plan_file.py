"""The file of a HyperParameters artifact that holds a SparsityPlan; PruningTrainer reads the target sparsity there."""

import json
import os

import tensorflow as tf
from tfx import types
from tfx.types import artifact_utils
from tfx.utils import io_utils

from .. import properties
from ..staging import write_file
from .sparsity_plan import SparsityPlan

_NAME = "best_hyperparameters.txt"


def write_plan(artifact: types.Artifact, plan: SparsityPlan, sparsity: float) -> None:
    """Writes a plan, and the sparsity of the training that is to come.

    Args:
        artifact: A HyperParameters artifact.
        plan: The plan.
        sparsity: A fraction.
    """
    write_file(os.path.join(artifact.uri, _NAME), plan.to_json(sparsity).encode())
    artifact.set_string_custom_property(properties.NEXT_SPARSITY, repr(sparsity))


def read_plan(artifacts: list[types.Artifact]) -> tuple[SparsityPlan, float]:
    """Reads a plan, and the sparsity of the training that it was for.

    Args:
        artifacts: One HyperParameters artifact.

    Raises:
        ValueError: The file is something else.
    """
    with tf.io.gfile.GFile(io_utils.get_only_uri_in_dir(artifact_utils.get_single_uri(artifacts))) as stream:
        text = stream.read()
    plan = SparsityPlan.from_json(text)
    return plan, float(json.loads(text)["values"]["pruning/target_sparsity"])
