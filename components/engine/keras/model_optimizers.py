"""The optimizers of a model as one PrunedOptimizer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
import tf_keras

from ..weight_state import Combination, Weight
from .optimizer import PrunedOptimizer, UpdateHooks, is_optimizer, pruned_optimizer
from .version import Model


def model_optimizers(model: Model) -> PrunedOptimizer:
    """The hooks for the optimizer of a model, and for others that it holds, as a `train_step` of its own may use.

    The others are attributes of the model, or items of its lists, tuples and dicts. The optimizers inside a
    MultiOptimizer belong to that one.

    Raises:
        TypeError: `model.optimizer` is not an optimizer of Keras 3 or tf_keras.
    """
    optimizers = {id(each): each for each in map(_unwrapped, [model.optimizer, *_held(model)])}
    for each in list(optimizers.values()):
        for inner in each.optimizers if isinstance(each, keras.optimizers.MultiOptimizer) else ():
            optimizers.pop(id(inner), None)
    parts = [pruned_optimizer(each, model.distribute_strategy) for each in optimizers.values()]
    return parts[0] if len(parts) == 1 else SeveralOptimizers(parts)


class SeveralOptimizers(PrunedOptimizer):
    """Several optimizers, each of which trains weights of its own.

    The steps are those of the optimizer that has taken the most. Pruned weights of all are zero after every update, of
    whichever optimizer.
    """

    def __init__(self, parts: Sequence[PrunedOptimizer]) -> None:
        """Takes the optimizers, the first of which is the model's `optimizer`."""
        super().__init__(parts[0].optimizer, parts[0].strategy)
        self._parts = parts
        self._turn = parts[0]

    @property
    def parts(self) -> list[PrunedOptimizer]:
        """See `PrunedOptimizer.parts`."""
        return list(self._parts)

    @property
    def turn(self) -> PrunedOptimizer:
        """See `PrunedOptimizer.turn`."""
        return self._turn

    def take(self, training: UpdateHooks) -> None:
        """See `PrunedOptimizer.take`."""
        for part in self._parts:
            part.take(_Turn(self, part, training))

    def release(self) -> None:
        """See `PrunedOptimizer.release`."""
        for part in self._parts:
            part.release()

    def count(self) -> tf.Tensor:
        """See `PrunedOptimizer.count`."""
        return self._most(self._turn.count())

    def taken(self) -> tf.Tensor:
        """See `PrunedOptimizer.taken`."""
        return self._most(self._turn.taken())

    def coming_step(self) -> tf.Tensor:
        """See `PrunedOptimizer.coming_step`."""
        return self._most(self._turn.coming_step())

    @property
    def steps(self) -> int:
        """See `PrunedOptimizer.steps`."""
        return max(part.steps for part in self._parts)

    @property
    def updates(self) -> int:
        """See `PrunedOptimizer.updates`."""
        return sum(part.updates for part in self._parts)

    @property
    def assigns_last(self) -> bool:
        """See `PrunedOptimizer.assigns_last`."""
        return self._turn.assigns_last

    def key(self, variable: Any) -> Any:
        """See `PrunedOptimizer.key`."""
        return self._parts[0].key(variable)

    def moving_average(self, weight: Weight) -> tf.Variable | None:
        """See `PrunedOptimizer.moving_average`."""
        averages = (part.moving_average(weight) for part in self._parts)
        return next((average for average in averages if average is not None), None)

    def take_turn(self, part: PrunedOptimizer) -> None:
        """Says which optimizer is updating its weights."""
        self._turn = part

    def _most(self, steps: tf.Tensor) -> tf.Tensor:
        others = [part.taken() for part in self._parts if part is not self._turn]
        return tf.reduce_max(tf.stack([steps, *others]))


class _Turn:
    """The hooks of one of several optimizers."""

    def __init__(self, optimizers: SeveralOptimizers, part: PrunedOptimizer, training: UpdateHooks) -> None:
        self._optimizers = optimizers
        self._part = part
        self._training = training

    @tf.autograph.experimental.do_not_convert
    def prepare(self) -> None:
        self._optimizers.take_turn(self._part)
        self._training.prepare()

    def before_apply(self) -> None:
        self._training.before_apply()

    def observe(self, variable: Any, gradient: Any) -> Any:
        return self._training.observe(variable, gradient)

    def assign(self, variable: Any, combine: Combination, value: Any) -> bool:
        return self._training.assign(variable, combine, value)

    def after_apply(self) -> None:
        self._training.after_apply()


def _unwrapped(optimizer: Any) -> Any:
    """The optimizer, or the one inside a LossScaleOptimizer."""
    while isinstance(optimizer, (keras.optimizers.LossScaleOptimizer, tf_keras.mixed_precision.LossScaleOptimizer)):
        optimizer = optimizer.inner_optimizer
    return optimizer


def _held(model: Model) -> Iterator[Any]:
    for value in vars(model).values():
        if isinstance(value, Mapping):
            items = list(value.values())
        else:
            items = list(value) if isinstance(value, (list, tuple)) else [value]
        yield from (each for each in items if is_optimizer(each))
