"""A user's module: a criterion, a schedule, and the `run_fn` of a model that is pruned by them.

It is imported here, and copied by tests that need it in a process of its own or under another name.
"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

import tfx_pruning


@dataclasses.dataclass(frozen=True)
class RootMeanSquare(tfx_pruning.GradientCriterion):
    """|w| times the root of the mean squared gradient."""

    elementwise = True

    def sample(self, gradient):
        return tf.square(gradient)

    def scores(self, weight, average):
        return tf.abs(weight) * tf.sqrt(average)


class Stairs(tfx_pruning.Schedule):
    """Rises in four steps."""

    def left(self, progress):
        return 1.0 - tf.floor(4.0 * progress) / 4.0


tfx_pruning.register_criterion("root_mean_square", RootMeanSquare())
tfx_pruning.register_schedule("stairs", Stairs)


def run_fn(fn_args):
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(160, 10)).astype("float32")
    model = keras.Sequential([keras.layers.Input((10,)), keras.layers.Dense(20, name="hidden"), keras.layers.Dense(1)])
    model.compile("adam", "mse", jit_compile=False)
    model.fit(x, x[:, :1], batch_size=16, steps_per_epoch=fn_args.train_steps, epochs=1, verbose=0)
    tf.saved_model.save(model, fn_args.serving_model_dir)
