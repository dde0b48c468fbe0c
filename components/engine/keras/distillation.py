"""Distillation: lets a teacher's answers join the loss of a model's training."""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf
from keras.src.losses.loss import reduce_weighted_values

from ..hparams import PruningHParams
from .compiled_losses import CompiledLoss, compiled_losses
from .divergence import divergence
from .teacher import Teacher
from .version import version_of
from .watched_batch import WatchedBatch

_ARGUMENTS = ("x", "y", "y_pred", "sample_weight")


class Distillation:
    """The loss (1 - w) * L + w * D of a model's training steps; evaluation has L alone.

    It takes the place of the model's `compute_loss`, which both Keras's `train_step` and those of users' own call.
    """

    def __init__(self, teacher: Teacher, hparams: PruningHParams, batch: WatchedBatch) -> None:
        """Takes the teacher, and the batch of the model that it teaches."""
        self._teacher = teacher
        self._hparams = hparams
        self._batch = batch
        self._model = batch.model
        self._joined = False

    @contextlib.contextmanager
    def joined(self) -> Iterator[None]:
        """Inside this context, and while the batch is watched, the teacher's answers are part of the loss."""
        attributes = self._model.__dict__
        covered = attributes.get("compute_loss")
        # In __dict__: the model's __setattr__ would track it.
        attributes["compute_loss"] = self._with_teacher(self._model.compute_loss)
        try:
            yield
        finally:
            del attributes["compute_loss"]
            if covered is not None:
                attributes["compute_loss"] = covered

    def check_joined(self) -> None:
        """Raises if no step has computed its loss by `compute_loss`."""
        if not self._joined:
            raise ValueError(
                f"The teacher has no part in the loss of {self._model.name!r}: its train_step does not call "
                "compute_loss. Let it call self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight), or "
                "leave out teacher and distill_weight."
            )

    def _with_teacher(self, compute_loss: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(compute_loss)

        @tf.autograph.experimental.do_not_convert
        def with_teacher(*args: Any, **kwargs: Any) -> Any:
            loss = compute_loss(*args, **kwargs)
            batch = self._batch.unpacked()
            if batch is None:
                return loss
            given = signature.bind(*args, **kwargs).arguments
            x, y, y_pred, sample_weight = (given.get(name) for name in _ARGUMENTS)
            if y_pred is None:
                raise ValueError(
                    f"compute_loss of {self._model.name!r} is called without y_pred, which is compared with the "
                    "teacher's answers. Pass what the model returned as y_pred."
                )
            self._joined = True
            x = batch[0] if x is None else x
            answers = keras.tree.map_structure(tf.stop_gradient, self._teacher.answers(self._model, x))
            losses = compiled_losses(self._model, y_pred, sample_weight)
            return self._mixed(loss, self._of_teacher(losses, answers, y, y_pred))

        return with_teacher

    def _mixed(self, loss: tf.Tensor, of_teacher: tf.Tensor) -> tf.Tensor:
        weight = tf.cast(self._hparams.distill_weight, loss.dtype)
        of_layers = self._of_layers(loss.dtype)
        return (1.0 - weight) * (loss - of_layers) + weight * tf.cast(of_teacher, loss.dtype) + of_layers

    def _of_layers(self, dtype: tf.DType) -> tf.Tensor:
        """What layers add to the loss that Keras computes, such as regularisation."""
        model = self._model
        if type(model).compute_loss is not version_of(model).model.compute_loss:
            return tf.zeros([], dtype)  # only the user knows what is in it
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        return sum((tf.reduce_sum(tf.cast(each, dtype)) / replicas for each in model.losses), tf.zeros([], dtype))

    def _of_teacher(self, losses: list[CompiledLoss], answers: Any, y: Any, y_pred: Any) -> tf.Tensor:
        outputs = keras.tree.flatten(y_pred)
        names = self._output_names(y_pred, len(outputs))
        of_teacher = self._in_order(answers, y_pred, names)
        total = tf.zeros([])
        for loss in losses:
            name, teacher, output = (each[loss.index] for each in (names, of_teacher, outputs))
            if len(teacher.shape) != len(output.shape) or not teacher.shape.is_compatible_with(output.shape):
                raise ValueError(
                    f"The teacher's output for {name} has shape {teacher.shape}, that of {self._model.name!r} "
                    f"{output.shape}. The teacher must have the same outputs."
                )
            values = divergence(self._kind(loss, name), teacher, output, self._hparams.temperature, loss.axis)
            reduced = reduce_weighted_values(
                values, loss.sample_weight, _mask(loss, values, output, y), loss.reduction, "float32"
            )
            total += reduced if loss.weight is None else reduced * tf.cast(loss.weight, tf.float32)
        return total

    def _kind(self, loss: CompiledLoss, name: str) -> str:
        kind = self._hparams.distill_loss or loss.kind
        if kind is None:
            compiled = f"the loss {loss.name!r}" if loss.loss is not None else "no compiled loss"
            raise ValueError(
                f"{name} of {self._model.name!r} has {compiled}, which does not tell what its answers are. Say how "
                "they are compared with the teacher's: distill_loss='categorical', 'binary' or 'squared_error', the "
                "first two followed by '_from_logits' if the model returns logits."
            )
        return kind

    def _output_names(self, y_pred: Any, number: int) -> list[str]:
        if isinstance(y_pred, Mapping):
            return sorted(y_pred)
        names = getattr(self._model, "output_names", None) or []
        return list(names) if len(names) == number else [f"output_{index}" for index in range(number)]

    def _in_order(self, answers: Any, y_pred: Any, names: list[str]) -> list[tf.Tensor]:
        """The teacher's answers in the order of the model's outputs, which have these names."""
        flat = keras.tree.flatten(answers)
        if isinstance(answers, Mapping) and len(flat) == len(names):
            by_number = [f"output_{index}" for index in range(len(names))]
            for keys in (names, by_number):
                if set(keys) == set(answers):
                    return [answers[key] for key in keys]
        named = isinstance(answers, Mapping) or isinstance(y_pred, Mapping)
        if len(flat) == len(names) and (len(flat) == 1 or not named):
            return flat
        found = sorted(answers) if isinstance(answers, Mapping) else f"{len(flat)} without names"
        raise ValueError(
            f"The teacher has the outputs {found}, {self._model.name!r} has {names}. The teacher must have the same "
            "outputs."
        )


def _mask(loss: CompiledLoss, values: tf.Tensor, output: tf.Tensor, y: Any) -> tf.Tensor | None:
    """Which of the values count: not what Keras masks, nor the class that the loss ignores; None for all."""
    mask = getattr(output, "_keras_mask", None)
    if loss.ignored_class is None or y is None:
        return mask
    labels = tf.reshape(keras.tree.flatten(y)[loss.index], tf.shape(values))
    counted = labels != tf.cast(loss.ignored_class, labels.dtype)
    return counted if mask is None else mask & counted
