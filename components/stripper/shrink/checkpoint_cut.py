"""Writes the checkpoint of a SavedModel once more, with smaller variables."""

from collections.abc import Iterator

import numpy as np

from ...saved_model.checkpoint_copy import CHUNK_BYTES, CheckpointCopy
from ...saved_model.tensor_bundle import TensorBundle
from ...structure.units import Axis
from .cut import Cut, cut_array
from .saved_structure import read_value


class CheckpointCut:
    """A checkpoint, of which some variables become smaller; all others are copied as they stand, piece by piece."""

    def __init__(self, source: TensorBundle, cut: Cut) -> None:
        """Takes a checkpoint and a cut."""
        self._source = source
        self._cut = cut
        self._copy = CheckpointCopy(source)

    def change(self, key: str, axes: tuple[Axis, ...], addend: np.ndarray | None = None) -> None:
        """Says that a variable is cut, and what is added to what stays of it."""
        sizes = read_value(self._source, key).shape
        shape = [size if axis is None else self._cut.count(axis) for size, axis in zip(sizes, axes, strict=True)]
        self._copy.replace(key, shape, lambda: self._parts(key, axes, addend))

    def write(self, folder: str) -> None:
        """Writes the checkpoint of the SavedModel in a folder.

        Raises:
            OSError, tf.errors.OpError: It cannot be written.
        """
        self._copy.write(folder)

    def _parts(self, key: str, axes: tuple[Axis, ...], addend: np.ndarray | None) -> Iterator[np.ndarray]:
        """What stays of a variable, some rows at a time."""
        array = read_value(self._source, key)
        rows = np.arange(len(array)) if axes[0] is None else self._cut.kept(axes[0])
        step = max(1, CHUNK_BYTES // max(1, array.nbytes // max(1, len(array))))
        for begin in range(0, len(rows), step):
            part = cut_array(array[rows[begin : begin + step]], (None, *axes[1:]), self._cut)
            if addend is not None:
                part = (part.astype(addend.dtype) + addend[begin : begin + step]).astype(array.dtype)
            yield part
