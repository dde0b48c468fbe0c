"""PrunedOptimizer: the user's optimizer while its model is fitted, with hooks before, in and after its updates."""

import abc
import functools
import operator
from typing import Any, Protocol

import keras
import tensorflow as tf
import tf_keras

from ..weight_state import Combination, Weight, tf_variable


class UpdateHooks(Protocol):
    """What an optimizer calls during its updates."""

    def prepare(self) -> None:
        """Called first, before the gradients are applied."""
        ...

    def before_apply(self) -> None:
        """Called after `prepare`, before the update."""
        ...

    def observe(self, variable: Any, gradient: Any) -> Any:
        """Called with the gradient of one variable, reduced, unscaled and clipped. Returns the gradient to apply."""
        ...

    def assign(self, variable: Any, combine: Combination, value: Any) -> bool:
        """Called before `combine(variable, value)` is assigned to a variable. Returns whether it did that itself."""
        ...

    def after_apply(self) -> None:
        """Called when all variables have been updated."""
        ...


class PrunedOptimizer(abc.ABC):
    """One kind of optimizer, and how to hook into its updates.

    Attributes:
        optimizer: The user's optimizer, without a LossScaleOptimizer around it.
        strategy: The distribution strategy of the model.
    """

    # A subclass of it and of the optimizer's class takes the place of the latter during fit.
    _mixin: type

    def __init__(self, optimizer: Any, strategy: tf.distribute.Strategy) -> None:
        self.optimizer = optimizer
        self.strategy = strategy

    def take(self, training: UpdateHooks) -> None:
        """Calls the hooks during updates, until `release`."""
        _take(self.optimizer, self._mixin, training)

    def release(self) -> None:
        """Gives the optimizer its own class back."""
        _release(self.optimizer, self._mixin)

    @property
    def parts(self) -> "list[PrunedOptimizer]":
        """The optimizers that it consists of, or itself."""
        return [self]

    @property
    def turn(self) -> "PrunedOptimizer":
        """Which of `parts` is updating its weights, or did last."""
        return self

    @abc.abstractmethod
    def count(self) -> tf.Tensor:
        """The optimizer steps so far, int64 scalar. Must be called once after every update that is applied."""

    @abc.abstractmethod
    def taken(self) -> tf.Tensor:
        """The last result of `count`, int64 scalar."""

    @abc.abstractmethod
    def coming_step(self) -> tf.Tensor:
        """What `count` will return after the current update, int64 scalar."""

    @property
    @abc.abstractmethod
    def steps(self) -> int:
        """Optimizer steps so far: the last result of `count`."""

    @property
    @abc.abstractmethod
    def updates(self) -> int:
        """Batches so far, without those that loss scaling skipped."""

    @property
    def assigns_last(self) -> bool:
        """Whether nothing but a weight's constraint assigns to it after `UpdateHooks.assign`."""
        return False

    @abc.abstractmethod
    def key(self, variable: Any) -> Any:
        """A key of a variable, the same for the variable and for each of its replicas."""

    @abc.abstractmethod
    def moving_average(self, weight: Weight) -> tf.Variable | None:
        """The moving average of a weight's values that `use_ema` keeps; None without, and if it trains others only."""


def is_optimizer(value: Any) -> bool:
    """Whether a value is an optimizer of Keras 3 or tf_keras, of those that `pruned_optimizer` takes or around one."""
    return isinstance(value, (*_KINDS.values(), tf_keras.mixed_precision.LossScaleOptimizer))


def pruned_optimizer(optimizer: Any, strategy: tf.distribute.Strategy) -> PrunedOptimizer:
    """The hooks for an optimizer that is no LossScaleOptimizer.

    Raises:
        TypeError: It is not an optimizer of Keras 3 or tf_keras.
    """
    for kind, classes in _KINDS.items():
        if isinstance(optimizer, classes):
            return kind(optimizer, strategy)
    raise TypeError(
        f"pruning_scope prunes models compiled with an optimizer of Keras, got {type(optimizer).__name__}. Compile the "
        "model with a keras.optimizers.Optimizer, or prune your own loop with tfx_pruning.Pruning."
    )


