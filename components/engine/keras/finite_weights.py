"""Whether what is ranked is finite."""

import tensorflow as tf

from ..pruning import Pruning


def check_finite(pruning: Pruning, step: int) -> None:
    """Raises if a pruned weight or its gradient state is NaN or infinite, and so cannot be ranked.

    Args:
        pruning: The pruning.
        step: Optimizer steps taken so far.

    Raises:
        FloatingPointError: One is.
    """
    for path, state in zip(pruning.paths, pruning.states, strict=True):
        values = {path: state.weight}
        if pruning.criterion.has_average:
            values[f"The gradient state of {path}"] = state.gradient
        for name, value in values.items():
            if not bool(tf.reduce_all(tf.math.is_finite(value))):
                raise FloatingPointError(
                    f"{name} is NaN or infinite after {step} optimizer steps, since the weight's gradients were: the "
                    "training has diverged, and there is nothing to rank. Lower the learning rate, clip the gradients "
                    "(clipnorm), or look for bad values in the data; under mixed_float16 the optimizer must be a "
                    "LossScaleOptimizer."
                )
