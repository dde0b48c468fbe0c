"""KerasVersion: Keras 3, or Keras 2 in the package tf_keras."""

import dataclasses
import inspect
from typing import Any, TypeAlias

import keras
import tensorflow as tf
import tf_keras

Model: TypeAlias = keras.Model | tf_keras.Model


@dataclasses.dataclass(frozen=True)
class KerasVersion:
    """The parts of a version of Keras that a pruned training needs.

    Attributes:
        model: Its class of models.
        callback: Its class of callbacks.
        callback_list: Its class of lists of callbacks.
        fit: Signature of its models' `fit` as shipped, which a patch of another library may hide.
    """

    model: type[Any]
    callback: type[Any]
    callback_list: type[Any]
    fit: inspect.Signature


KERAS_3 = KerasVersion(
    keras.Model,
    keras.callbacks.Callback,
    keras.callbacks.CallbackList,
    inspect.signature(super(keras.Model, keras.Model).fit),
)
KERAS_2 = KerasVersion(
    tf_keras.Model,
    tf_keras.callbacks.Callback,
    tf_keras.callbacks.CallbackList,
    inspect.signature(tf_keras.Model.fit),
)
VERSIONS = (KERAS_3, KERAS_2)


def version_of(model: Model) -> KerasVersion:
    """The version of Keras that a model is of."""
    return next(version for version in VERSIONS if isinstance(model, version.model))


def steps_per_execution(model: Model) -> int:
    """How many batches one call of the model's training function takes."""
    steps = model.steps_per_execution if isinstance(model, keras.Model) else model._steps_per_execution
    # Called once a batch: converting a plain number to a tensor would take microseconds.
    if steps is None or isinstance(steps, int):
        return steps or 1
    return int(tf.convert_to_tensor(steps))
