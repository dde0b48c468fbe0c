"""The variables of a TensorFlow 1 SavedModel on disk."""

import os
from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf

from ...saved_model.loading import failure_explained
from .saver import Entry

PREFIX = os.path.join("variables", "variables")


class Checkpoint:
    """The checkpoint of a SavedModel, read-only.

    Attributes:
        keys: The names of its tensors, sorted; none if it has no file.
    """

    def __init__(self, source: str) -> None:
        """Opens the checkpoint of the SavedModel at `source`.

        Raises:
            ValueError: It is damaged.
        """
        self._source = source
        self._prefix = os.path.join(source, PREFIX)
        self.keys: list[str] = []
        if tf.io.gfile.exists(f"{self._prefix}.index"):
            with failure_explained(source):
                self._reader = tf.train.load_checkpoint(self._prefix)
                self._dtypes = self._reader.get_variable_to_dtype_map()
                self.keys = sorted(self._dtypes)

    def value(self, entry: Entry) -> np.ndarray:
        """The value of a variable."""
        with failure_explained(self._source):
            return self._reader.get_tensor(entry.key)[entry.slices()]

    def write(self, folder: str, keys: Iterable[str], changed: Mapping[Entry, np.ndarray]) -> None:
        """Writes some of the tensors to the checkpoint of another SavedModel; slices are put together.

        Args:
            folder: Of the other SavedModel.
            keys: Names of the tensors.
            changed: The values that are not those of this checkpoint.

        Raises:
            ValueError: A tensor is lost or damaged.
            tf.errors.OpError: The files cannot be written.
        """
        names = sorted(keys)
        whole = [""] * len(names)
        dtypes = [self._dtypes[name] for name in names]
        with failure_explained(self._source):
            tensors = tf.raw_ops.RestoreV2(
                prefix=self._prefix, tensor_names=names, shape_and_slices=whole, dtypes=dtypes
            )
        for index, name in enumerate(names):
            parts = [(entry, value) for entry, value in changed.items() if entry.key == name]
            if parts:
                value = tensors[index].numpy().copy()
                for entry, part in parts:
                    value[entry.slices()] = part
                tensors[index] = tf.constant(value, dtypes[index])
        prefix = os.path.join(folder, PREFIX)
        tf.io.gfile.makedirs(os.path.dirname(prefix))
        tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=whole, tensors=tensors)
