"""Which weights are pruned: the default rule, `include` and `exclude`."""

import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
import tf_keras

from .hparams import PruningHParams
from .multiplied_weights import multiplied_weights
from .name_pattern import name_pattern
from .weight_names import weight_names
from .weight_state import Weight, WeightState, path_of, tf_variable

_KERNEL = re.compile(r"(^|/)(kernel|recurrent_kernel|depthwise_kernel|pointwise_kernel)$")
_EMBEDDING = re.compile(r"embeddings?$")
# The two matrices whose product LoRA adds to a weight: zeros in them are none in the sum.
_LORA = re.compile(r"(^|/)lora_(kernel|embeddings)_[ab]$")
# A matrix is large with this share of all trainable parameters.
_LARGE = 0.05


def prunable_weights(variables: Iterable[Weight], hparams: PruningHParams, model: Any = None) -> dict[str, Weight]:
    """The weights among `variables` that `hparams` asks to prune, each once, in order, by their `weight_names`.

    With `include`: the weights whose name matches one of its regexes. Without, the first of these that exist: the
    weights under `apply_mask`; the kernels of Dense, EinsumDense, convolution and recurrent layers, and all other
    weights of rank 2 and more, embeddings and LoRA's matrices apart, that the forward pass multiplies activations by;
    and, if all variables are plain `tf.Variable`s, those of rank 2 and more, or else all. `exclude` takes weights out
    of any of these.

    Args:
        variables: The weights.
        hparams: The hyperparameters.
        model: What holds them; see `weight_names`. If it is a built Keras model it is traced.

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
    chosen = _included(candidates, hparams.include) if hparams.include else _by_default(candidates, model)
    for pattern in hparams.exclude:
        _check_match("exclude", pattern, candidates, _frozen_names(once, model))
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


def warn_of_dense_matrices(
    variables: Sequence[Weight], pruned: Iterable[Weight], hparams: PruningHParams, model: Any = None
) -> None:
    """Warns of large matrices that the default leaves dense and that `exclude` does not name.

    Args:
        variables: All trainable weights.
        pruned: Those that are pruned.
        hparams: The hyperparameters. With `include` there is no warning: it says what is pruned.
        model: What holds the weights; see `weight_names`.
    """
    if hparams.include:
        return
    known = {id(tf_variable(weight)) for weight in pruned}
    once = list({id(tf_variable(variable)): variable for variable in variables}.values())
    total = sum(math.prod(weight.shape) for weight in once)
    dense = [
        f"{name} ({math.prod(weight.shape) / total:.0%} of the parameters)"
        for name, weight in zip(weight_names(once, model), once, strict=True)
        if id(tf_variable(weight)) not in known
        and _is_matrix(weight)
        and not is_of_lora(path_of(weight))
        and math.prod(weight.shape) >= _LARGE * total
        and not _matches(hparams.exclude, name)
    ]
    if dense:
        warnings.warn(
            f"Pruning leaves dense: {', '.join(dense)}. Name them in include, with the weights that are "
            "pruned now, or in exclude if they are to stay dense.",
            stacklevel=3,
        )


def _by_default(candidates: Mapping[str, Weight], model: Any) -> dict[str, Weight]:
    def those(which: Callable[[Weight], bool]) -> dict[str, Weight]:
        return {name: weight for name, weight in candidates.items() if which(weight)}

    masked = those(lambda weight: getattr(WeightState.existing(weight), "masked_forward", False))
    if masked:
        return masked
    kernels = those(lambda weight: is_kernel(path_of(weight)))
    others = those(lambda weight: _is_matrix(weight) and not is_embedding(path_of(weight)))
    others = {
        name: weight for name, weight in others.items() if name not in kernels and not is_of_lora(path_of(weight))
    }
    if others and isinstance(model, (keras.Model, tf_keras.Model)):
        further = {id(weight) for weight in multiplied_weights(model, others.values())}
        kernels = {name: each for name, each in candidates.items() if name in kernels or id(each) in further}
    if kernels or any(isinstance(weight, keras.Variable) for weight in candidates.values()):
        return kernels
    floating = those(lambda weight: tf_variable(weight).dtype.is_floating)
    return {name: weight for name, weight in floating.items() if len(weight.shape) >= 2} or floating


def is_embedding(name: str) -> bool:
    """Whether a weight of this name is looked up by rows."""
    return bool(_EMBEDDING.search(name))


def is_kernel(name: str) -> bool:
    """Whether a weight of this name is the kernel of a layer."""
    return bool(_KERNEL.search(name))


def is_of_lora(name: str) -> bool:
    """Whether a weight of this name is a factor of what LoRA adds to another."""
    return bool(_LORA.search(name))


def _is_matrix(weight: Weight) -> bool:
    return tf_variable(weight).dtype.is_floating and len(weight.shape) >= 2


def _included(candidates: Mapping[str, Weight], patterns: Sequence[str]) -> dict[str, Weight]:
    for pattern in patterns:
        _check_match("include", pattern, candidates)
    return {name: weight for name, weight in candidates.items() if _matches(patterns, name)}


def _frozen_names(trainable: Sequence[Weight], model: Any) -> list[str]:
    """The names of a Keras model's other weights: to exclude one changes nothing, and may be said all the same."""
    if not isinstance(model, (keras.Model, tf_keras.Model)):
        return []
    known = {id(tf_variable(weight)) for weight in trainable}
    weights = [*trainable, *(weight for weight in model.weights if id(tf_variable(weight)) not in known)]
    return weight_names(weights, model)[len(trainable) :]


def _check_match(option: str, pattern: str, candidates: Mapping[str, Weight], others: Iterable[str] = ()) -> None:
    if not any(_matches([pattern], name) for name in (*candidates, *others)):
        raise ValueError(
            f"{option} holds {pattern!r}, which matches none of the variables {list(candidates)}. Mend or remove it."
        )


def _matches(patterns: Iterable[str], name: str) -> bool:
    return any(name_pattern(pattern).search(name) for pattern in patterns)
