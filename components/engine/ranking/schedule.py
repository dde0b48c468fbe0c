"""The sparsity schedule: step -> sparsity."""

import abc
import dataclasses
import math
from collections.abc import Callable
from typing import Protocol, TypeAlias

import keras
import tensorflow as tf

from ..hparams import PruningHParams

SparsitySource: TypeAlias = tf.Variable | keras.Variable | Callable[[tf.Tensor], tf.Tensor]


class Schedule(Protocol):
    """Sparsity that goes from one value to another without turning back."""

    @property
    def initial_sparsity(self) -> float:
        """Sparsity at the first step, a fraction."""
        ...

    @property
    def target_sparsity(self) -> float:
        """Sparsity in the end, a fraction."""
        ...

    def __call__(self, step: int | tf.Tensor) -> tf.Tensor:
        """Sparsity at `step`, an integer scalar: float64 scalar, a fraction."""
        ...


@dataclasses.dataclass(frozen=True)
class _Ramp(abc.ABC):
    """Sparsity that goes from one value to another between two steps."""

    initial_sparsity: float
    target_sparsity: float
    begin_step: int
    end_step: int

    def __call__(self, step: int | tf.Tensor) -> tf.Tensor:
        """Sparsity at `step`.

        Args:
            step: Integer scalar, a Python number or a tensor.

        Returns:
            float64 scalar, a fraction; exactly `target_sparsity` from `end_step` on.
        """
        elapsed = tf.cast(tf.convert_to_tensor(step, dtype_hint=tf.int64), tf.float64) - self.begin_step
        progress = tf.clip_by_value(elapsed / (self.end_step - self.begin_step), 0.0, 1.0)
        return self.target_sparsity + (self.initial_sparsity - self.target_sparsity) * self._left(progress)

    @abc.abstractmethod
    def _left(self, progress: tf.Tensor) -> tf.Tensor:
        """Which fraction of the way is left, given which fraction of the steps is done; exactly 0 at 1."""


@dataclasses.dataclass(frozen=True)
class PolynomialSchedule(_Ramp):
    """Sparsity that rises along a polynomial (Zhu and Gupta, 2017, https://arxiv.org/abs/1710.01878).

    With p = clip((step - begin_step) / (end_step - begin_step), 0, 1):

        sparsity(step) = target_sparsity + (initial_sparsity - target_sparsity) * (1 - p) ** exponent

    Attributes:
        initial_sparsity: Sparsity up to `begin_step`, a fraction.
        target_sparsity: Sparsity from `end_step` on, a fraction.
        begin_step: First step of the ramp.
        end_step: Last step of the ramp.
        exponent: 1 rises along a line, 3 fast at first and slowly towards the end.

    Example:
        >>> schedule = PolynomialSchedule(0.0, 0.8, begin_step=100, end_step=300, exponent=3.0)
        >>> [round(float(schedule(step)), 3) for step in (0, 100, 200, 300, 1000)]
        [0.0, 0.0, 0.7, 0.8, 0.8]
    """

    exponent: float

    def _left(self, progress: tf.Tensor) -> tf.Tensor:
        return (1.0 - progress) ** self.exponent


@dataclasses.dataclass(frozen=True)
class CosineSchedule(_Ramp):
    """Sparsity that rises along half a period of a cosine: slowly, fast in the middle, slowly.

    With p = clip((step - begin_step) / (end_step - begin_step), 0, 1):

        sparsity(step) = target_sparsity + (initial_sparsity - target_sparsity) * (1 + cos(pi * p)) / 2

    Attributes:
        initial_sparsity: Sparsity up to `begin_step`, a fraction.
        target_sparsity: Sparsity from `end_step` on, a fraction.
        begin_step: First step of the ramp.
        end_step: Last step of the ramp.

    Example:
        >>> schedule = CosineSchedule(0.0, 0.8, begin_step=100, end_step=300)
        >>> [round(float(schedule(step)), 3) for step in (0, 100, 200, 300, 1000)]
        [0.0, 0.0, 0.4, 0.8, 0.8]
    """

    def _left(self, progress: tf.Tensor) -> tf.Tensor:
        # The same as (1 + cos(pi * p)) / 2, but zero at the end however the function is rounded.
        return tf.sin(math.pi / 2.0 * (1.0 - progress)) ** 2


