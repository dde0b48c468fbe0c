"""fused: one pass over a large weight where operation after operation would make one pass each."""

import functools
from collections.abc import Callable
from typing import TypeVar

import tensorflow as tf

Result = TypeVar("Result")

# Below this, calling compiled code costs more than it saves.
_LARGE = 1 << 18


def fused(function: Callable[..., Result]) -> Callable[..., Result]:
    """`function`, compiled by XLA where its last argument is large; once for each shape.

    Args:
        function: Of tensors, and before them anything hashable. Its last argument is a tensor of the weight's shape.
    """
    compiled = tf.function(function, jit_compile=True, autograph=False)

    @functools.wraps(function)
    def call(*arguments: object) -> Result:
        size = arguments[-1].shape.num_elements()
        return (function if size is None or size < _LARGE else compiled)(*arguments)

    return call
