"""`fit` of a small model of either Keras, pruned, and what is expected of it."""

import functools

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from tfx_pruning import PruningHParams, pruning_scope
from tfx_pruning.engine.weight_state import path_of

RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 12)).astype("f")
Y = (X[:, :1] * 2 - X[:, 3:4] + 0.1 * RNG.normal(size=(96, 1))).astype("f")
BATCH = 16
STEPS = len(X) // BATCH
DECAY = 0.5

OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.01, momentum=0.9),
    "adam": lambda: keras.optimizers.Adam(0.01),
    "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
}


def build(version=keras, dtype=None):
    """A model of `version`, keras or tf_keras."""
    layers = version.layers
    return version.Sequential(
        [layers.Input((12,)), layers.Dense(10, activation="relu", dtype=dtype), layers.Dense(1, dtype=dtype)]
    )


def unbuilt(version=keras):
    """The same model, which `fit` builds."""
    return version.Sequential([version.layers.Dense(10, activation="relu"), version.layers.Dense(1)])


def hparams(**fields):
    return PruningHParams(
        **{
            "target_sparsity": 0.7,
            "begin_pruning_step": 3,
            "sparsity_function_begin_step": 3,
            "sparsity_function_end_step": 9,
            "pruning_frequency": 2,
            "gradient_decay_rate": DECAY,
            **fields,
        }
    )


def kernels(model):
    return [weight for weight in model.trainable_weights if path_of(weight).endswith("kernel")]


def fit(model, optimizer="adam", epochs=2, x=X, y=Y, loss="mse", **kwargs):
    """Compiles and fits a model of Keras 3; returns the history."""
    compile_args = {"jit_compile": kwargs.pop("jit_compile", False)}
    optimizer = OPTIMIZERS[optimizer]() if isinstance(optimizer, str) else optimizer
    model.compile(optimizer, loss, **compile_args)
    return model.fit(x, y, batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0, **kwargs)


def pruned_fit(model, optimizer, x=X, y=Y, callbacks=(), epochs=2, batch_size=BATCH, compile_args=None, **fields):
    """Fits the model inside a scope, whose zeros are checked after every batch; returns the scope."""
    model.compile(optimizer, "mse", **{"jit_compile": False, **(compile_args or {})})
    with pruning_scope(hparams(**{"prune_option": "first_order_gradient", **fields})) as scope:
        callbacks = [*callbacks, zeros_stay_class(version_of(model))(scope)]
        model.fit(x, y, batch_size=batch_size, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks)
    return scope


def version_of(model):
    return keras if isinstance(model, keras.Model) else tf_keras


@functools.cache
def zeros_stay_class(version):
    class ZerosStay(version.callbacks.Callback):
        """Asserts after every batch that what the masks prune is zero."""

        def __init__(self, scope):
            super().__init__()
            self.scope = scope

        def on_train_batch_end(self, batch, logs=None):
            # Without a step, as when the loss scale skips all batches, there are no masks.
            for state in self.scope.prunings[0].states if self.scope.prunings else ():
                assert not np.any(state.weight.numpy()[state.mask.numpy() == 0]), state.path

    return ZerosStay


def gradients_by_hand(transform, version=keras):
    """A callback with the moving averages of |gradient|, `averages`, as a loop of one's own would compute them.

    `transform` turns the list of the loss's gradients into the list that the optimizer is meant to see; None skips the
    batch.
    """
    return gradients_by_hand_class(version)(transform)


@functools.cache
def gradients_by_hand_class(version):
    class GradientsByHand(version.callbacks.Callback):
        def __init__(self, transform):
            super().__init__()
            self.transform = transform
            self.averages = None

        def on_train_batch_begin(self, batch, logs=None):
            rows = slice(batch * BATCH, (batch + 1) * BATCH)
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((tf.cast(self.model(X[rows]), tf.float32) - Y[rows]) ** 2)
            self.gradients = [gradient.numpy() for gradient in tape.gradient(loss, kernels(self.model))]

        def on_train_batch_end(self, batch, logs=None):
            gradients = self.transform(self.gradients)
            if gradients is not None:
                averages = self.averages or [np.zeros_like(gradient) for gradient in gradients]
                self.averages = [
                    DECAY * average + (1 - DECAY) * np.abs(gradient)
                    for average, gradient in zip(averages, gradients, strict=True)
                ]

    return GradientsByHand


def clipped(gradients):
    return [gradient * min(1.0, 0.2 / np.linalg.norm(gradient)) for gradient in gradients]


def unchanged(gradients):
    return gradients


def assert_exact(model, sparsity=0.7):
    for kernel in kernels(model):
        size = kernel.numpy().size
        assert np.count_nonzero(kernel) == round(size * (1 - sparsity)), path_of(kernel)


def assert_gradient_states(scope, averages, rtol=1e-4, atol=1e-7):
    for state, average in zip(scope.prunings[0].states, averages, strict=True):
        np.testing.assert_allclose(state.gradient, average, rtol=rtol, atol=atol)
