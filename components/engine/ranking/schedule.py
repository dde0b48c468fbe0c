"""The sparsity schedule: step -> sparsity."""

import abc
import dataclasses
import math
from collections.abc import Callable
from typing import TypeAlias

import keras
import tensorflow as tf

from ..choices import SCHEDULES, ScheduleEntry
from ..hparams import PruningHParams

SparsitySource: TypeAlias = tf.Variable | keras.Variable | Callable[[tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Schedule(abc.ABC):
    """Sparsity that goes from one value to another between two steps.

    With p = clip((step - begin_step) / (end_step - begin_step), 0, 1):

        sparsity(step) = target_sparsity + (initial_sparsity - target_sparsity) * left(p)

    A schedule of one's own says which fraction of the way is `left`:

        class Linear(tfx_pruning.Schedule):
            def left(self, progress):
                return 1.0 - progress

        tfx_pruning.register_schedule("linear", Linear)

    Attributes:
        initial_sparsity: Sparsity up to `begin_step`, a fraction.
        target_sparsity: Sparsity from `end_step` on, a fraction.
        begin_step: `sparsity_function_begin_step`.
        end_step: `sparsity_function_end_step`.
    """

    initial_sparsity: float
    target_sparsity: float
    begin_step: int
    end_step: int

    @classmethod
    def of(cls, hparams: PruningHParams, initial_sparsity: float, target_sparsity: float) -> "Schedule":
        """The schedule between two sparsities, at the steps of `hparams`."""
        begin, end = hparams.sparsity_function_begin_step, hparams.sparsity_function_end_step
        return cls(initial_sparsity, target_sparsity, begin, end)

    def __call__(self, step: int | tf.Tensor) -> tf.Tensor:
        """Sparsity at `step`.

        Args:
            step: Integer scalar, a Python number or a tensor.

        Returns:
            float64 scalar, a fraction between the two sparsities; exactly `target_sparsity` from `end_step` on.
        """
        elapsed = tf.cast(tf.convert_to_tensor(step, dtype_hint=tf.int64), tf.float64) - self.begin_step
        progress = tf.clip_by_value(elapsed / (self.end_step - self.begin_step), 0.0, 1.0)
        left = tf.clip_by_value(tf.cast(self.left(progress), tf.float64), 0.0, 1.0)
        left = tf.where(progress < 1.0, left, 0.0)
        return self.target_sparsity + (self.initial_sparsity - self.target_sparsity) * left

    @abc.abstractmethod
    def left(self, progress: tf.Tensor) -> tf.Tensor:
        """Which fraction of the way is left.

        Args:
            progress: Which fraction of the steps is done, float64 scalar from 0 to 1.

        Returns:
            Floating scalar that falls from 1 to 0; what lies outside counts as the nearer of the two, and 0 at the end
            whatever is given.
        """


@dataclasses.dataclass(frozen=True)
class PolynomialSchedule(Schedule):
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

    @classmethod
    def of(cls, hparams: PruningHParams, initial_sparsity: float, target_sparsity: float) -> "PolynomialSchedule":
        """See `Schedule.of`."""
        begin, end = hparams.sparsity_function_begin_step, hparams.sparsity_function_end_step
        return cls(initial_sparsity, target_sparsity, begin, end, hparams.sparsity_function_exponent)

    def left(self, progress: tf.Tensor) -> tf.Tensor:
        """See `Schedule.left`."""
        return (1.0 - progress) ** self.exponent


@dataclasses.dataclass(frozen=True)
class CosineSchedule(Schedule):
    """Sparsity that rises along half a period of a cosine: slowly at both ends, fast in the middle.

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

    def left(self, progress: tf.Tensor) -> tf.Tensor:
        """See `Schedule.left`."""
        # Equal to (1 + cos(pi * p)) / 2, but exactly zero at the end whatever the rounding.
        return tf.sin(math.pi / 2.0 * (1.0 - progress)) ** 2


@dataclasses.dataclass(frozen=True)
class ConstantSchedule(Schedule):
    """Sparsity that is at the target from `begin_step` on, and exactly `initial_sparsity` before.

    Attributes:
        initial_sparsity: Sparsity before `begin_step`, a fraction.
        target_sparsity: Sparsity from `begin_step` on, a fraction.
        begin_step: The step of the change.
        end_step: Has no effect.

    Example:
        >>> schedule = ConstantSchedule(0.2, 0.8, begin_step=100, end_step=300)
        >>> [float(schedule(step)) for step in (0, 99, 100, 1000)]
        [0.2, 0.2, 0.8, 0.8]
    """

    def __call__(self, step: int | tf.Tensor) -> tf.Tensor:
        """See `Schedule.__call__`."""
        return _changed_once(self.initial_sparsity, self.target_sparsity, self.begin_step, step)

    def left(self, progress: tf.Tensor) -> tf.Tensor:
        """See `Schedule.left`."""
        return tf.zeros_like(progress)


@dataclasses.dataclass(frozen=True)
class OneShotSchedule(Schedule):
    """Sparsity that is at the target from `end_step` on, and exactly `initial_sparsity` before.

    Attributes:
        initial_sparsity: Sparsity before `end_step`, a fraction.
        target_sparsity: Sparsity from `end_step` on, a fraction.
        begin_step: Has no effect.
        end_step: The step of the change.

    Example:
        >>> schedule = OneShotSchedule(0.2, 0.8, begin_step=100, end_step=300)
        >>> [float(schedule(step)) for step in (0, 299, 300, 1000)]
        [0.2, 0.2, 0.8, 0.8]
    """

    def __call__(self, step: int | tf.Tensor) -> tf.Tensor:
        """See `Schedule.__call__`."""
        return _changed_once(self.initial_sparsity, self.target_sparsity, self.end_step, step)

    def left(self, progress: tf.Tensor) -> tf.Tensor:
        """See `Schedule.left`."""
        return tf.cast(progress < 1.0, progress.dtype)


def _changed_once(before: float, after: float, change_step: int, step: int | tf.Tensor) -> tf.Tensor:
    """One of two sparsities, exactly, float64 scalar."""
    is_before = tf.convert_to_tensor(step, dtype_hint=tf.int64) < change_step
    return tf.where(is_before, tf.constant(before, tf.float64), after)


@dataclasses.dataclass(frozen=True)
class ExternalSparsity:
    """Sparsity that the user computes, and that may rise and fall.

    Attributes:
        source: A floating scalar variable, or a callable that takes the step (int64 scalar tensor) and returns a
            floating scalar; in [0, 1).

    Raises:
        TypeError: `source` is neither a variable nor callable.
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
            ValueError: The source gives no floating scalar.
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


def schedule_of(hparams: PruningHParams, target_sparsity: float) -> Schedule:
    """The schedule that `hparams.sparsity_function` names, for weights with the target given.

    It begins at `hparams.initial_sparsity`, or at the target given if that is lower and `hparams.target_sparsity` is
    not: a weight that is to stay denser than the others is never sparser on the way.
    """
    initial_sparsity = hparams.initial_sparsity
    if initial_sparsity <= hparams.target_sparsity:
        initial_sparsity = min(initial_sparsity, target_sparsity)
    return SCHEDULES.get(hparams.sparsity_function).load().of(hparams, initial_sparsity, target_sparsity)


def register_schedule(name: str, schedule: type[Schedule]) -> None:
    """Adds a schedule: `sparsity_function=name` follows it, everywhere.

    Call it in the module that defines the schedule, at its top level. Where that module is imported, and how an
    installed package offers one (group `tfx_pruning.schedules`), is told by `tfx_pruning.register_criterion`.

    Args:
        name: Lower-case letters, digits and underscores, a letter first.
        schedule: A class derived from `Schedule`. It is made of `Schedule`'s four attributes, in their order.

    Raises:
        TypeError: It is no such class, or lacks `left`; or the name is not a string.
        ValueError: The name is of another form, built in, registered by another class, or an entry point of another
            package.
    """
    if not (isinstance(schedule, type) and issubclass(schedule, Schedule)):
        raise TypeError(
            f"register_schedule({name!r}, ...) takes a class derived from tfx_pruning.Schedule, got {schedule!r}. "
            "Derive one from it and pass the class itself."
        )
    schedule(0.0, 0.5, 0, 1)  # fails here where `left` is missing
    SCHEDULES.register(name, ScheduleEntry(lambda: schedule), schedule)


def kept_count(size: int | tf.Tensor, sparsity: float | tf.Tensor) -> tf.Tensor:
    """How many of `size` weights stay at `sparsity`: round(size * (1 - sparsity)), halves to even.

    Args:
        size: Number of weights; of several tensors an int64 tensor.
        sparsity: A fraction, float64; of several tensors one for all or one for each.

    Returns:
        int64 of their shape. In float64, so that it is what Python's `round` gives for the same expression.
    """
    return tf.cast(tf.round(tf.cast(size, tf.float64) * (1.0 - tf.convert_to_tensor(sparsity, tf.float64))), tf.int64)
