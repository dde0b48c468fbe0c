"""The forward pass of a model, traced, and the channels that it shows."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf
import tf_keras

from ..structure.channels import Channels, channels_of
from ..structure.live_function import trace_function
from .hparams import PruningHParams
from .name_pattern import name_pattern
from .weight_names import weight_names
from .weight_state import Weight, tf_variable

# A traced function, or one without arguments that can be traced.
Forward: TypeAlias = tf.types.experimental.ConcreteFunction | Callable[[], Any]


def traced_forward(forward: Forward | None, model: Any, batch: Any = None) -> tf.types.experimental.ConcreteFunction:
    """Traces a forward pass.

    Args:
        forward: See `Pruning`; None for that of the model.
        model: A Keras model; any value if `forward` is given.
        batch: Inputs of the model; None if it knows them itself.

    Raises:
        ValueError: There is no forward pass, or it cannot be traced.
        TypeError: `forward` is not callable.
    """
    if isinstance(forward, tf.types.experimental.ConcreteFunction):
        return forward
    if forward is not None:
        if not callable(forward):
            raise TypeError(
                f"forward must be a ConcreteFunction or a function without arguments, got {type(forward).__name__}. "
                "Give tf.function(model).get_concrete_function(tf.TensorSpec(shape, dtype))."
            )
        return _traced(forward, ())
    if batch is None and not knows_inputs(model):
        what = "a list of variables" if model is None else f"{type(model).__name__}, which knows no inputs"
        raise ValueError(
            "granularity='channel' follows channels through the forward pass, which Pruning is not given and cannot "
            f"make of {what}. Give a function that runs the model: forward=lambda: model(batch)."
        )
    specs = input_specs(model)
    if batch is not None:
        specs = tf.nest.map_structure(lambda each: tf.TensorSpec([None, *each.shape[1:]], each.dtype), batch)
    return _traced(lambda given: model(given, training=False), (specs,))


def knows_inputs(model: Any) -> bool:
    """Whether a model is a built Keras model with inputs of its own, as a functional or Sequential one is."""
    return input_specs(model) is not None


def input_specs(model: Any) -> Any:
    """The specs of what a built functional or Sequential Keras model takes, nested as it takes it; None for others."""
    if not isinstance(model, (keras.Model, tf_keras.Model)) or not model.built or not getattr(model, "inputs", None):
        return None
    functional = getattr(model, "_functional", None) or model
    nested = getattr(functional, "_inputs_struct", getattr(functional, "_nested_inputs", None))
    structure = model.inputs[0] if nested is None else nested
    return tf.nest.map_structure(lambda each: tf.TensorSpec(each.shape, each.dtype), structure)


def channels_of_weights(
    weights: Sequence[Weight], hparams: PruningHParams, forward: tf.types.experimental.ConcreteFunction, model: Any
) -> tuple[Channels, dict[str, Weight]]:
    """The channels of a model that `hparams` asks to prune, and the weights that they run through.

    A channel is pruned if `include` matches the name of a weight that makes it, as a kernel makes its outputs. It is
    not if it runs through a weight that `exclude` matches, or one that is not trained.

    Args:
        weights: The trainable weights, each once.
        hparams: The hyperparameters.
        forward: The traced forward pass.
        model: What holds the weights; see `weight_names`.

    Returns:
        The channels, with indices of the weights given as the holders' names, and these weights by their names.

    Raises:
        ValueError: A regex matches nothing, the forward pass uses an unknown operation, or no channel is left.
    """
    names = weight_names(weights, model)
    for option in ("include", "exclude"):
        for pattern in getattr(hparams, option):
            if not any(name_pattern(pattern).search(name) for name in names):
                raise ValueError(
                    f"{option} holds {pattern!r}, which matches none of the variables {names}. Mend or remove it."
                )
    included, excluded = (
        {index for index, name in enumerate(names) if any(name_pattern(each).search(name) for each in patterns)}
        for patterns in (hparams.include, hparams.exclude)
    )
    variables = {id(tf_variable(weight)): tf_variable(weight) for weight in weights}
    variables |= {id(variable): variable for variable in forward.variables if id(variable) not in variables}
    trace = trace_function(forward, list(variables.values()))
    trained = {index for index, weight in enumerate(weights) if tf_variable(weight).dtype.is_floating}
    channels = channels_of(
        trace, trained, frozen=excluded | (set(range(len(weights))) - trained), made_by=included or trained
    )
    if not channels.count:
        raise ValueError(
            f"No channel to prune in the weights {names}, with include={list(hparams.include)} and exclude="
            f"{list(hparams.exclude)}: what the model returns, what it reads, and what an operation needs whole stays. "
            "Use granularity='element'."
        )
    chosen = list(channels.axes)
    return channels, {names[index]: weights[index] for index in chosen}


def _traced(function: Callable[..., Any], specs: tuple[Any, ...]) -> tf.types.experimental.ConcreteFunction:
    try:
        with tf.init_scope():
            return tf.function(function, autograph=False).get_concrete_function(*specs)
    except Exception as error:
        raise ValueError(
            "granularity='channel' follows channels through the forward pass, which cannot be traced: "
            f"{type(error).__name__}: {error}. Give one that tf.function can trace, or use granularity='element'."
        ) from error
