"""What `reliability.py` kills: a model to be stripped or pushed, and a training; all the same each time."""

import os
import pathlib

import numpy as np

BACKUPS = ("BackupAndRestore", "PruningTrainer's backup")
PUSHERS = ("Pusher", "TFX's own Pusher")
EPOCHS, STEPS, BATCH = 40, 8, 16


def save_source(folder: pathlib.Path, units: int) -> None:
    """Saves an MLP whose hidden layers have as many units, a quarter of them dead, with all that training needs."""
    import keras
    import tensorflow as tf

    from tfx_pruning import Pruning, PruningHParams

    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(each, "relu") for each in (units, units, 10)]
    model = keras.Sequential([keras.Input((20,)), *layers])
    model.compile(keras.optimizers.Adam())
    model.optimizer.build(model.trainable_variables)
    pruning = Pruning(PruningHParams.for_steps(4, prune_option="weight", target_sparsity=0.5), model)
    pruning.conditional_mask_update(4)
    for layer in layers[:2]:
        alive = np.arange(units) % 4 > 0
        layer.kernel.assign(layer.kernel.numpy() * alive)
        layer.bias.assign(0.1 * alive)
    serve = tf.function(lambda x: {"y": model(x)}, input_signature=[tf.TensorSpec([None, 20], name="x")])
    tf.saved_model.save(model, folder, signatures={"serving_default": serve})


def push(model: pathlib.Path, pusher: str, serving: pathlib.Path) -> None:
    """Pushes a model as a command would, with its handling of signals.

    Args:
        model: The artifact's folder.
        pusher: One of `PUSHERS`.
        serving: Where the version goes.
    """
    from tfx import v1 as tfx
    from tfx.components.pusher import executor
    from tfx.types import standard_artifacts
    from tfx.utils import proto_utils

    from tfx_pruning.cli.interruption import ended_by_signals
    from tfx_pruning.pipelines import pusher_executor

    artifact, pushed = standard_artifacts.Model(), standard_artifacts.PushedModel()
    artifact.uri, pushed.uri = str(model), f"{serving}_archive"
    destination = tfx.proto.PushDestination(
        filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(serving))
    )
    chosen = pusher_executor if pusher == PUSHERS[0] else executor
    with ended_by_signals():
        chosen.Executor().Do(
            {"model": [artifact]},
            {"pushed_model": [pushed]},
            {"push_destination": proto_utils.proto_to_json(destination)},
        )


def train(folder: pathlib.Path, units: int, backup: str) -> None:
    """Trains an MLP, or goes on with that, and writes what came of it to `trained.npz`.

    Args:
        folder: For the backups and the file.
        units: Of its hidden layers.
        backup: One of `BACKUPS`.
    """
    import keras

    from tfx_pruning import PruningHParams, pruning_scope
    from tfx_pruning.pruning_trainer.training_backup import TrainingBackups

    keras.utils.set_random_seed(3)
    x = np.random.default_rng(1).normal(size=(STEPS * BATCH, 20)).astype("float32")
    y = x[:, :1] * x[:, 1:2]
    layers = [keras.layers.Dense(units, "relu"), keras.layers.Dense(units, "relu"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((20,)), *layers])
    model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False)
    first: list[int] = []

    class First(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
            if not first:
                first.append(int(model.optimizer.iterations))

    hparams = PruningHParams.for_steps(
        EPOCHS * STEPS, prune_option="first_order_gradient", target_sparsity=0.8, pruning_frequency=5
    )
    callbacks = [First()]
    if backup == BACKUPS[0]:
        callbacks.append(keras.callbacks.BackupAndRestore(folder / "backup", double_checkpoint=True))
    folder.mkdir(exist_ok=True)
    with TrainingBackups.opened(str(folder / "backups"), "a", 3) as backups, pruning_scope(hparams) as scope:
        if backup != BACKUPS[0]:
            scope.around_fit = backups.of_fit
        model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0, callbacks=callbacks)
    backups.remove()
    ((_, pruning, step),) = scope.trainings
    arrays = {f"weight {index}": np.array(each) for index, each in enumerate(model.weights)}
    arrays |= {f"optimizer {index}": np.array(each) for index, each in enumerate(model.optimizer.variables)}
    for index, state in enumerate(pruning.states):
        arrays |= {f"{kind} {index}": getattr(state, kind).numpy() for kind in ("mask", "gradient", "threshold")}
    np.savez(folder / "new.npz", step=step, first=first[0], **arrays)
    os.replace(folder / "new.npz", folder / "trained.npz")


def trained(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """What `train` wrote: weights, Adam's moments, masks, gradient states, the step and the first one of its `fit`."""
    with np.load(folder / "trained.npz") as arrays:
        return dict(arrays)
