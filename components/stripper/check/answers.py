"""Answers: what a signature returns for its inputs, and how two answers differ."""

import dataclasses
import math
import numbers
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from .relative_tolerance import RelativeTolerance

Signature = Any  # a loaded signature: keyword tensors in, an Answer out, with a structured_input_signature
# Outputs by name: tensors and composite tensors; of a session numpy arrays, SparseTensorValues and lists of parts.
Answer = Mapping[str, Any]

_DENSE = (tf.Tensor, np.ndarray)
_NODE = re.compile(r"\{\{.*?\}\}")
# What operations, and the tracing of a function for a shape, raise on an input that the model does not take.
REFUSALS = (tf.errors.OpError, ValueError, TypeError)


@dataclasses.dataclass(frozen=True)
class Refusal:
    """An answer of a model that does not take an input.

    Attributes:
        reason: The line of the error that says why.
    """

    reason: str


@dataclasses.dataclass(frozen=True)
class Difference:
    """How two answers to one batch of examples differ.

    Attributes:
        differing: Whether an example's answers differ in any bit; bool [examples].
        exceeding: Whether they differ by more than the tolerance; bool [examples].
        distance: The largest absolute difference of an example's numbers; float64 [examples]. Infinite where a number
            became NaN or the shapes differ; 0 where NaNs, zeros or strings differ.
    """

    differing: np.ndarray
    exceeding: np.ndarray
    distance: np.ndarray

    def __or__(self, other: "Difference") -> "Difference":
        return Difference(
            self.differing | other.differing,
            self.exceeding | other.exceeding,
            np.maximum(self.distance, other.distance),
        )

    @classmethod
    def none(cls, examples: int) -> "Difference":
        """The difference of equal answers."""
        return cls(np.zeros(examples, bool), np.zeros(examples, bool), np.zeros(examples))

    @classmethod
    def total(cls, examples: int) -> "Difference":
        """The difference of answers that cannot be compared."""
        return cls(np.ones(examples, bool), np.ones(examples, bool), np.full(examples, np.inf))

    def of_every(self, examples: int) -> "Difference":
        """The difference of each example, if this is that of the whole answer."""
        return Difference(*(np.repeat(each, examples) for each in (self.differing, self.exceeding, self.distance)))


def checked_tolerance(value: float) -> float:
    """A tolerance as a float.

    Args:
        value: The largest difference of two floating-point numbers; 0.0 requires bitwise equality.

    Raises:
        TypeError: It is not a number.
        ValueError: It is negative, infinite or NaN.
    """
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"tolerance is {value!r} of type {type(value).__name__}, expected a number such as 1e-6.")
    if not 0.0 <= value < math.inf:
        raise ValueError(f"tolerance is {value}, expected a finite number of at least 0.0, where 0.0 compares bits.")
    return float(value)


def ask(signature: Signature, inputs: Mapping[str, tf.Tensor]) -> Answer | Refusal:
    """Calls a signature."""
    try:
        return signature(**inputs)
    except REFUSALS as error:
        return Refusal(reason(error))


def reason(error: Exception) -> str:
    """The line of an error that says what is wrong; TensorFlow puts the traceback of the graph before it."""
    if isinstance(error, UnicodeDecodeError):
        # TensorFlow quotes a record that it cannot parse, and then cannot make an error of that message.
        message = error.object.decode(errors="backslashreplace")
    else:
        message = error.message if isinstance(error, tf.errors.OpError) else str(error)
    lines = [_NODE.sub("", line).strip() for line in message.partition("[[{{")[0].splitlines()]
    return next((line.rstrip(".") for line in reversed(lines) if line), type(error).__name__)


def output_differences(
    before: Answer, after: Answer, examples: int | None = None, tolerance: float = 0.0
) -> dict[str, Difference]:
    """Compares two answers output by output.

    Bits are compared, so NaN equals itself and 0.0 differs from -0.0. If the first dimension of an output is not that
    of the examples, the output is compared as a whole, and a difference in it counts for every example.

    Args:
        before: Outputs by name.
        after: Outputs of the same names and dtypes.
        examples: The number of examples in the batch; None to compare every output as a whole, as one example.
        tolerance: The largest difference of two floating-point numbers; 0.0 requires bitwise equality. Above 0.0, a NaN
            may become any other NaN, and a zero may change its sign. Integers, booleans and strings must be equal.

    Returns:
        The differences of the outputs that differ in any bit, by output.
    """
    found = {}
    for name in sorted(before):
        difference = _value_difference(before[name], after[name], examples, tolerance)
        if difference.differing.any():
            found[name] = difference
    return found


def in_words(before: Any, after: Any, example: int | None = None) -> str:
    """An output of two answers in words, with values cut short.

    Args:
        before: An output.
        after: The same output of another answer.
        example: Index of the example to show; None for the whole output.
    """
    before, after = _tensor_like(before), _tensor_like(after)
    if example is not None and _has_examples(before, example + 1) and _has_examples(after, example + 1):
        before, after = _example(before, example), _example(after, example)
    return f"{_short(before)} became {_short(after)}"


