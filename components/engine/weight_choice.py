"""Which weights are pruned: the default rule, `include` and `exclude`."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from .hparams import PruningHParams
from .name_pattern import name_pattern
from .weight_names import weight_names
from .weight_state import Weight, WeightState, path_of, tf_variable

_KERNEL = re.compile(r"(^|/)(kernel|recurrent_kernel|depthwise_kernel|pointwise_kernel)$")


def prunable_weights(variables: Iterable[Weight], hparams: PruningHParams, model: Any = None) -> dict[str, Weight]:
    """The weights among `variables` that `hparams` asks to prune, each once, in order, by their `weight_names`.

    With `include`: the weights whose name matches one of its regexes. Without, the first of these that exist: the
    weights under `apply_mask`; the kernels of Dense, EinsumDense, convolution and recurrent layers; and, if all
    variables are plain `tf.Variable`s, those of rank 2 and more, or else all. `exclude` takes weights out of any of
    these.

    Args:
        variables: The variables.
        hparams: The hyperparameters.
        model: What holds the variables; see `weight_names`.

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
    once = list({id(tf_variable(variable)): variable for variable in variables}.values())
    candidates = dict(zip(weight_names(once, model), once, strict=True))
    if not candidates:
        raise ValueError("There are no trainable variables to prune. Build the model first.")
    chosen = _included(candidates, hparams.include) if hparams.include else _by_default(candidates)
    for pattern in hparams.exclude:
        _check_match("exclude", pattern, candidates)
    chosen = {name: weight for name, weight in chosen.items() if not _matches(hparams.exclude, name)}
    if not chosen:
        rule = f"include={list(hparams.include)}" if hparams.include else "the default (kernels)"
        raise ValueError(
            f"No weight to prune: {rule} with exclude={list(hparams.exclude)} leaves none of the trainable variables "
            f"{list(candidates)}. Name the weights with include=[regex,...]."
        )
    for name, weight in chosen.items():
        if not tf_variable(weight).dtype.is_floating:
            raise ValueError(
                f"{name} has dtype {tf_variable(weight).dtype.name}; only floating weights can be pruned. "
                "Take it out with exclude."
            )
    return chosen


def _by_default(candidates: Mapping[str, Weight]) -> dict[str, Weight]:
    def those(which: Callable[[Weight], bool]) -> dict[str, Weight]:
        return {name: weight for name, weight in candidates.items() if which(weight)}

    masked = those(lambda weight: getattr(WeightState.existing(weight), "masked_forward", False))
    if masked:
        return masked
    kernels = those(lambda weight: bool(_KERNEL.search(path_of(weight))))
    if kernels or any(isinstance(weight, keras.Variable) for weight in candidates.values()):
        return kernels
    floating = those(lambda weight: tf_variable(weight).dtype.is_floating)
    return {name: weight for name, weight in floating.items() if len(weight.shape) >= 2} or floating


def _included(candidates: Mapping[str, Weight], patterns: Sequence[str]) -> dict[str, Weight]:
    for pattern in patterns:
        _check_match("include", pattern, candidates)
    return {name: weight for name, weight in candidates.items() if _matches(patterns, name)}


def _check_match(option: str, pattern: str, candidates: Mapping[str, Weight]) -> None:
    if not any(_matches([pattern], name) for name in candidates):
        raise ValueError(
            f"{option} holds {pattern!r}, which matches none of the variables {list(candidates)}. Mend or remove it."
        )


def _matches(patterns: Iterable[str], name: str) -> bool:
    return any(name_pattern(pattern).search(name) for pattern in patterns)
