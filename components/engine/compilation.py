"""fused: one pass over a large weight where operation after operation would make one pass each."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf
from tensorflow.python.ops import control_flow_util
from tensorflow.python.ops.resource_variable_ops import ResourceVariable

Result = TypeVar("Result")

# Below this, calling compiled code costs more than it saves.
_LARGE = 1 << 18


def compiled_if_large(function: Callable[..., Result]) -> Callable[..., Result]:
    """`function`, compiled by XLA where its last argument is large; once for each shape.

    Args:
        function: Of tensors, and before them anything hashable. Its last argument is a tensor of the weight's shape.
    """
    compiled = tf.function(function, jit_compile=True, autograph=False)

    @functools.wraps(function)
    def call(*arguments: object) -> Result:
        return (compiled if is_large(arguments[-1]) else function)(*arguments)

    return call


def compiled_assignment(function: Callable[..., tf.Tensor]) -> Callable[..., None]:
    """Assigns what `function` makes of a variable; compiled by XLA where that is large, and then done in its place.

    Args:
        function: Of tensors, and before them anything hashable. Its last argument is the variable's value, of whose
            shape and dtype it returns a tensor.

    Returns:
        A function of the same arguments, but the variable for its value.
    """
    value_of = compiled_if_large(function)

    @functools.partial(tf.function, jit_compile=True, autograph=False)
    def assign_in_place(*arguments: Any) -> None:
        *others, variable = arguments
        variable.assign(function(*others, variable.value()))

    @functools.wraps(function)
    def call(*arguments: Any) -> None:
        *others, variable = arguments
        # What a strategy has mirrored cannot be handed to compiled code as a variable.
        if is_large(variable) and isinstance(variable, ResourceVariable):
            assign_in_place(*arguments)
        else:
            variable.assign(value_of(*others, tf.convert_to_tensor(variable)))

    return call


def is_large(tensor: tf.Tensor | tf.Variable) -> bool:
    """Whether compiled code takes less time than operation after operation."""
    size = tensor.shape.num_elements()
    return size is not None and size >= _LARGE


def in_compiled_code() -> bool:
    """Whether what is being built will be compiled by XLA, as a training step is with `jit_compile=True`."""
    return not tf.executing_eagerly() and control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())
