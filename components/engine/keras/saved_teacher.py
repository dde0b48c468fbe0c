"""SavedTeacher: a SavedModel that answers the batches of a training."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from ...saved_model.loading import failure_explained, load
from ...saved_model.saved_objects import SavedObjects
from .version import Model

# Functions that Keras saves of a model: tf_keras the first, `export` the second, and Keras 3 the third wherever
# `tf.saved_model.save` writes a model, whatever its signatures are.
_METHODS = ("__call__", "serve", "_default_save_signature")
# These take what the model takes, be it text. Others of one list of strings take serialized examples.
_OF_THE_MODEL = ("__call__", "_default_save_signature")


class _UnfitError(Exception):
    """A function does not take a batch; says why."""


@dataclasses.dataclass(frozen=True)
class _Function:
    """A function of a SavedModel.

    Attributes:
        name: Its name, for errors.
        inputs: The structure of tensor specs that it takes.
        call: Calls it with such tensors.
    """

    name: str
    inputs: Any
    call: Callable[[Any], Any]

    @property
    def takes_features(self) -> bool:
        """Whether it takes something else than serialized examples."""
        specs = tf.nest.flatten(self.inputs)
        return self.name in _OF_THE_MODEL or any(spec.dtype != tf.string or spec.shape.rank != 1 for spec in specs)

    def __str__(self) -> str:
        specs = (f"{spec.dtype.name} {spec.shape}" for spec in tf.nest.flatten(self.inputs))
        names = self.inputs if isinstance(self.inputs, Mapping) else ()
        named = ", ".join(f"{name}: {each}" for name, each in zip(sorted(names), specs, strict=True)) if names else ""
        return f"{self.name}({named or ', '.join(specs)})"


class SavedTeacher:
    """A SavedModel as a teacher; see `Teacher`.

    It is asked by the first of its functions that takes the batch: the model itself, as Keras saves it, or a signature.
    A batch is read as Keras reads it: by names, with inputs left out that the function does not take, numbers cast, and
    a last dimension of 1 added or dropped.
    """

    def __init__(self, loaded: Any, name: str) -> None:
        """Takes a SavedModel that was loaded.

        Args:
            loaded: What `tf.saved_model.load` returned.
            name: How errors call it.

        Raises:
            ValueError: No function of it takes features.
        """
        self._name = name
        self._loaded = loaded  # it owns the variables
        self._functions = list(_functions(loaded))
        if not any(function.takes_features for function in self._functions):
            raise ValueError(
                f"The teacher, {name}, has no function that takes the features of a training batch; it has "
                f"{self._found()}. {_EXPECTED}"
            )

    @classmethod
    def read(cls, path: str) -> "SavedTeacher":
        """Loads the SavedModel at a path.

        Raises:
            ValueError: There is none, it cannot be loaded, or no function of it takes features.
        """
        if not tf.saved_model.contains_saved_model(path):
            raise ValueError(
                f"The teacher {path!r} is no SavedModel. Give the folder with saved_model.pb, or a Keras model."
            )
        name = f"the SavedModel at {path!r}"
        with failure_explained(path):
            objects = SavedObjects.read(path)
        return cls(load(objects), name)

    def answers(self, model: Model, x: Any) -> Any:
        reasons = []
        for function in self._functions:
            try:
                return function.call(_conformed(x, function.inputs, _input_names(model)))
            except _UnfitError as reason:
                reasons.append(f"{function} {reason}")
            except (TypeError, ValueError, tf.errors.OpError) as error:
                reasons.append(f"{function} fails: {error}")
        raise ValueError(
            f"The teacher, {self._name}, has no function that takes the batches of {model.name!r}, which are "
            f"{_described(x)}: {'; '.join(reasons)}. {_EXPECTED}"
        )

    def _found(self) -> str:
        return ", ".join(map(str, self._functions)) or "none"


_EXPECTED = (
    "Expected is a function of the features that the model is trained on, as a Keras model has that was saved by "
    "tf.saved_model.save(model, ...) or model.export, or a signature of them. One of serialized examples does not do."
)


def _functions(loaded: Any) -> Iterator[_Function]:
    """The functions that may be asked, the likeliest first."""
    for name in _METHODS:
        method = getattr(loaded, name, None)
        for inputs in _first_arguments(getattr(method, "concrete_functions", ())):
            yield _Function(name, inputs, _caller(method))
    for name, signature in loaded.signatures.items():
        inputs = signature.structured_input_signature[1]
        yield _Function(f"signature {name!r}", inputs, _caller_by_names(signature))


def _first_arguments(functions: Iterable[Any]) -> Iterator[Any]:
    """The first argument of each, without repetition, of those that take tensors in no other."""
    seen = []
    for function in functions:
        arguments, by_name = function.structured_input_signature
        first, *others = [*arguments, *by_name.values()] or [None]
        specs = tf.nest.flatten(first)
        if not specs or not all(isinstance(spec, tf.TypeSpec) for spec in specs):
            continue
        if not any(isinstance(each, tf.TypeSpec) for each in tf.nest.flatten(others)) and repr(first) not in seen:
            seen.append(repr(first))
            yield first


def _caller(method: Callable[..., Any]) -> Callable[[Any], Any]:
    def call(x: Any) -> Any:
        # Of functions that are loaded, only a call tells what they take.
        try:
            return method(x, training=False)
        except (TypeError, ValueError):
            return method(x)

    return call


def _caller_by_names(signature: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda x: signature(**x)


def _conformed(x: Any, specs: Any, names: list[str]) -> Any:
    """The batch in the structure, dtypes and ranks of the specs; raises `_UnfitError` if it cannot be."""
    if isinstance(specs, Mapping):
        if not isinstance(x, Mapping):
            values = keras.tree.flatten(x)
            keys = names if set(names) == set(specs) else list(specs)
            if len(values) != len(keys) or (len(keys) > 1 and keys is not names):
                raise _UnfitError(f"takes {sorted(specs)} by name")
            x = dict(zip(keys, values, strict=True))
        missing = sorted(set(specs) - set(x))
        if missing:
            raise _UnfitError(f"takes {missing}, which are not in the batch")
        return {key: _conformed(x[key], spec, names) for key, spec in specs.items()}
    if isinstance(specs, (list, tuple)):
        values = _in_order(x, names, [getattr(spec, "name", None) for spec in tf.nest.flatten(specs)])
        if len(values) != len(specs):
            raise _UnfitError(f"takes {len(specs)} inputs")
        return type(specs)(_conformed(value, spec, names) for value, spec in zip(values, specs, strict=True))
    values = [x] if tf.is_tensor(x) else keras.tree.flatten(x)
    if len(values) != 1:
        raise _UnfitError("takes one input")
    return _as_spec(values[0], specs)


def _in_order(x: Any, names: list[str], wanted: list[str | None]) -> list[Any]:
    """The inputs in a function's order: by the names that it has for them, else as the model has them."""
    if isinstance(x, (list, tuple)) and len(x) == len(names) and set(names) == set(wanted):
        x = dict(zip(names, x, strict=True))
    if isinstance(x, Mapping):
        for order in (wanted, names):
            if order and set(order) <= set(x):
                return [x[name] for name in order]
        return keras.tree.flatten(x)
    return list(x) if isinstance(x, (list, tuple)) else [x]


