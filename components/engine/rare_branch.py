"""take_rare_branch: a branch that few training steps take, at no cost for the others."""

from collections.abc import Callable

import tensorflow as tf


def take_rare_branch(due: tf.Tensor, action: Callable[[], None]) -> tf.Tensor:
    """Calls `action` if `due`, eagerly or in a graph.

    In a graph `action` becomes a function that is not inlined. Every operation of an inlined branch takes time at every
    step, even if the branch is not taken.

    Args:
        due: Bool scalar.
        action: Takes no argument.

    Returns:
        `due`.
    """
    if tf.executing_eagerly():
        if due:
            action()
    else:
        called = tf.function(action, autograph=False, experimental_attributes={"_noinline": True})
        tf.cond(due, called, lambda: None)
    return due