@dataclasses.dataclass(frozen=True)
class OneStepSchedule:
    """Sparsity that changes once.

    Attributes:
        initial_sparsity: Sparsity before `step`, a fraction.
        target_sparsity: Sparsity from `step` on, a fraction.
        step: The step of the change.

    Example:
        >>> schedule = OneStepSchedule(0.2, 0.8, step=100)
        >>> [float(schedule(step)) for step in (0, 99, 100, 1000)]
        [0.2, 0.2, 0.8, 0.8]
    """

    initial_sparsity: float
    target_sparsity: float
    step: int

    def __call__(self, step: int | tf.Tensor) -> tf.Tensor:
        """Sparsity at `step`, an integer scalar: float64 scalar, exactly one of the two."""
        before = tf.convert_to_tensor(step, dtype_hint=tf.int64) < self.step
        return tf.where(before, tf.constant(self.initial_sparsity, tf.float64), self.target_sparsity)


@dataclasses.dataclass(frozen=True)
class ExternalSparsity:
    """Sparsity that comes from outside, and may go up and down.

    Attributes:
        source: A floating scalar variable, read each time; or a callable that is given the step, an int64 scalar, and
            gives a floating scalar. In [0, 1).

    Raises:
        TypeError: `source` is neither.
    """

    source: SparsitySource

    def __post_init__(self) -> None:
        if not isinstance(self.source, (tf.Variable, keras.Variable)) and not callable(self.source):
            raise TypeError(
                f"sparsity must be a variable or a callable step -> sparsity, got {self.source!r}. A fixed one is "
                "target_sparsity with sparsity_function='constant'."
            )

    def __call__(self, step: int | tf.Tensor) -> tf.Tensor:
        """Sparsity at `step`.

        Args:
            step: Integer scalar, a Python number or a tensor.

        Returns:
            float64 scalar, a fraction.

        Raises:
            ValueError: What was read is no floating scalar.
            tf.errors.InvalidArgumentError: It lies outside [0, 1). Code compiled by XLA cannot raise.
        """
        source = self.source(tf.cast(step, tf.int64)) if callable(self.source) else self.source
        given = tf.convert_to_tensor(source, dtype_hint=tf.float64)
        if not given.dtype.is_floating or given.shape.rank != 0:
            raise ValueError(
                f"The sparsity must be a floating scalar, a fraction in [0, 1), got {given.dtype.name} of shape "
                f"{given.shape}. Let the callable return one number, or make a variable of one: tf.Variable(0.5)."
            )
        sparsity = tf.cast(given, tf.float64)
        check = tf.debugging.Assert(
            (sparsity >= 0.0) & (sparsity < 1.0), ["The sparsity must be a fraction in [0, 1), got:", sparsity]
        )
        with tf.control_dependencies([] if check is None else [check]):
            return tf.identity(sparsity)


def schedule(hparams: PruningHParams, target_sparsity: float) -> Schedule:
    """The schedule that `hparams.sparsity_function` names, for weights with the target given.

    It begins at `hparams.initial_sparsity`; at the target given, if that is lower and `hparams.target_sparsity` is not:
    what is to stay denser than the rest is never sparser on the way.
    """
    initial_sparsity = hparams.initial_sparsity
    if initial_sparsity <= hparams.target_sparsity:
        initial_sparsity = min(initial_sparsity, target_sparsity)
    begin, end = hparams.sparsity_function_begin_step, hparams.sparsity_function_end_step
    if hparams.sparsity_function == "cosine":
        return CosineSchedule(initial_sparsity, target_sparsity, begin, end)
    if hparams.sparsity_function == "polynomial":
        exponent = hparams.sparsity_function_exponent
        return PolynomialSchedule(initial_sparsity, target_sparsity, begin, end, exponent)
    return OneStepSchedule(initial_sparsity, target_sparsity, hparams.target_step)


def kept_count(size: int, sparsity: float | tf.Tensor) -> tf.Tensor:
    """How many of `size` weights stay at `sparsity`: round(size * (1 - sparsity)), halves to even.

    Args:
        size: Number of weights.
        sparsity: float64 scalar, a fraction.

    Returns:
        int64 scalar. In float64, so that it is what Python's `round` gives for the same expression.
    """
    return tf.cast(tf.round(size * (1.0 - tf.convert_to_tensor(sparsity, tf.float64))), tf.int64)
