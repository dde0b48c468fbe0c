"""Models of every kind that Stripper meets, small, trained and pruned as users do it."""

import dataclasses
import functools
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from helpers import graph_models
from tfx_pruning import Pruning, PruningHParams, apply_mask, pruning_scope

_RNG = np.random.default_rng(0)
_STEPS = 8
_BATCH = 8
FLAT, IMAGE, SEQUENCE, WORDS = (12,), (8, 8, 3), (5, 4), (6,)


@dataclasses.dataclass(frozen=True)
class Specimen:
    """What is known of a saved model without Stripper.

    Attributes:
        inputs: An input for each signature.
        zeros: How many weights are pruned; each is zero in the stripped model, and no other of rank 2 and more.
    """

    inputs: dict[str, dict[str, np.ndarray]]
    zeros: int


Builder = Callable[[str], Specimen]
ZOO: dict[str, Builder] = {}


def _lives_in_the_zoo(build: Builder) -> Builder:
    ZOO[build.__name__.strip("_")] = build
    return build


def _hparams(**fields) -> PruningHParams:
    return PruningHParams(
        **{
            "prune_option": "first_order_gradient",
            "target_sparsity": 0.75,
            "sparsity_function_end_step": _STEPS - 2,
            "pruning_frequency": 1,
            **fields,
        }
    )


def _drawn(shape, words=0):
    if words:
        return _RNG.integers(0, words, (_STEPS * _BATCH, *shape))
    return _RNG.normal(size=(_STEPS * _BATCH, *shape)).astype(np.float32)


def _fitted(model, x, optimizer="adam", **fields):
    """Fits the model in a scope; returns how many weights of rank 2 and more are pruned."""
    model.compile(optimizer, "mse", jit_compile=False)
    y = _RNG.normal(size=(_STEPS * _BATCH, 1)).astype(np.float32)
    with pruning_scope(_hparams(**fields)) as scope:
        model.fit(x, y, batch_size=_BATCH, verbose=0)
    return sum(int(np.sum(~mask.numpy())) for mask in scope.prunings[0].masks if mask.shape.rank > 1)


def _serving(model, shape, dtype=tf.float32):
    spec = tf.TensorSpec([None, *shape], dtype, name="x")
    return tf.function(lambda x: {"y": model(x, training=False)}, input_signature=[spec])


def _saved(path, model, x, zeros, save="save"):
    if save == "export":
        model.export(path, verbose=False)
        inputs = {}
        for signature, function in tf.saved_model.load(path).signatures.items():
            (name,) = function.structured_input_signature[1]
            inputs[signature] = {name: x[:3]}
        return Specimen(inputs, zeros)
    signature = _serving(model, x.shape[1:], tf.as_dtype(x.dtype))
    tf.saved_model.save(model, path, signatures={"serving_default": signature})
    return Specimen({"serving_default": {"x": x[:3]}}, zeros)


def _keras_specimen(path, layers, shape, words=0, save="save", optimizer="adam", version=keras, **fields):
    keras.utils.set_random_seed(3)
    x = _drawn(shape, words)
    inputs = version.Input(shape, dtype="int64" if words else "float32")
    model = version.Sequential([inputs, *layers(version.layers)])
    return _saved(path, model, x, _fitted(model, x, optimizer, **fields), save)


def _dense(layers):
    return [layers.Dense(16, activation="relu", name="hidden"), layers.Dense(1, name="head")]


def _convolutional(layers):
    return [
        layers.Conv2D(8, 3, activation="relu"),
        layers.BatchNormalization(),
        layers.SeparableConv2D(8, 3),
        layers.DepthwiseConv2D(3),
        layers.GlobalAveragePooling2D(),
        layers.Dense(1),
    ]


def _recurrent(layers):
    return [layers.LSTM(8, return_sequences=True), layers.Bidirectional(layers.GRU(4)), layers.Dense(1)]


def _wordy(layers):
    return [layers.Embedding(20, 8), layers.Flatten(), layers.Dense(1)]


