"""A model with units that were killed by hand, so that the right shapes are known."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

Shapes = dict[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class Specimen:
    """A model to be shrunk.

    Attributes:
        weights: Its variables, by name.
        call: What it computes of its variables and its input.
        shape: Of the input, None for the batch.
        after: The shapes of those variables that become smaller.
        dtype: Of the input.
    """

    weights: dict[str, np.ndarray]
    call: Callable[[dict[str, tf.Variable], tf.Tensor], Any]
    shape: tuple[int | None, ...]
    after: Shapes
    dtype: tf.DType = tf.float32

    def save(self, path: str) -> None:
        """Saves the model with the signature 'serving_default', from 'x' to 'y'."""
        module = tf.Module()
        for name, value in self.weights.items():
            setattr(module, name, tf.Variable(value, name=name))
        weights = {name: getattr(module, name) for name in self.weights}

        @tf.function(input_signature=[tf.TensorSpec(self.shape, self.dtype, name="x")], autograph=False)
        def serve(x):
            return {"y": self.call(weights, x)}

        tf.saved_model.save(module, path, signatures={"serving_default": serve})

    def inputs(self, batch: int = 5) -> tf.Tensor:
        """Inputs of its own, not those that Stripper draws."""
        random = np.random.default_rng(41)
        shape = [batch if size is None else size for size in self.shape]
        if self.dtype.is_integer:
            return tf.constant(random.integers(0, 7, shape), self.dtype)
        return tf.constant(random.normal(size=shape), self.dtype)


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    """Random numbers, none of them near 0."""
    random = np.random.default_rng([seed, *shape])
    return (random.choice([-1.0, 1.0], shape) * random.uniform(0.2, 0.8, shape)).astype(np.float32)


def without(array: np.ndarray, axis: int, *indices: int) -> np.ndarray:
    """An array with zeros at some indices of an axis."""
    array = array.copy()
    np.moveaxis(array, axis, 0)[list(indices)] = 0
    return array


def adding_to(specimens: dict[str, Specimen]) -> Callable[[Callable[[], Specimen]], Callable[[], Specimen]]:
    """Decorates a function that builds a specimen, which goes by the function's name."""

    def add(build: Callable[[], Specimen]) -> Callable[[], Specimen]:
        specimens[build.__name__.strip("_")] = build()
        return build

    return add
