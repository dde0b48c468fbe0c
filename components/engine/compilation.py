"""Compilation by XLA of functions of large weights: one pass over memory, where each operation would make its own."""

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
    """`function`, compiled by XLA, once for each shape, where its last argument is large.

    Args:
        function: Takes hashable values first, then tensors. The last has the weight's shape.
    """
    compiled = tf.function(function, jit_compile=True, autograph=False)

    @functools.wraps(function)
    def call(*arguments: object) -> Result:
        return (compiled if is_large(arguments[-1]) else function)(*arguments)

    return call


def compiled_assignment(function: Callable[..., tf.Tensor]) -> Callable[..., None]:
    """Assigns the result of `function` to a variable. For a large one it is compiled by XLA and updates it in place.

    Args:
        function: Takes hashable values first, then tensors. The last is the variable's value; the result has its shape
            and dtype.

    Returns:
        A function of the same arguments, except that the last is the variable itself.
    """
    value_of = compiled_if_large(function)

    @functools.partial(tf.function, jit_compile=True, autograph=False)
    def assign_in_place(*arguments: Any) -> None:
        *others, variable = arguments
        variable.assign(function(*others, variable.value()))

    @functools.wraps(function)
    def call(*arguments: Any) -> None:
        *others, variable = arguments
        # A mirrored variable cannot be passed to compiled code.
        if is_large(variable) and isinstance(variable, ResourceVariable):
            assign_in_place(*arguments)
        else:
            variable.assign(value_of(*others, tf.convert_to_tensor(variable)))

    return call


def is_large(tensor: tf.Tensor | tf.Variable) -> bool:
    """Whether a tensor is so large that compiled code is faster."""
    size = tensor.shape.num_elements()
    return size is not None and size >= _LARGE


def in_compiled_code() -> bool:
    """Whether the graph that is being built will be compiled by XLA, as a step with `jit_compile=True` is."""
    return not tf.executing_eagerly() and control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())
