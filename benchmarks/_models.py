"""The models whose training steps are timed, for Keras 3 and, in a peer's process, Keras 2."""

from collections.abc import Callable
from typing import Any

import numpy as np

STEPS = 100
# Epochs of a turn; the first holds the tracing and is not counted.
EPOCHS = 4


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


def random_data(shape: tuple[int, ...], batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """`STEPS` batches of inputs, float32, and of classes from 0 to 9."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(STEPS * batch_size, *shape)).astype(np.float32)
    return x, rng.integers(0, 10, size=len(x))
