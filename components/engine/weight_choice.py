"""Which weights are pruned: the default rule, `include` and `exclude`."""

import re
from collections.abc import Iterable, Sequence

import keras
import tensorflow as tf

from .hparams import PruningHParams
from .name_pattern import name_pattern
from .weight_state import Weight, WeightState, path_of, tf_variable

_KERNEL = re.compile(r"(^|/)(kernel|recurrent_kernel|depthwise_kernel|pointwise_kernel)$")


def prunable_weights(variables: Iterable[Weight], hparams: PruningHParams) -> list[Weight]:
    """The weights among `variables` that `hparams` asks to prune, each once, in order.

    With `include`: the weights whose path matches one of its regexes. Without, the first of these that exist: the
    weights under `apply_mask`; the kernels of Dense, EinsumDense, convolution and recurrent layers; and, if all
    variables are plain `tf.Variable`s, those of rank 2 and more, or else all. `exclude` takes weights out of any of
    these.

    Raises:
        TypeError: One of `variables` is not a variable.
        ValueError: A regex matches nothing, no weight is left, or a chosen weight has no floating dtype.
    """
    variables = list(variables)
    for variable in variables:
        if not isinstance(variable, (tf.Variable, keras.Variable)):
            raise TypeError(
                f"Expected tf.Variables or keras.Variables to prune, got {variable!r} of type "
                f"{type(variable).__name__}. Pass a model, or a list of its variables."
            )
    candidates = list({id(tf_variable(variable)): variable for variable in variables}.values())
    if not candidates:
        raise ValueError("There are no trainable variables to prune. Build the model first.")
    chosen = _included(candidates, hparams.include) if hparams.include else _by_default(candidates)
    for pattern in hparams.exclude:
        _check_match("exclude", pattern, candidates)
    chosen = [weight for weight in chosen if not _matches(hparams.exclude, weight)]
    if not chosen:
        rule = f"include={list(hparams.include)}" if hparams.include else "the default (kernels)"
        raise ValueError(
            f"No weight to prune: {rule} with exclude={list(hparams.exclude)} leaves none of the trainable variables "
            f"{_paths(candidates)}. Name the weights with include=[regex,...]."
        )
    for weight in chosen:
        if not tf_variable(weight).dtype.is_floating:
            raise ValueError(
                f"{path_of(weight)} has dtype {tf_variable(weight).dtype.name}; only floating weights can be pruned. "
                "Take it out with exclude."
            )
    return chosen


def _by_default(candidates: Sequence[Weight]) -> list[Weight]:
    masked = [weight for weight in candidates if getattr(WeightState.existing(weight), "masked_forward", False)]
    if masked:
        return masked
    kernels = [weight for weight in candidates if _KERNEL.search(path_of(weight))]
    if kernels or any(isinstance(weight, keras.Variable) for weight in candidates):
        return kernels
    floating = [weight for weight in candidates if tf_variable(weight).dtype.is_floating]
    return [weight for weight in floating if len(weight.shape) >= 2] or floating


def _included(candidates: Sequence[Weight], patterns: Sequence[str]) -> list[Weight]:
    for pattern in patterns:
        _check_match("include", pattern, candidates)
    return [weight for weight in candidates if _matches(patterns, weight)]


def _check_match(name: str, pattern: str, candidates: Sequence[Weight]) -> None:
    if not any(_matches([pattern], weight) for weight in candidates):
        raise ValueError(
            f"{name} holds {pattern!r}, which matches none of the variables {_paths(candidates)}. Mend or remove it."
        )


def _matches(patterns: Iterable[str], weight: Weight) -> bool:
    return any(name_pattern(pattern).search(path_of(weight)) for pattern in patterns)


def _paths(weights: Sequence[Weight]) -> list[str]:
    return [path_of(weight) for weight in weights]
