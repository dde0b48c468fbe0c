"""Granularity: which weights are kept or pruned together, as one unit."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from .. import path_map
from ..choices import GRANULARITIES
from ..hparams import PruningHParams

Shape = tuple[int, ...]


class Granularity(Protocol):
    """How one weight tensor is divided into units. What is compiled for one is used for all that equal it."""

    @property
    def units(self) -> int:
        """Number of units."""
        ...

    def pool(self, values: tf.Tensor) -> tf.Tensor:
        """One value for each unit.

        Args:
            values: Non-negative, shape of the weight.

        Returns:
            A tensor with `units` elements, dtype of `values`.
        """
        ...

    def any(self, mask: tf.Tensor) -> tf.Tensor:
        """1 for each unit that has a weight with mask 1, else 0; like `pool`."""
        ...

    def expand(self, mask: tf.Tensor) -> tf.Tensor:
        """The mask of the weights from that of the units: shape of the weight, dtype of `mask`."""
        ...


@dataclasses.dataclass(frozen=True)
class Elements:
    """Every weight is a unit.

    Attributes:
        units: Number of weights.
    """

    units: int

    def pool(self, values: tf.Tensor) -> tf.Tensor:
        """See `Granularity.pool`."""
        return values

    def any(self, mask: tf.Tensor) -> tf.Tensor:
        """See `Granularity.any`."""
        return mask

    def expand(self, mask: tf.Tensor) -> tf.Tensor:
        """See `Granularity.expand`."""
        return mask


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Rectangles of a matrix, from its first row and column on. Those at its end may be smaller.

    Attributes:
        shape: Shape of the weight.
        matrix: Shape of the weight as a matrix.
        block: Height and width of a block, at most those of the matrix count.
        pooling: 'AVG', the mean over the weights of a block, or 'MAX'.
    """

    shape: Shape
    matrix: tuple[int, int]
    block: tuple[int, int]
    pooling: str

    @property
    def units(self) -> int:
        """Number of blocks."""
        return math.prod(self._grid)

    @functools.cached_property
    def _block(self) -> tuple[int, ...]:
        return tuple(min(size, whole) for size, whole in zip(self.block, self.matrix, strict=True))

    @functools.cached_property
    def _grid(self) -> tuple[int, ...]:
        return tuple(-(-whole // size) for size, whole in zip(self._block, self.matrix, strict=True))

    @functools.cached_property
    def _sizes(self) -> np.ndarray:
        """How many weights each block has."""
        filled = [
            np.minimum(size, whole - size * np.arange(count))
            for size, whole, count in zip(self._block, self.matrix, self._grid, strict=True)
        ]
        return np.outer(*filled)

    def pool(self, values: tf.Tensor) -> tf.Tensor:
        """See `Granularity.pool`."""
        if self.pooling == "MAX":
            return tf.reduce_max(self._blocks(values), axis=[1, 3])
        return tf.reduce_sum(self._blocks(values), axis=[1, 3]) / tf.constant(self._sizes, values.dtype)

    def any(self, mask: tf.Tensor) -> tf.Tensor:
        """See `Granularity.any`."""
        return tf.reduce_max(self._blocks(mask), axis=[1, 3])

    def expand(self, mask: tf.Tensor) -> tf.Tensor:
        """See `Granularity.expand`."""
        (rows, columns), (height, width) = self._grid, self._block
        spread = tf.broadcast_to(tf.reshape(mask, [rows, 1, columns, 1]), [rows, height, columns, width])
        matrix = tf.reshape(spread, [rows * height, columns * width])
        return tf.reshape(matrix[: self.matrix[0], : self.matrix[1]], self.shape)

    def _blocks(self, values: tf.Tensor) -> tf.Tensor:
        """The blocks, shape [rows, height, columns, width], padded with zeros."""
        (rows, columns), (height, width) = self._grid, self._block
        missing = [[0, rows * height - self.matrix[0]], [0, columns * width - self.matrix[1]]]
        return tf.reshape(tf.pad(tf.reshape(values, self.matrix), missing), [rows, height, columns, width])


def granularities(hparams: PruningHParams, paths: Sequence[str], shapes: Sequence[Shape]) -> list[Granularity]:
    """The granularity that `hparams` asks for, of each weight.

    As in the reference, weights that are matrices, not counting dimensions of 1, are divided into blocks. With
    `block_conv` all others are too, as matrices of (all dimensions but the last, the last). The rest is pruned weight
    by weight. Channels, which run through several weights, are not of this kind: see `channel_update`.

    Args:
        hparams: The hyperparameters.
        paths: The weights' paths.
        shapes: The weights' shapes.

    Raises:
        ValueError: A regex of `block_dims_map` matches no weight, or two match one.
    """
    mapped = path_map.matches("block_dims_map", hparams.block_dims, paths)
    everywhere = hparams.block_height, hparams.block_width
    divide = GRANULARITIES.get(hparams.granularity)()
    return [
        divide(hparams, path, shape, mapped[index][1] if index in mapped else everywhere)
        for index, (path, shape) in enumerate(zip(paths, shapes, strict=True))
    ]


def elements_or_blocks(hparams: PruningHParams, path: str, shape: Shape, block: tuple[int, int]) -> Granularity:
    """`granularity='element'`: every weight is a unit, or every block if the weight is to be divided into blocks.

    Args:
        hparams: The hyperparameters.
        path: The weight's path.
        shape: Its shape.
        block: Height and width of its blocks, -1 for the whole dimension; (1, 1) for none.
    """
    del path
    matrix = _matrix(shape, hparams.block_conv)
    if matrix is None or block == (1, 1) or hparams.run_length:
        return Elements(math.prod(shape))
    size = tuple(whole if size == -1 else size for size, whole in zip(block, matrix, strict=True))
    return Blocks(shape, matrix, size, hparams.block_pooling_function)


def _matrix(shape: Shape, block_conv: bool) -> tuple[int, int] | None:
    squeezed = tuple(size for size in shape if size != 1)
    if len(squeezed) == 2:
        return squeezed
    if block_conv and len(squeezed) > 2:
        return math.prod(shape[:-1]), shape[-1]
    return None
