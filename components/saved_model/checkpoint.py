"""Checkpoint: the values of a SavedModel's variables, read from its files."""

import contextlib
import os
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

# What follows a variable's path in its key, if TensorFlow 2 wrote the checkpoint.
VALUE_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_OF_ANY_SIZE = (tf.string, tf.variant, tf.resource)


class Checkpoint:
    """The values of a SavedModel's variables. Each is read when it is asked for.

    Attributes:
        folder: The SavedModel's folder.
        shapes: Shape of each tensor, by key, in ascending order of the keys.
        dtypes: Dtype of each tensor, by key.
    """

    def __init__(self, folder: str, *, optional: bool = False) -> None:
        """Opens the checkpoint of a SavedModel.

        Args:
            folder: The SavedModel's folder.
            optional: Whether a SavedModel without a checkpoint is one without variables, as TensorFlow 1 writes it.

        Raises:
            ValueError: The files are missing or damaged.
        """
        self.folder = folder
        self.shapes: Mapping[str, tuple[int, ...]] = {}
        self.dtypes: Mapping[str, tf.DType] = {}
        if optional and not tf.io.gfile.exists(f"{prefix(folder)}.index"):
            return
        with self._failure_explained():
            self._reader = tf.train.load_checkpoint(prefix(folder))
            shapes = self._reader.get_variable_to_shape_map()
            self.shapes = {key: tuple(shapes[key]) for key in sorted(shapes)}
            self.dtypes = self._reader.get_variable_to_dtype_map()

    def __contains__(self, key: str) -> bool:
        return key in self.shapes

    def value(self, key: str) -> np.ndarray:
        """The value under a key; strings are an array of bytes objects, also if there is but one.

        Raises:
            ValueError: There is no such key, or the files are damaged.
        """
        with self._failure_explained():
            return as_array(self._reader.get_tensor(key))

    def variable(self, path_key: str) -> np.ndarray | None:
        """The value of a variable of TensorFlow 2.

        Args:
            path_key: The variable's key as `ObjectGraph.key` gives it, without `VALUE_SUFFIX`.

        Returns:
            The value; None if there is none.

        Raises:
            ValueError: The files are damaged.
        """
        key = path_key + VALUE_SUFFIX
        return self.value(key) if key in self else None

    @contextlib.contextmanager
    def _failure_explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # TensorFlow raises OpError, ValueError, RuntimeError, UnicodeDecodeError, ... for damaged files.
            raise ValueError(
                f"The variables of the SavedModel at {self.folder!r} cannot be read: {error}. If files are missing or "
                "damaged, save the model again."
            ) from error


def value_bytes(dtype: int | tf.DType, shape: tf.TensorShape) -> int:
    """The least that a value takes in a file, in bytes: 0 if its size is not known, as that of strings."""
    return (shape.num_elements() or 0) * (0 if tf.as_dtype(dtype) in _OF_ANY_SIZE else tf.as_dtype(dtype).size)


def prefix(folder: str) -> str:
    """What the names of a SavedModel's checkpoint files begin with."""
    return os.path.join(folder, "variables", "variables")


def as_array(value: np.ndarray | np.generic | bytes) -> np.ndarray:
    """A value as an array. TensorFlow's reader gives a scalar as numpy's scalar, and a scalar string as bytes."""
    return np.array(value, object) if isinstance(value, bytes) else np.asarray(value)
