"""The user's optimizer, while its model is fitted: its updates are observed, and masked afterwards."""

import functools
from typing import Any, Protocol

import keras


class Training(Protocol):
    """What takes part in an optimizer's updates."""

    def prepare(self) -> None:
        """Called before the gradients are applied."""
        ...

    def before_apply(self) -> None:
        """Called then, in the same place of the graph."""
        ...

    def observe(self, variable: Any, gradient: Any) -> None:
        """Called with the gradient of one variable, as its update gets it: reduced, unscaled and clipped."""
        ...

    def after_apply(self) -> None:
        """Called when all variables have been updated."""
        ...


class _PrunedUpdates:
    """Mixed into the user's optimizer class while its model is fitted."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> Any:
        self.__dict__[_TRAINING].observe(variable, gradient)
        return super().update_step(gradient, variable, learning_rate)

    def apply(self, grads: Any, trainable_variables: Any = None) -> Any:
        training = self.__dict__[_TRAINING]
        training.prepare()
        training.before_apply()
        result = super().apply(grads, trainable_variables)
        training.after_apply()
        return result


_TRAINING = "_tfx_pruning_training"


@functools.cache
def _pruned_class(optimizer_class: type) -> type:
    # Under the name of the user's class: what is saved during `fit` must load without this package.
    names = {"__module__": optimizer_class.__module__, "__qualname__": optimizer_class.__qualname__}
    return type(optimizer_class.__name__, (_PrunedUpdates, optimizer_class), names)


def take(optimizer: keras.optimizers.Optimizer, training: Training) -> None:
    """Lets `training` take part in the optimizer's updates, until `release`."""
    # In __dict__, past the optimizer's own __setattr__, which would track the model and save it.
    optimizer.__dict__[_TRAINING] = training
    if not isinstance(optimizer, _PrunedUpdates):
        optimizer.__class__ = _pruned_class(type(optimizer))


def release(optimizer: keras.optimizers.Optimizer) -> None:
    """Gives the optimizer its own class back."""
    if isinstance(optimizer, _PrunedUpdates):
        optimizer.__class__ = type(optimizer).__bases__[1]
        del optimizer.__dict__[_TRAINING]


def innermost(optimizer: Any) -> keras.optimizers.Optimizer:
    """The optimizer whose `update_step` runs: a LossScaleOptimizer wraps it.

    Raises:
        TypeError: It is no Keras 3 optimizer.
    """
    while isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise TypeError(
            f"pruning_scope prunes models compiled with a Keras 3 optimizer, got {type(optimizer).__name__}. Compile "
            "the model with a keras.optimizers.Optimizer, or prune your own loop with tfx_pruning.Pruning."
        )
    return optimizer
