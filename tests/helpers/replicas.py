"""Trains a small model under a strategy and prunes it: run by a test itself, and as one of two workers."""

import importlib
import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from tfx_pruning import Pruning, PruningHParams, pruning_scope

RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 12)).astype("f")
Y = X[:, :1] * 2 - X[:, 3:4]
BATCH = 16
EPOCHS = 2


def hparams():
    return PruningHParams.parse(
        "prune_option=first_order_gradient,target_sparsity=0.7,begin_pruning_step=3,sparsity_function_begin_step=3,"
        "sparsity_function_end_step=9,pruning_frequency=2,gradient_decay_rate=0.5"
    )


def build(version):
    """A model of `version`, keras or tf_keras."""
    layers = version.layers
    return version.Sequential([layers.Input((12,)), layers.Dense(10, activation="relu"), layers.Dense(1)])


def train_by_a_loop(version, strategy):
    """A loop of one's own in `strategy.run`; returns the pruning."""
    version.utils.set_random_seed(1)
    with strategy.scope():
        model, optimizer = build(version), version.optimizers.SGD(0.01)
        optimizer.build(model.trainable_variables)
        pruning = Pruning(hparams(), model)
    batches = tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH).repeat(EPOCHS)

    def step_of_replica(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum((model(x) - y) ** 2) / BATCH
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return pruning.conditional_mask_update(optimizer.iterations, gradients)

    step = tf.function(lambda x, y: strategy.run(step_of_replica, args=(x, y)))
    for batch in strategy.experimental_distribute_dataset(batches):
        step(*batch)
    pruning.finish(int(tf.convert_to_tensor(optimizer.iterations)))
    return pruning


def train_by_fit(version, strategy):
    """`fit` in a `pruning_scope`; returns the pruning."""
    version.utils.set_random_seed(1)
    with strategy.scope():
        model = build(version)
        model.compile(version.optimizers.SGD(0.01), "mse")
    batches = tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH)
    with pruning_scope(hparams()) as scope:
        model.fit(batches, epochs=EPOCHS, verbose=0)
    return scope.prunings[0]


# A way of training, and the version of Keras.
CASES = ((train_by_a_loop, "keras"), (train_by_a_loop, "tf_keras"), (train_by_fit, "tf_keras"))


def state_arrays(pruning):
    """What this process has of masks, weights and gradient states, by name."""
    return {
        f"{name}_{index}": getattr(state, name).numpy()
        for index, state in enumerate(pruning.states)
        for name in ("mask", "weight", "gradient")
    }


def train_all(strategy):
    """The arrays of all `CASES`, by name."""
    return {
        f"{train.__name__}/{version}/{name}": array
        for train, version in CASES
        for name, array in state_arrays(train(importlib.import_module(version), strategy)).items()
    }


def main(addresses, index, path):
    """One worker of `tf.distribute.MultiWorkerMirroredStrategy`; writes its arrays to `path`."""
    cluster = {"cluster": {"worker": addresses.split(",")}, "task": {"type": "worker", "index": int(index)}}
    os.environ["TF_CONFIG"] = json.dumps(cluster)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    assert strategy.num_replicas_in_sync == 2
    np.savez(path, **train_all(strategy))


if __name__ == "__main__":
    main(*sys.argv[1:])
