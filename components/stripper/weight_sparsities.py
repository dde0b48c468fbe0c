"""Weight sparsities: how many values of each weight of a stripped SavedModel of TensorFlow 1 are zero."""

import os

import numpy as np
from tensorflow.core.protobuf import saved_model_pb2

from ..engine.keras.delivered_sparsity import WeightSparsity
from ..report.saved_weights import is_floating
from ..saved_model.checkpoint import Checkpoint
from .tf1.saved_model import GraphModel


def weight_sparsities(
    source: str | os.PathLike[str], saved_model: saved_model_pb2.SavedModel, stripped: str | os.PathLike[str]
) -> tuple[WeightSparsity, ...]:
    """The floating variables of a stripped model, biases too, by their keys.

    Args:
        source: Folder of the model that was stripped; weights that it masks are the pruned ones.
        saved_model: Its `saved_model.pb`.
        stripped: Folder of the stripped one, whose zeros are counted.

    Raises:
        ValueError: One of the two cannot be read.
    """
    masked = GraphModel(os.fspath(source), saved_model).masked
    checkpoint = Checkpoint(os.fspath(stripped), optional=True)
    values = ((key, checkpoint.value(key)) for key in checkpoint.shapes)
    return tuple(
        WeightSparsity(key, value.shape, int(np.count_nonzero(value)), key in masked)
        for key, value in values
        if is_floating(value)
    )