_KERAS = {
    "magnitude": (_dense, FLAT, {"prune_option": "weight"}),
    "first_order_with_momentum": (_dense, FLAT, {"optimizer": "sgd"}),
    "second_order": (_dense, FLAT, {"prune_option": "second_order_gradient", "optimizer": "adamw"}),
    "weight_delta": (_dense, FLAT, {"prune_option": "second_order_gradient", "gradient_estimator": "weight_delta"}),
    "regrown": (_dense, FLAT, {"regrow": "gradient"}),
    "allocated_globally": (_dense, FLAT, {"allocation": "global"}),
    "blocks": (_dense, FLAT, {"block_height": 4, "block_width": 1}),
    "two_of_four": (_dense, FLAT, {"n_of_m": "2:4", "target_sparsity": 0.5, "exclude": ("head",)}),
    "convolutional": (_convolutional, IMAGE, {}),
    "channels": (
        lambda layers: [layers.Conv2D(8, 3), layers.Flatten(), layers.Dense(4), layers.Dense(1)],
        IMAGE,
        {"granularity": "channel"},
    ),
    "recurrent": (_recurrent, SEQUENCE, {}),
    "embedding": (_wordy, WORDS, {"words": 20, "include": ("embeddings", "kernel")}),
    "exported": (_dense, FLAT, {"save": "export"}),
    "exported_convolutional": (_convolutional, IMAGE, {"save": "export"}),
    "exported_recurrent": (_recurrent, SEQUENCE, {"save": "export"}),
    "keras_2": (_dense, FLAT, {"version": tf_keras}),
    "keras_2_convolutional": (_convolutional, IMAGE, {"version": tf_keras}),
}
for _name, (_layers, _shape, _options) in _KERAS.items():
    ZOO[_name] = functools.partial(_keras_specimen, layers=_layers, shape=_shape, **_options)


@_lives_in_the_zoo
def _averaged_weights(path):
    return _keras_specimen(path, _dense, FLAT, optimizer=keras.optimizers.Adam(use_ema=True))


@_lives_in_the_zoo
def _mixed_float16(path):
    def layers(module):
        return [module.Dense(16, "relu", dtype="mixed_float16"), module.Dense(1, dtype="float32")]

    return _keras_specimen(path, layers, FLAT, optimizer=keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()))


@_lives_in_the_zoo
def _attention(path):
    keras.utils.set_random_seed(3)
    inputs = keras.Input(SEQUENCE)
    hidden = keras.layers.MultiHeadAttention(2, 4)(inputs, inputs)
    hidden = keras.layers.LayerNormalization()(hidden + inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(hidden)))
    x = _drawn(SEQUENCE)
    return _saved(path, model, x, _fitted(model, x))


@_lives_in_the_zoo
def _nested_with_a_shared_layer(path):
    keras.utils.set_random_seed(3)
    shared = keras.layers.Dense(12, "relu")
    inner = keras.Sequential([keras.Input(FLAT), shared, shared])
    inputs = keras.Input(FLAT)
    model = keras.Model(inputs, keras.layers.Dense(1)(inner(shared(inputs))))
    x = _drawn(FLAT)
    return _saved(path, model, x, _fitted(model, x))


@_lives_in_the_zoo
def _subclassed(path):
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.blocks = [keras.layers.Dense(8, "tanh"), keras.layers.Dense(8, "tanh")]
            self.head = keras.layers.Dense(1)

        def call(self, x):
            for block in self.blocks:
                x = block(x)
            return self.head(x)

    keras.utils.set_random_seed(3)
    model, x = Subclassed(), _drawn(FLAT)
    return _saved(path, model, x, _fitted(model, x))


