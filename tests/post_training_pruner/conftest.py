"""Models that are pruned after their training."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf


class TwoLayers(tf.Module):
    """A convolution and a dense layer, without Keras; a table of embeddings that nothing multiplies."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(3)

        def variable(name: str, *shape: int) -> tf.Variable:
            return tf.Variable(random.normal(size=shape).astype(np.float32), name=name)

        self.conv = variable("conv/kernel", 3, 3, 2, 8)
        self.conv_bias = variable("conv/bias", 8)
        self.dense = variable("dense/kernel", 32, 6)
        self.dense_bias = variable("dense/bias", 6)
        self.table = variable("table/embeddings", 4, 6)
        self.scale = variable("scale", 6)

    @tf.function(
        input_signature=[tf.TensorSpec([None, 4, 4, 2], name="image"), tf.TensorSpec([None], tf.int64, name="word")],
        autograph=False,
    )
    def serve(self, image: tf.Tensor, word: tf.Tensor) -> dict[str, tf.Tensor]:
        """Logits."""
        hidden = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(image, self.conv, 2, "SAME"), self.conv_bias))
        logits = tf.reshape(hidden, [-1, 32]) @ self.dense + self.dense_bias
        return {"logits": (logits + tf.gather(self.table, word)) * self.scale}


@pytest.fixture(scope="session")
def two_layers(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A SavedModel of `TwoLayers`, with an asset of the user's."""
    folder = str(tmp_path_factory.mktemp("models") / "two_layers")
    model = TwoLayers()
    tf.saved_model.save(model, folder, signatures=model.serve)
    extra = pathlib.Path(folder, "assets.extra")
    extra.mkdir()
    (extra / "note").write_text("kept")
    return folder


@pytest.fixture(scope="session")
def images() -> dict[str, np.ndarray]:
    """Inputs of `TwoLayers`, whose pixels depend on each other."""
    random = np.random.default_rng(5)
    mixing = random.normal(size=(32, 32)) / 5
    pixels = random.normal(size=(120, 32)) @ mixing + 0.5
    return {"image": pixels.reshape(-1, 4, 4, 2).astype(np.float32), "word": random.integers(0, 4, 120)}
