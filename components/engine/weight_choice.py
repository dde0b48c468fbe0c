"""Which weights are pruned: the default rule, `include` and `exclude`."""

import math
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from .hparams import PruningHParams
from .multiplied_weights import multiplied_weights
from .name_pattern import name_pattern
from .weight_state import Weight, WeightState, path_of, tf_variable

_KERNEL = re.compile(r"(^|/)(kernel|recurrent_kernel|depthwise_kernel|pointwise_kernel)$")
_EMBEDDING = re.compile(r"embeddings?$")
# A matrix is large with this share of all trainable parameters.
_LARGE = 0.05


def prunable_weights(variables: Iterable[Weight], hparams: PruningHParams, model: Any = None) -> list[Weight]:
    """The weights among `variables` that `hparams` asks to prune, each once, in order.

    With `include`: the weights whose path matches one of its regexes. Without, the first of these that exist: the
    weights under `apply_mask`; the kernels of Dense, EinsumDense, convolution and recurrent layers, and all other
    weights of rank 2 and more, embeddings apart, that the forward pass multiplies activations by; and, if all variables
    are plain `tf.Variable`s, those of rank 2 and more, or else all. `exclude` takes weights out of any of these.

    Args:
        variables: The weights.
        hparams: The hyperparameters.
        model: The built Keras model that they are of, to be traced; None if its forward pass is not known.

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
    chosen = _included(candidates, hparams.include) if hparams.include else _by_default(candidates, model)
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


def warn_of_dense_matrices(variables: Sequence[Weight], pruned: Sequence[Weight], hparams: PruningHParams) -> None:
    """Warns of large matrices that the default leaves dense and that `exclude` does not name.

    Args:
        variables: All trainable weights.
        pruned: Those that are pruned.
        hparams: The hyperparameters. With `include` there is no warning: it says what is pruned.
    """
    if hparams.include:
        return
    known = {id(tf_variable(weight)) for weight in pruned}
    sizes = {id(tf_variable(each)): math.prod(each.shape) for each in variables}
    total = sum(sizes.values())
    dense = [
        f"{path_of(weight)} ({sizes[id(tf_variable(weight))] / total:.0%} of the parameters)"
        for weight in variables
        if id(tf_variable(weight)) not in known
        and _is_matrix(weight)
        and sizes[id(tf_variable(weight))] >= _LARGE * total
        and not _matches(hparams.exclude, weight)
    ]
    if dense:
        warnings.warn(
            f"Pruning leaves dense: {', '.join(dict.fromkeys(dense))}. Name them in include, with the weights that are "
            "pruned now, or in exclude if they are to stay dense.",
            stacklevel=3,
        )


def _by_default(candidates: Sequence[Weight], model: Any) -> list[Weight]:
    masked = [weight for weight in candidates if getattr(WeightState.existing(weight), "masked_forward", False)]
    if masked:
        return masked
    kernels = [weight for weight in candidates if _KERNEL.search(path_of(weight))]
    others = [weight for weight in candidates if _is_matrix(weight) and not _EMBEDDING.search(path_of(weight))]
    others = [weight for weight in others if not _KERNEL.search(path_of(weight))]
    if model is not None and others:
        further = multiplied_weights(model, others)
        kernels = [weight for weight in candidates if any(weight is each for each in (*kernels, *further))]
    if kernels or any(isinstance(weight, keras.Variable) for weight in candidates):
        return kernels
    floating = [weight for weight in candidates if tf_variable(weight).dtype.is_floating]
    return [weight for weight in floating if len(weight.shape) >= 2] or floating


def _is_matrix(weight: Weight) -> bool:
    return tf_variable(weight).dtype.is_floating and len(weight.shape) >= 2


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
