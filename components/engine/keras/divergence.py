"""divergence: how far the answers of a model are from those of its teacher, example by example."""

import keras
import tensorflow as tf

from ..choices import CATEGORICAL, FROM_LOGITS, SQUARED_ERROR


def divergence(kind: str, teacher: tf.Tensor, student: tf.Tensor, temperature: float, axis: int = -1) -> tf.Tensor:
    """D of each example, which is 0 where both give the same answer.

    For classes this is `keras.distillation.LogitsDistillation` with its default loss, which takes logits only and
    averages over the batch, without sample weights and masks.

    Args:
        kind: One of `DISTILL_LOSSES`.
        teacher: The teacher's answers, a floating tensor of the student's shape.
        student: The model's answers, [batch, ..., last].
        temperature: T; logits are divided by it, and the divergence multiplied by T^2.
        axis: The axis of the classes, for 'categorical'.

    Returns:
        float32 of the answers' shape without the axis of the classes, or for other kinds without the last axis.
    """
    teacher, student = tf.cast(teacher, tf.float32), tf.cast(student, tf.float32)
    if kind == SQUARED_ERROR:
        return tf.reduce_mean(tf.math.squared_difference(teacher, student), axis=-1)
    if kind.startswith(CATEGORICAL):
        if not kind.endswith(FROM_LOGITS):
            teacher, student = _log(teacher), _log(student)
        teacher, student = (tf.nn.log_softmax(each / temperature, axis) for each in (teacher, student))
        return temperature**2 * tf.reduce_sum(tf.exp(teacher) * (teacher - student), axis)
    if not kind.endswith(FROM_LOGITS):
        teacher, student = (_log(each) - _log(1.0 - each) for each in (teacher, student))
    teacher, student = teacher / temperature, student / temperature
    of_both = (
        tf.sigmoid(sign * teacher) * (tf.math.log_sigmoid(sign * teacher) - tf.math.log_sigmoid(sign * student))
        for sign in (1.0, -1.0)
    )
    return temperature**2 * tf.reduce_mean(sum(of_both), axis=-1)


def _log(probability: tf.Tensor) -> tf.Tensor:
    """The logarithm, with no gradient below the least probability that Keras's losses tell from 0."""
    epsilon = keras.config.epsilon()
    return tf.math.log(tf.clip_by_value(probability, epsilon, 1.0))
