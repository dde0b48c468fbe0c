"""WeightState: the pruning variables of one weight, which the weight itself carries."""

import functools
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from . import naming
from .compilation import compiled_assignment
from .saved_states import hang_states_from_roots

Trackable = tf.__internal__.tracking.Trackable

Weight: TypeAlias = tf.Variable | keras.Variable
# (weight, value) -> what is assigned to the weight, element by element.
Combination: TypeAlias = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def path_of(weight: Weight) -> str:
    """The name that `include`, `exclude` and messages use: 'sequential/dense/kernel'."""
    return weight.path if isinstance(weight, keras.Variable) else weight.name.partition(":")[0]


def tf_variable(weight: Weight) -> tf.Variable:
    """The TensorFlow variable of a weight."""
    # The variable itself, not the cast value that a layer under mixed precision sees.
    if isinstance(weight, keras.Variable):
        return weight._value
    return weight._variable if hasattr(weight, "true_dtype") else weight


class WeightState(Trackable):
    """Mask, threshold, gradient and old weights of one weight.

    The state is a trackable child of its weight (`naming.STATE`): whatever saves the weight saves the state. A weight
    has only one state. Its variables are made when first used. A weight of a SavedModel that `tf.saved_model.load`
    loaded has the variables that were loaded with it.
    """

    def __init__(self, weight: Weight) -> None:
        hang_states_from_roots(WeightState)
        self._path = path_of(weight)
        self._reference = tf_variable(weight)
        self._variables: dict[str, tf.Variable] = {}

    @classmethod
    def of(cls, weight: Weight) -> "WeightState":
        """The state of `weight`, made if it has none yet."""
        state = cls.existing(weight)
        if state is None:
            with tf.init_scope():
                state = cls(weight)
        state._hang_from(weight)
        return state

    @classmethod
    def existing(cls, weight: Weight) -> "WeightState | None":
        """The state of `weight`, or None if it has none."""
        state = _state_child(tf_variable(weight))
        if isinstance(state, cls):
            return state
        # What TensorFlow loads is an attribute of the weight, but no child of it.
        loaded = getattr(tf_variable(weight), naming.STATE, None)
        variables = {kind: getattr(loaded, kind, None) for kind in (*naming.WEIGHT_VARIABLES, naming.FORWARD_MASK)}
        variables = {kind: each for kind, each in variables.items() if isinstance(each, tf.Variable)}
        if not variables:
            return None
        with tf.init_scope():
            state = cls(weight)
        for kind, variable in variables.items():
            state._variables[kind] = state._track_trackable(variable, kind)
        state._hang_from(weight)
        return state

    @property
    def masked_forward(self) -> bool:
        """Whether the forward pass multiplies by the mask (`apply_mask`).

        Such a weight keeps its value where it is pruned. Any other weight is set to zero there.
        """
        return naming.FORWARD_MASK in self._variables

    def mask_forward(self) -> None:
        """Says that the forward pass multiplies by the mask; the mask gets a second name, so that files say it too."""
        if not self.masked_forward:
            self._variables[naming.FORWARD_MASK] = self._track_trackable(self.mask, naming.FORWARD_MASK)

    def _hang_from(self, weight: Weight) -> None:
        for holder in {id(weight): weight, id(tf_variable(weight)): tf_variable(weight)}.values():
            if _state_child(holder) is not self:
                holder._track_trackable(self, naming.STATE, overwrite=True)

    @functools.cached_property
    def size(self) -> int:
        """Number of weights."""
        return self._reference.shape.num_elements()

    @property
    def path(self) -> str:
        """Path of the weight."""
        return self._path

    @property
    def weight(self) -> tf.Variable:
        """The weight's TensorFlow variable."""
        return self._reference

    @property
    def mask(self) -> tf.Variable:
        """True where the weight is kept, False where it is pruned; bool, a byte a weight, of the weight's shape."""
        return self._variable(naming.MASK, tf.bool, self._reference.shape, 1.0)

    @property
    def threshold(self) -> tf.Variable:
        """Score of the last kept weight at the last mask update, float32 scalar."""
        return self._variable(naming.THRESHOLD, tf.float32, (), 0.0)

    @property
    def gradient(self) -> tf.Variable:
        """Moving average of the criterion's samples, float32, shape of the weight."""
        return self._variable(naming.GRADIENT, tf.float32, self._reference.shape, 0.0)

    @property
    def old_weight(self) -> tf.Variable:
        """The weight at the last mask update, float32, for `gradient_estimator='weight_delta'`."""
        return self._variable(naming.OLD_WEIGHT, tf.float32, self._reference.shape, 0.0)

    @property
    def old_old_weight(self) -> tf.Variable:
        """The weight at the mask update before the last, float32, for the second order of 'weight_delta'."""
        return self._variable(naming.OLD_OLD_WEIGHT, tf.float32, self._reference.shape, 0.0)

    def make(self, kinds: Iterable[str]) -> None:
        """Makes the variables of `kinds` (names of `naming.WEIGHT_VARIABLES`) that do not exist yet."""
        for kind in kinds:
            getattr(self, kind)

    def apply_mask(self) -> None:
        """Sets the pruned weights to zero, unless the forward pass multiplies by the mask."""
        if not self.masked_forward:
            _mask(tf.convert_to_tensor(self.mask), self._reference)

    def assign_masked(self, combine: Combination, value: tf.Tensor, unmasked: tf.Tensor) -> None:
        """Assigns `combine(weight, value)` to the weight, and zero where it is pruned.

        One pass over the weight. `apply_mask` after an assignment would be a second one.

        Args:
            combine: Computes the new weight.
            value: Tensor of the weight's dtype and shape.
            unmasked: Bool scalar; if true, the mask is not applied.
        """
        _combine(combine, unmasked, tf.convert_to_tensor(self.mask), value, self._reference)

    def sparsity(self) -> tf.Tensor:
        """Fraction of the weights whose mask is False, float64 scalar."""
        return 1.0 - tf.cast(self.kept(), tf.float64) / self.size

    def pruned(self) -> int:
        """Number of weights that the mask prunes and that are zero, or that the forward pass multiplies by zero."""
        removed = ~self.mask.numpy()
        return int(np.count_nonzero(removed if self.masked_forward else removed & (self.weight.numpy() == 0)))

    def kept(self) -> tf.Tensor:
        """Number of weights whose mask is True, int64 scalar."""
        mask = tf.convert_to_tensor(self.mask)
        if tf.executing_eagerly():
            # TensorFlow converts to eight bytes a weight before it counts, which takes twenty times as long.
            return tf.constant(np.count_nonzero(mask.numpy()), tf.int64)
        return tf.math.count_nonzero(mask)

    def _variable(self, kind: str, dtype: tf.DType, shape: Any, value: float) -> tf.Variable:
        variable = self._variables.get(kind)
        if variable is None:
            strategy = getattr(self._reference, "distribute_strategy", None) or tf.distribute.get_strategy()
            with (
                tf.init_scope(),
                tf.name_scope(""),
                strategy.scope(),
                strategy.extended.colocate_vars_with(self._reference),
            ):
                variable = tf.Variable(
                    tf.fill(tf.TensorShape(shape).as_list(), tf.cast(value, dtype)),
                    trainable=False,
                    name=naming.pruning_variable_name(self._path, kind),
                    aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
                )
            self._variables[kind] = variable
            self._track_trackable(variable, kind)
        return variable


@compiled_assignment
def _mask(mask: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    return _kept_or_zero(mask, weight)


@compiled_assignment
def _combine(
    combine: Combination, unmasked: tf.Tensor, mask: tf.Tensor, value: tf.Tensor, weight: tf.Tensor
) -> tf.Tensor:
    return _kept_or_zero(mask | unmasked, combine(weight, value))


def _kept_or_zero(mask: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    # TensorFlow 2's `where` takes twice as long, even without broadcasting. A product would change bits.
    return tf.compat.v1.where(mask, value, tf.zeros_like(value))


def _state_child(holder: Weight) -> Any:
    holder._maybe_initialize_trackable()
    return holder._lookup_dependency(naming.STATE)
