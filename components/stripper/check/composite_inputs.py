"""Composites: inputs of a signature that are parts of one SparseTensor or RaggedTensor, and so must fit each other."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

Draw = Callable[[str, int], tf.Tensor]  # draws values of an input, by its name and their number

_MOST_IN_ROW = 8  # values in a row, however wide a tensor is
_SPLITS = (tf.int32, tf.int64)


@dataclasses.dataclass(frozen=True)
class SparseParts:
    """Names of the inputs that are the parts of a SparseTensor, and its rank."""

    indices: str
    values: str
    shape: str
    rank: int

    def drawn(self, rows: int, size: int, random: np.random.Generator, draw: Draw) -> dict[str, tf.Tensor]:
        """The parts of a SparseTensor with few values.

        Args:
            rows: Size of the first dimension.
            size: Size of all other dimensions.
            random: The generator of the indices.
            draw: Draws the values.
        """
        shape = [rows, *([size] * (self.rank - 1))][: self.rank]
        some = random.integers(0, shape, (rows * min(size, _MOST_IN_ROW), self.rank))
        indices = np.unique(some, axis=0)  # in the order that TensorFlow expects, too
        return {
            self.indices: tf.constant(indices, tf.int64),
            self.values: draw(self.values, len(indices)),
            self.shape: tf.constant(shape, tf.int64),
        }


@dataclasses.dataclass(frozen=True)
class RaggedParts:
    """Names of the inputs that are the parts of a RaggedTensor: flat values, and row splits, outermost first."""

    values: str
    splits: tuple[tuple[str, tf.DType], ...]

    def drawn(self, rows: int, size: int, random: np.random.Generator, draw: Draw) -> dict[str, tf.Tensor]:
        """The parts of a RaggedTensor with rows of different lengths; takes what `SparseParts.drawn` does."""
        parts = {}
        for name, dtype in self.splits:
            splits = np.concatenate([[0], np.cumsum(random.integers(0, min(size, _MOST_IN_ROW) + 1, rows))])
            parts[name] = tf.constant(splits, dtype)
            rows = int(splits[-1])
        return {**parts, self.values: draw(self.values, rows)}


Composite = SparseParts | RaggedParts


def composites(specs: Mapping[str, tf.TypeSpec], most_splits: int | None = None) -> tuple[Composite, ...]:
    """Finds the inputs of a signature that look like the parts of one tensor.

    TensorFlow names the parts of an argument `x` 'x', 'x_1', 'x_2'; others name them 'x_indices', 'x_values', ...

    Args:
        specs: Name and spec of each input.
        most_splits: How many row splits a RaggedTensor has at most; None for as many as follow its values.
    """
    found: list[Composite] = []
    for names in _sequences(specs):
        while names:
            composite, count = _first(specs, names, most_splits)
            found.extend([composite] if composite else [])
            names = names[count:]
    return tuple(found)


def _first(
    specs: Mapping[str, tf.TypeSpec], names: Sequence[str], most_splits: int | None
) -> tuple[Composite | None, int]:
    """What the first of several names are the parts of, and how many of them."""
    if len(names) >= 3 and (rank := _sparse_rank(*(specs[name] for name in names[:3]))):
        return SparseParts(*names[:3], rank), 3
    splits = []
    for name in names[1:]:
        if not _is_vector(specs[name], *_SPLITS) or specs[name].shape[0] is not None or len(splits) == most_splits:
            break
        splits.append((name, specs[name].dtype))
    values = specs[names[0]]
    if splits and isinstance(values, tf.TensorSpec) and values.shape.rank and values.shape[0] is None:
        return RaggedParts(names[0], tuple(splits)), 1 + len(splits)
    return None, 1


def _sequences(specs: Mapping[str, tf.TypeSpec]) -> list[list[str]]:
    """Names that may belong together, each list in the order of the parts."""
    numbered: dict[str, dict[int, str]] = {}
    for name in specs:
        base, number = re.fullmatch(r"(.*?)(?:_([1-9]\d*))?", name, re.DOTALL).groups()
        numbered.setdefault(base, {})[int(number or 0)] = name
    found = []
    for names in numbered.values():
        sequence = []
        while len(sequence) in names:
            sequence.append(names[len(sequence)])
        found.append(sequence)
    for name in specs:
        for first, *others in (("indices", "values", "dense_shape"), ("indices", "values", "shape")):
            prefix = name.removesuffix(first)
            if prefix != name and all(prefix + other in specs for other in others):
                found.append([name, *(prefix + other for other in others)])
        for values in ("flat_values", "values"):
            if name.endswith(values) and (splits := name.removesuffix(values) + "row_splits") in specs:
                found.append([name, splits])
    return [names for names in found if len(names) > 1]


def _sparse_rank(indices: tf.TypeSpec, values: tf.TypeSpec, shape: tf.TypeSpec) -> int | None:
    if not (_is_vector(shape, tf.int64) and _is_vector(values) and isinstance(indices, tf.TensorSpec)):
        return None
    if indices.dtype != tf.int64 or indices.shape.rank != 2:
        return None
    ranks = {rank for rank in (indices.shape[1], shape.shape[0]) if rank is not None} or {2}
    return ranks.pop() if len(ranks) == 1 else None


def _is_vector(spec: tf.TypeSpec, *dtypes: tf.DType) -> bool:
    return isinstance(spec, tf.TensorSpec) and spec.shape.rank == 1 and (not dtypes or spec.dtype in dtypes)
