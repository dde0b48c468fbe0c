"""The UCI digits: their images, two models that read them, and how these are trained, with Keras 3 or Keras 2."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn.datasets
import sklearn.model_selection
import sklearn.preprocessing
import tensorflow as tf

_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class DigitsModel:
    """A model and its training: by Adam at one learning rate.

    Attributes:
        description: For the table.
        layers: Makes the layers, of the `layers` module of either Keras.
        input_shape: Shape of an image.
        epochs: Times that every image is seen.
        batch_size: Images a step. The rest of an epoch that fills no batch is dropped.
        learning_rate: Adam's.
    """

    description: str
    layers: Callable[[Any], list[Any]]
    input_shape: tuple[int, ...]
    epochs: int
    batch_size: int = 64
    learning_rate: float = 2e-3

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training, whichever fold is left out."""
        images = sklearn.datasets.load_digits().target.size
        return self.epochs * (images * (_FOLDS - 1) // _FOLDS // self.batch_size)


def _mlp(layers: Any) -> list[Any]:
    return [layers.Dense(300, activation="relu"), layers.Dense(100, activation="relu"), layers.Dense(10)]


def _cnn(layers: Any) -> list[Any]:
    return [
        layers.Conv2D(16, 3, activation="relu"),
        layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2D(64, 3, strides=2, padding="same", activation="relu"),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dense(10),
    ]


MODELS = {
    "mlp": DigitsModel("MLP 64-300-100-10, 50,200 weights", _mlp, (64,), epochs=80),
    "cnn": DigitsModel("CNN, convolutions to 16, 32, 64, Dense 128 and 10, 57,232 weights", _cnn, (8, 8, 1), epochs=40),
}


def split(model: DigitsModel, seed: int) -> dict[str, np.ndarray]:
    """Images, standardised pixel by pixel, float32, and digits: `train_x`, `train_y`, `test_x`, `test_y`.

    A seed's test images are one fold of five, of equal shares of each digit. The folds of seeds 0 to 4 make up all
    images, those of seeds 5 to 9 again, shuffled anew, and so on.
    """
    pixels, digits = sklearn.datasets.load_digits(return_X_y=True)
    shuffle, fold = divmod(seed, _FOLDS)
    folds = sklearn.model_selection.StratifiedKFold(_FOLDS, shuffle=True, random_state=shuffle)
    train, test = list(folds.split(pixels, digits))[fold]
    scaler = sklearn.preprocessing.StandardScaler().fit(pixels[train])
    images = scaler.transform(pixels).astype(np.float32).reshape(-1, *model.input_shape)
    return {"train_x": images[train], "train_y": digits[train], "test_x": images[test], "test_y": digits[test]}


def batches(model: DigitsModel, x: np.ndarray, y: np.ndarray, seed: int) -> tf.data.Dataset:
    """The batches of all `model.steps` steps, each epoch in an order of its own."""
    rng = np.random.default_rng(seed)
    steps = model.steps // model.epochs
    orders = [rng.permutation(len(x))[: steps * model.batch_size] for _ in range(model.epochs)]
    order = np.reshape(orders, [model.steps, model.batch_size])
    images, digits = tf.constant(x), tf.constant(y)
    return tf.data.Dataset.from_tensor_slices(order).map(
        lambda rows: (tf.gather(images, rows), tf.gather(digits, rows))
    )


def compiled(
    model: DigitsModel, keras: Any, wrap: Callable[[Any], Any] = lambda network: network, **options: Any
) -> Any:
    """The model, built and compiled.

    Args:
        model: Which one.
        keras: Either Keras.
        wrap: Called with the network before it is compiled.
        **options: More arguments of `compile`.
    """
    network = wrap(keras.Sequential([keras.layers.Input(model.input_shape), *model.layers(keras.layers)]))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(model.learning_rate), loss, **options)
    return network


def outcome(network: Any, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Test accuracy, and the fraction of zeros among the kernels' weights."""
    kernels = [layer.kernel.numpy() for layer in network.layers if hasattr(layer, "kernel")]
    zeros = sum(int((kernel == 0).sum()) for kernel in kernels)
    correct = np.argmax(network(x).numpy(), axis=1) == y
    return float(correct.mean()), zeros / sum(kernel.size for kernel in kernels)