@_lives_in_the_zoo
def _two_signatures(path):
    keras.utils.set_random_seed(3)
    inputs = keras.Input(FLAT)
    hidden = keras.layers.Dense(8, "relu")(inputs)
    features, model = keras.Model(inputs, hidden), keras.Model(inputs, keras.layers.Dense(1)(hidden))
    x = _drawn(FLAT)
    zeros = _fitted(model, x)
    signatures = {"serving_default": _serving(model, FLAT), "features": _serving(features, FLAT)}
    tf.saved_model.save(model, path, signatures=signatures)
    return Specimen({name: {"x": x[:3]} for name in signatures}, zeros)


@_lives_in_the_zoo
def _masked_forward_pass(path):
    """A module of one's own, whose masks are in its forward pass, in a branch and a loop, trained in a loop."""
    module = tf.Module()
    module.first = tf.Variable(_RNG.normal(size=(12, 6)).astype(np.float32), name="first")
    module.second = tf.Variable(_RNG.normal(size=(6, 6)).astype(np.float32), name="second")
    optimizer = keras.optimizers.Adam()
    optimizer.build([module.first, module.second])

    def call(x):
        hidden = tf.cond(
            tf.reduce_sum(x) > 0,
            lambda: x @ apply_mask(module.first),
            lambda: -x @ apply_mask(module.first),
        )
        return tf.while_loop(
            lambda step, _: step < 3,
            lambda step, state: (step + 1, tf.tanh(state @ apply_mask(module.second))),
            (0, hidden),
            (tf.TensorShape([]), tf.TensorShape([None, 6])),
        )[1]

    apply_mask(module.first), apply_mask(module.second)
    module.pruning = Pruning(_hparams(), module)
    module.optimizer = optimizer
    x = _drawn(FLAT)
    for step in range(_STEPS):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(call(tf.constant(x[step * _BATCH : (step + 1) * _BATCH])) ** 2)
        gradients = tape.gradient(loss, [module.first, module.second])
        optimizer.apply_gradients(zip(gradients, [module.first, module.second], strict=True))
        module.pruning.conditional_mask_update(step + 1, gradients)
    zeros = sum(int(np.sum(~mask.numpy())) for mask in module.pruning.masks)
    spec = [tf.TensorSpec([None, *FLAT], name="x")]
    serve = tf.function(lambda x: {"y": call(x)}, input_signature=spec)
    tf.saved_model.save(module, path, signatures={"serving_default": serve})
    return Specimen({"serving_default": {"x": x[:3]}}, zeros)


@_lives_in_the_zoo
def _dense_model(path):
    keras.utils.set_random_seed(3)
    model, x = keras.Sequential([keras.Input(FLAT), *_dense(keras.layers)]), _drawn(FLAT)
    model.compile("adam", "mse")
    model.fit(x, _RNG.normal(size=(len(x), 1)), verbose=0)
    return _saved(path, model, x, 0)


@_lives_in_the_zoo
def _lookup_table(path):
    module = tf.Module()
    keys = tf.constant(["sun", "rain", "snow"])
    module.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, tf.range(3, dtype=tf.int64)), 3)
    module.weight = tf.Variable(_RNG.normal(size=(4, 2)).astype(np.float32), name="weight")
    module.unused = tf.Variable(1.0)
    spec = [tf.TensorSpec([None], tf.string, name="word")]
    serve = tf.function(lambda word: {"y": tf.gather(module.weight, module.table.lookup(word))}, input_signature=spec)
    tf.saved_model.save(module, path, signatures={"serving_default": serve})
    return Specimen({"serving_default": {"word": np.array([b"rain", b"fog"], object)}}, 0)


def _graph_specimen(path, kind):
    """A model of TensorFlow 1 with the masks of google-research's `model_pruning`."""
    graph_models.save_model(path, kind)
    values = graph_models.variables(path)
    zeros = sum(int(np.sum(value == 0)) for key, value in values.items() if key.endswith("/mask"))
    return Specimen({"serving_default": {"x": graph_models.X}}, zeros)


for _name in ("plain", "loop", "branch", "partitioned"):
    ZOO[f"tensorflow_1_{_name}"] = functools.partial(_graph_specimen, kind=_name)