def _value_difference(before: Any, after: Any, examples: int | None, tolerance: float) -> Difference:
    before, after = _tensor_like(before), _tensor_like(after)
    old, new = _components(before), _components(after)
    aligned = examples is not None and all(_counts(value) == examples for value in (before, after))
    if not aligned:
        return _whole_difference(old, new, tolerance).of_every(examples or 1)
    if isinstance(before, _DENSE):
        return _difference(old[0], new[0], examples, tolerance)
    if not _whole_difference(old, new, tolerance).differing.any():
        return Difference.none(examples)
    each = [
        _whole_difference(_components(_example(before, i)), _components(_example(after, i)), tolerance)
        for i in range(examples)
    ]
    return Difference(
        *(np.concatenate([getattr(one, field.name) for one in each]) for field in dataclasses.fields(Difference))
    )


def _whole_difference(before: Sequence[np.ndarray], after: Sequence[np.ndarray], tolerance: float) -> Difference:
    found = Difference.none(1)
    for old, new in zip(before, after, strict=True):
        found |= _difference(old, new, 1, tolerance)
    return found


def _difference(before: np.ndarray, after: np.ndarray, rows: int, tolerance: float) -> Difference:
    """Compares arrays row by row, each a part of `rows` equal ones."""
    if before.dtype != after.dtype or before.shape != after.shape:
        return Difference.total(rows)
    old, new = (np.ascontiguousarray(each).reshape(rows, before.size // rows) for each in (before, after))
    if before.dtype == object:
        differing = (old != new).any(axis=1)
        return Difference(differing, differing, np.zeros(rows))
    differing = (old.view(np.uint8) != new.view(np.uint8)).any(axis=1) if before.size else np.zeros(rows, bool)
    distance = np.zeros(rows)
    if differing.any():
        distance[differing] = _distance(old[differing], new[differing])
    inexact = tf.as_dtype(before.dtype).is_floating or tf.as_dtype(before.dtype).is_complex
    exceeding = distance > tolerance if tolerance and inexact else differing
    if isinstance(tolerance, RelativeTolerance) and inexact:
        exceeding = tolerance.exceeded(old, new)
    return Difference(differing, exceeding, distance)


def _distance(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The largest absolute difference in each row."""
    kind = np.complex128 if np.iscomplexobj(before) else np.float64
    old, new = before.astype(kind), after.astype(kind)
    with np.errstate(invalid="ignore"):  # infinity less itself
        distance = np.abs(new - old)
    distance[(old == new) | (np.isnan(old) & np.isnan(new))] = 0.0
    return np.nan_to_num(distance, nan=np.inf, posinf=np.inf).max(axis=1)


def _tensor_like(value: Any) -> Any:
    """The sparse tensor of a session's sparse value; all else as it is."""
    return tf.SparseTensor.from_value(value) if isinstance(value, tf.compat.v1.SparseTensorValue) else value


def _components(value: Any) -> list[np.ndarray]:
    return [_array(each) for each in tf.nest.flatten(value, expand_composites=True)]


def _array(value: tf.Tensor | np.ndarray) -> np.ndarray:
    if not tf.is_tensor(value):
        return value
    # A string tensor of rank 0 gives bytes, which numpy would make an array that loses trailing zeros.
    return np.asarray(value.numpy(), dtype=object if value.dtype == tf.string else None)


def _counts(value: Any) -> int | None:
    """The first dimension of a tensor, if it has one that can be split along it."""
    if isinstance(value, tf.RaggedTensor):
        return int(value.nrows())
    if isinstance(value, tf.SparseTensor):
        return int(value.dense_shape[0])
    return value.shape[0] if isinstance(value, _DENSE) and len(value.shape) else None


def _has_examples(value: Any, least: int) -> bool:
    count = _counts(value)
    return count is not None and count >= least


def _example(value: Any, index: int) -> Any:
    if isinstance(value, tf.SparseTensor):
        rank = value.dense_shape.shape[0]
        return tf.sparse.slice(value, [index] + [0] * (rank - 1), tf.concat([[1], value.dense_shape[1:]], axis=0))
    return value[index]


def _short(value: Any) -> str:
    if isinstance(value, tf.RaggedTensor):
        return f"{value.to_list()!r:.100}"
    if isinstance(value, tf.SparseTensor):
        return f"{value.values.numpy().tolist()!r:.80} at {value.indices.numpy().tolist()!r:.80}"
    return f"{tf.nest.map_structure(_plain, value)!r:.100}"


def _plain(tensor: tf.Tensor | np.ndarray | np.generic | bytes) -> Any:
    value = tensor.numpy() if tf.is_tensor(tensor) else tensor
    return value if isinstance(value, bytes) else value.tolist()
