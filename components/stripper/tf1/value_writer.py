"""Writes the checkpoint of a stripped SavedModel of TensorFlow 1."""

import os
from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf

from ...saved_model.checkpoint import Checkpoint, prefix
from ...saved_model.loading import failure_explained
from .saver import Entry


def write_values(source: Checkpoint, folder: str, keys: Iterable[str], changed: Mapping[Entry, np.ndarray]) -> None:
    """Writes some tensors of a checkpoint to that of another SavedModel; slices are joined.

    Args:
        source: The checkpoint.
        folder: Folder of the other SavedModel.
        keys: Names of the tensors.
        changed: Values that differ from those of `source`.

    Raises:
        ValueError: A tensor is lost or damaged.
        tf.errors.OpError: The files cannot be written.
    """
    names = sorted(keys)
    whole = [""] * len(names)
    dtypes = [source.dtypes[name] for name in names]
    with failure_explained(source.folder):
        tensors = tf.raw_ops.RestoreV2(
            prefix=prefix(source.folder), tensor_names=names, shape_and_slices=whole, dtypes=dtypes
        )
    for index, name in enumerate(names):
        parts = [(entry, value) for entry, value in changed.items() if entry.key == name]
        if parts:
            value = tensors[index].numpy().copy()
            for entry, part in parts:
                value[entry.slices()] = part
            tensors[index] = tf.constant(value, dtypes[index])
    target = prefix(folder)
    tf.io.gfile.makedirs(os.path.dirname(target))
    tf.raw_ops.SaveV2(prefix=target, tensor_names=names, shape_and_slices=whole, tensors=tensors)
