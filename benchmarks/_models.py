"""The models whose training steps are timed, for Keras 3 and, in a peer's process, Keras 2."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

STEPS = 100
# How often a training goes through the data. The first time holds the tracing and the last is not timed to its end:
# neither is counted.
TIMES = 5


def _mlp(layers: Any) -> list[Any]:
    return [layers.Dense(1500, activation="relu"), layers.Dense(1000, activation="relu"), layers.Dense(10)]


def _cnn(layers: Any) -> list[Any]:
    convolutions = [layers.Conv2D(filters, 3, strides=2, activation="relu") for filters in (32, 64, 128)]
    return [*convolutions, layers.Flatten(), layers.Dense(10)]


# Layers, made of the `layers` module of either Keras; shape of the input; batch size.
MODELS: dict[str, tuple[Callable[[Any], list[Any]], tuple[int, ...], int]] = {
    "MLP": (_mlp, (1000,), 128),
    "CNN": (_cnn, (32, 32, 3), 64),
}


def random_data(shape: tuple[int, ...], batch_size: int) -> tf.data.Dataset:
    """`STEPS` batches of inputs, float32, and of classes from 0 to 9, over and over: `TIMES` times."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(STEPS * batch_size, *shape)).astype(np.float32)
    data = tf.data.Dataset.from_tensor_slices((x, rng.integers(0, 10, size=len(x))))
    # One epoch: where one ends, Keras may wait for seconds for the trainings in other threads.
    return data.batch(batch_size).repeat(TIMES)