def _as_spec(value: Any, spec: tf.TypeSpec) -> Any:
    if not isinstance(spec, tf.TensorSpec) or not isinstance(value, tf.Tensor):
        if tf.is_tensor(value) and spec.is_compatible_with(value):
            return value
        raise _UnfitError(f"takes {spec}, got {value}")
    if value.dtype != spec.dtype:
        if not _can_be_cast(value.dtype, spec.dtype):
            raise _UnfitError(f"takes {spec.dtype.name}, got {value.dtype.name}")
        value = tf.cast(value, spec.dtype)
    shape = spec.shape
    if shape.rank is not None and value.shape.rank is not None:
        if shape.rank == value.shape.rank + 1 and shape[-1] in (1, None):
            value = value[..., tf.newaxis]
        elif shape.rank == value.shape.rank - 1 and value.shape[-1] == 1:
            value = value[..., 0]
    if not shape.is_compatible_with(value.shape):
        raise _UnfitError(f"takes {shape}, got {value.shape}")
    return value


def _can_be_cast(source: tf.DType, destination: tf.DType) -> bool:
    """Whether it can without loss of fractions."""
    whole = source.is_integer or source.is_bool
    return (destination.is_floating and (whole or source.is_floating)) or (destination.is_integer and whole)


def _input_names(model: Model) -> list[str]:
    """The names of the inputs of a functional model, in order; none of others."""
    inputs = getattr(model, "inputs", None)
    return [each.name for each in keras.tree.flatten(inputs)] if inputs else []


def _described(x: Any) -> str:
    def one(value: Any) -> str:
        return f"{value.dtype.name} {value.shape}" if isinstance(value, tf.Tensor) else str(value)

    if isinstance(x, Mapping):
        return ", ".join(f"{name}: {one(value)}" for name, value in x.items())
    return ", ".join(one(value) for value in keras.tree.flatten(x))