def _replaced(weight: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    del weight
    return value


class _UpdatesKeras3:
    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> Any:
        gradient = self.__dict__[_TRAINING].observe(variable, gradient)
        return super().update_step(gradient, variable, learning_rate)

    def assign(self, variable: Any, value: Any) -> None:
        if not self.__dict__[_TRAINING].assign(variable, _replaced, value):
            super().assign(variable, value)

    def assign_add(self, variable: Any, value: Any) -> None:
        if not self.__dict__[_TRAINING].assign(variable, operator.add, value):
            super().assign_add(variable, value)

    def assign_sub(self, variable: Any, value: Any) -> None:
        if not self.__dict__[_TRAINING].assign(variable, operator.sub, value):
            super().assign_sub(variable, value)


class _AppliesKeras3:
    def apply(self, grads: Any, trainable_variables: Any = None) -> Any:
        training = self.__dict__[_TRAINING]
        training.prepare()
        training.before_apply()
        result = super().apply(grads, trainable_variables)
        training.after_apply()
        return result


class _Keras3Mixin(_UpdatesKeras3, _AppliesKeras3):
    pass


class _Keras3(PrunedOptimizer):
    """Optimizers of Keras 3. They count batches, and steps if gradients are accumulated."""

    _mixin = _Keras3Mixin

    def count(self) -> tf.Tensor:
        return self.taken()

    def taken(self) -> tf.Tensor:
        return tf.cast(tf.convert_to_tensor(self.optimizer.iterations), tf.int64)

    def coming_step(self) -> tf.Tensor:
        batches = tf.cast(tf.convert_to_tensor(self.optimizer._iterations), tf.int64) + 1
        return batches // (self.optimizer.gradient_accumulation_steps or 1)

    @property
    def steps(self) -> int:
        return int(tf.convert_to_tensor(self.optimizer.iterations))

    @property
    def updates(self) -> int:
        return int(tf.convert_to_tensor(self.optimizer._iterations))

    @property
    def assigns_last(self) -> bool:
        # An optimizer of the user's may assign anything; `use_ema` assigns without calling these methods.
        return type(self.optimizer).__module__.startswith("keras.") and not self.optimizer.use_ema

    def key(self, variable: Any) -> Any:
        return self.optimizer._var_key(variable)

    def moving_average(self, weight: Weight) -> tf.Variable | None:
        optimizer = self._updating(weight)
        if optimizer is None or not optimizer.use_ema:
            return None
        return optimizer._model_variables_moving_average[optimizer._get_variable_index(weight)]

    def _updating(self, weight: Weight) -> Any:
        """The optimizer that updates a weight; None if it is none of these."""
        known = getattr(self.optimizer, "_trainable_variables_indices", {})
        return self.optimizer if self.optimizer._var_key(weight) in known else None


class _MultiMixin(_AppliesKeras3):
    def build(self, var_list: Any) -> None:
        super().build(var_list)
        # A function may make the inner optimizers only here.
        _take_inner(self, self.__dict__[_TRAINING])


class _Keras3Multi(_Keras3):
    """MultiOptimizer. It counts batches; the optimizers inside it update the weights."""

    _mixin = _MultiMixin

    def take(self, training: UpdateHooks) -> None:
        super().take(training)
        _take_inner(self.optimizer, training)

    def release(self) -> None:
        for inner in self.optimizer.optimizers:
            _release(inner, _UpdatesKeras3)
        super().release()

    @property
    def assigns_last(self) -> bool:
        return all(_Keras3(inner, self.strategy).assigns_last for inner in self.optimizer.optimizers)

    def _updating(self, weight: Weight) -> Any:
        inner = (_Keras3(each, self.strategy)._updating(weight) for each in self.optimizer.optimizers)
        return next((each for each in inner if each is not None), None)


class _CountedHere(PrunedOptimizer):
    """Optimizers of tf_keras. Steps are counted here, since they also count batches that loss scaling skips."""

    def __init__(self, optimizer: Any, strategy: tf.distribute.Strategy) -> None:
        super().__init__(optimizer, strategy)
        with tf.init_scope(), strategy.scope():
            self._steps = tf.Variable(
                0, dtype=tf.int64, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
            )

    def count(self) -> tf.Tensor:
        self._steps.assign_add(1)
        return self.taken()

    def taken(self) -> tf.Tensor:
        return tf.convert_to_tensor(self._steps)

    def coming_step(self) -> tf.Tensor:
        return self.taken() + 1

    @property
    def steps(self) -> int:
        return int(tf.convert_to_tensor(self._steps))

    @property
    def updates(self) -> int:
        return self.steps

    def key(self, variable: Any) -> Any:
        variable = tf_variable(variable)
        if not isinstance(variable, tf.distribute.DistributedValues):
            # The handle of a replica knows its variable; of one made in a graph, the replica itself does.
            for part in (variable, variable.handle):
                if hasattr(part, "_distributed_container"):
                    return part._distributed_container()._unique_id
        return variable._unique_id

    def moving_average(self, weight: Weight) -> tf.Variable | None:
        if not getattr(self.optimizer, "use_ema", False):
            return None
        index = self.optimizer._index_dict.get(self.optimizer._var_key(weight))
        return None if index is None else self.optimizer._model_variables_moving_average[index]


class _AppliesGradients:
    def apply_gradients(self, grads_and_vars: Any, *args: Any, **kwargs: Any) -> Any:
        training = self.__dict__[_TRAINING]
        training.prepare()
        training.before_apply()
        result = super().apply_gradients(grads_and_vars, *args, **kwargs)
        training.after_apply()
        return result


class _Keras2Mixin(_AppliesGradients):
    def update_step(self, gradient: Any, variable: Any) -> Any:
        if not self.jit_compile:
            gradient = self.__dict__[_TRAINING].observe(variable, gradient)
        return super().update_step(gradient, variable)

    # The gradient is observed here and not in update_step, which is compiled for each variable and kept after `fit`.
    def _update_step_xla(self, gradient: Any, variable: Any, key: int) -> Any:
        gradient = self.__dict__[_TRAINING].observe(variable, gradient)
        return super()._update_step_xla(gradient, variable, key)


class _Keras2(_CountedHere):
    """Optimizers of tf_keras."""

    _mixin = _Keras2Mixin


class _LegacyMixin(_AppliesGradients):
    def _resource_apply_dense(self, gradient: Any, variable: Any, **kwargs: Any) -> Any:
        gradient = self.__dict__[_TRAINING].observe(variable, gradient)
        return super()._resource_apply_dense(gradient, variable, **kwargs)

    def _resource_apply_sparse_duplicate_indices(self, values: Any, variable: Any, indices: Any, **kwargs: Any) -> Any:
        gradient = tf.IndexedSlices(values, indices, tf.shape(variable))
        self.__dict__[_TRAINING].observe(variable, gradient)
        return super()._resource_apply_sparse_duplicate_indices(values, variable, indices, **kwargs)


class _Keras2Legacy(_CountedHere):
    """Optimizers of tf_keras.optimizers.legacy."""

    _mixin = _LegacyMixin


_TRAINING = "_tfx_pruning_training"

_KINDS: dict[type[PrunedOptimizer], type] = {
    _Keras3Multi: keras.optimizers.MultiOptimizer,
    _Keras3: keras.optimizers.Optimizer,
    _Keras2Legacy: tf_keras.optimizers.legacy.Optimizer,
    _Keras2: tf_keras.optimizers.Optimizer,
}


def _take(optimizer: Any, mixin: type, training: UpdateHooks) -> None:
    # In __dict__: the optimizer's __setattr__ would track the model and save it.
    optimizer.__dict__[_TRAINING] = training
    if not isinstance(optimizer, mixin):
        optimizer.__class__ = _pruned_class(mixin, type(optimizer))


def _take_inner(optimizer: keras.optimizers.MultiOptimizer, training: UpdateHooks) -> None:
    for inner in optimizer.optimizers:
        _take(inner, _UpdatesKeras3, training)


def _release(optimizer: Any, mixin: type) -> None:
    if isinstance(optimizer, mixin):
        optimizer.__class__ = type(optimizer).__bases__[1]
        del optimizer.__dict__[_TRAINING]


@functools.cache
def _pruned_class(mixin: type, optimizer_class: type) -> type:
    # With the name of the user's class: what is saved during `fit` must load without this package.
    names = {"__module__": optimizer_class.__module__, "__qualname__": optimizer_class.__qualname__}
    # Keras looks up the name that a class is registered under by the class itself, so both are equal.
    equality = {
        "__eq__": lambda made, other: other is made or other is optimizer_class,
        "__hash__": lambda made: hash(optimizer_class),
    }
    kind = type(optimizer_class)
    return type(kind.__name__, (kind,), equality)(optimizer_class.__name__, (mixin, optimizer_class), names)
