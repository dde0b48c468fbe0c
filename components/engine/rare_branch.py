"""take_rare_branch: the branch of a training step that few steps take."""

from collections.abc import Callable

import tensorflow as tf


def take_rare_branch(due: tf.Tensor, action: Callable[[], None]) -> tf.Tensor:
    """Does `action` if `due`, in a graph or out of it.

    In a graph it is a function that is called, and never inlined: of an inlined branch every operation takes its time
    at every step, even where the branch is not taken.

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
