"""A pruned training with backups that can be broken off at any batch; as a program, for kills.

`python -m helpers.broken_off_training FOLDER DATA BATCH SIGNAL` sends itself SIGNAL (0 for none) after BATCH batches,
and writes all that was trained to FOLDER/trained.npz if it comes to its end.
"""

import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfx_pruning import PruningHParams, pruning_scope
from tfx_pruning.pruning_trainer.training_backup import TrainingBackups

EPOCHS, STEPS, BATCH_SIZE = 3, 8, 16
HPARAMS = PruningHParams.for_steps(EPOCHS * STEPS, target_sparsity=0.75, pruning_frequency=2)


class AtBatch(keras.callbacks.Callback):
    """Calls a function once so many optimizer steps were taken in this process or before; notes the first one."""

    def __init__(self, step: int | None = None, then: Callable[[], None] | None = None) -> None:
        super().__init__()
        self.first: int | None = None
        self._called = False
        self._step, self._then = step, then

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.first is None:
            self.first = int(self.model.optimizer.iterations)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        # Keras counts a step for data that have run out.
        if not self._called and self._step is not None and int(self.model.optimizer.iterations) >= self._step:
            self._called = True
            self._then()


def train(
    folder: pathlib.Path, data: str, steps: int | None, callback: AtBatch, key: str = "a"
) -> dict[str, np.ndarray] | None:
    """Trains, and returns weights, masks, gradient states and the step by name; the backup stays.

    Args:
        folder: Where the backups are.
        data: 'arrays', 'shuffled', 'endless' or 'of unknown size'; their order is the same in each training.
        steps: Batches between two backups.
        callback: What is called in the training.
        key: Of the backups.
    """
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(20, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False)
    x = np.random.default_rng(1).normal(size=(STEPS * BATCH_SIZE, 6)).astype("float32")
    y = x[:, :1] * x[:, 1:2]
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH_SIZE)
    arguments: dict[str, Any] = {
        "arrays": {"x": x, "y": y, "batch_size": BATCH_SIZE, "shuffle": False},
        "shuffled": {"x": x, "y": y, "batch_size": BATCH_SIZE, "shuffle": True},
        # Its end is in no epoch's end.
        "endless": {"x": dataset.take(STEPS - 1).repeat(), "steps_per_epoch": STEPS},
        "of unknown size": {"x": dataset.filter(lambda *_: True)},
    }[data]
    with TrainingBackups.opened(str(folder), key, steps) as backups, pruning_scope(HPARAMS) as scope:
        scope.around_fit = backups.of_fit
        model.fit(**arguments, epochs=EPOCHS, validation_data=(x, y), verbose=0, callbacks=[callback])
    ((_, pruning, step),) = scope.trainings
    found = {"step": np.array(step), "last update": pruning.last_mask_update_step.numpy()}
    variables = [*model.variables, *model.optimizer.variables]
    found |= {
        f"variable {index}": np.array(keras.ops.convert_to_numpy(variable)) for index, variable in enumerate(variables)
    }
    for index, state in enumerate(pruning.states):
        found |= {f"{kind} {index}": getattr(state, kind).numpy() for kind in ("mask", "gradient", "threshold")}
    return found


def main() -> None:
    """As the module says."""
    folder, data, step, number = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    callback = AtBatch(step, lambda: os.kill(os.getpid(), number) if number else None)
    trained = train(folder, data, 3, callback)
    np.savez(folder / "trained.npz", first=callback.first, **trained)


if __name__ == "__main__":
    main()
