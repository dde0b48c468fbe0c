"""Teacher: a trained model whose answers a pruned training learns from too."""

import os
from typing import Any, Protocol, TypeAlias

import keras
import tensorflow as tf
import tf_keras

from ...typed_value import shown
from ..weight_state import tf_variable
from .saved_teacher import SavedTeacher
from .version import Model

# A Keras model, the path of a SavedModel, or what `tf.saved_model.load` returned.
TeacherSource: TypeAlias = Any


class Teacher(Protocol):
    """Answers the batches of another model's training. It is not trained, and no file holds it."""

    def answers(self, model: Model, x: Any) -> Any:
        """The answers to a batch, for a model that trains on it.

        Args:
            model: The model that is trained, its student.
            x: The inputs of the batch, as that model takes them.

        Raises:
            ValueError: The batch cannot be read.
        """
        ...


class KerasTeacher:
    """A Keras model as a teacher; see `Teacher`."""

    def __init__(self, model: Model) -> None:
        """Takes the model.

        Raises:
            ValueError: It has no weights yet.
        """
        if not model.built:
            raise ValueError(
                f"The teacher {model.name!r} has no weights yet, so it was never trained. Train it first, or load it."
            )
        self._model = model

    def answers(self, model: Model, x: Any) -> Any:
        teacher = self._model
        own = {id(tf_variable(weight)) for weight in teacher.weights}
        shared = [weight for weight in model.weights if id(tf_variable(weight)) in own]
        if shared:
            raise ValueError(
                f"The teacher {teacher.name!r} and {model.name!r} have {len(shared)} weights in common, which are "
                "pruned. Give a teacher with weights of its own: a clone with the same weights, or the path where the "
                "dense model was saved."
            )
        without_dropout = {"training": False} if getattr(teacher, "_expects_training_arg", True) else {}
        try:
            return teacher(x, **without_dropout)
        except (TypeError, ValueError, KeyError, tf.errors.OpError) as error:
            raise ValueError(
                f"The teacher {teacher.name!r} cannot read the batches of {model.name!r}: {error} It must take the "
                "same inputs."
            ) from error


def teacher_of(source: TeacherSource) -> Teacher:
    """The teacher that a user named.

    Args:
        source: A trained Keras model, of Keras 3 or tf_keras; the path of a SavedModel; or what `tf.saved_model.load`
            returned.

    Raises:
        TypeError: `source` is nothing of that kind.
        ValueError: The model was never trained, or the SavedModel cannot be loaded or has no function that takes
            features.
    """
    if isinstance(source, (keras.Model, tf_keras.Model)):
        return KerasTeacher(source)
    if isinstance(source, (str, os.PathLike)):
        return SavedTeacher.read(os.fspath(source))
    if hasattr(source, "signatures"):
        return SavedTeacher(source, "the SavedModel")
    raise TypeError(
        "teacher must be a Keras model, the path of a SavedModel or what tf.saved_model.load returned, got "
        f"{shown(source)} of type {type(source).__name__}."
    )
