"""tensorflow-model-optimization (tfmot), run as a peer in a process of its own: it needs Keras 2."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from _models import EPOCHS, MODELS, STEPS, random_data
from _process import Arrays, in_own_process, run_task


def tfmot_seconds(weight: np.ndarray, sparsity: float, repeats: int) -> list[float]:
    """Seconds that each of `repeats` mask updates of one weight takes tfmot, after a first that is not counted."""
    found = in_own_process(__file__, "time", {"weight": weight}, {"sparsity": sparsity, "repeats": repeats})
    return found["seconds"].tolist()


def tfmot_accuracies(
    model: str, seed: int, sparsities: Sequence[float], begin_step: int, end_step: int, frequency: int
) -> list[tuple[float, float]]:
    """Test accuracy and delivered sparsity of `prune_low_magnitude` on the digits, a pair for each target sparsity.

    Args:
        model: A name of `_digits.MODELS`.
        seed: Seed of the split, the initial weights and the order of the images.
        sparsities: Target sparsities.
        begin_step: Where the sparsity begins to rise, as a cubic.
        end_step: Where it reaches the target.
        frequency: Steps between two mask updates.
    """
    steps = {"begin_step": begin_step, "end_step": end_step, "frequency": frequency}
    found = in_own_process(
        __file__, "accuracy", {}, {"model": model, "seed": seed, "sparsities": list(sparsities), **steps}
    )
    return [tuple(pair) for pair in found["pairs"].tolist()]


def tfmot_step_seconds(model: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of a training step, in Keras 2: 'dense', and 'pruned' by `prune_low_magnitude`, by turns.

    Args:
        model: A name of `_models.MODELS`.
        rounds: Number of turns of each.

    Returns:
        For each of the two a value for each epoch that counts.
    """
    found = in_own_process(__file__, "step", {}, {"model": model, "rounds": rounds})
    return {which: found[which].tolist() for which in ("dense", "pruned")}


def _time(arrays: Arrays, options: Mapping[str, Any]) -> Arrays:
    import tensorflow as tf
    from tensorflow_model_optimization.python.core.sparsity.keras import pruning_impl, pruning_schedule

    weight, mask = tf.Variable(arrays["weight"]), tf.Variable(tf.ones_like(arrays["weight"]))
    threshold = tf.Variable(0.0)
    schedule = pruning_schedule.ConstantSparsity(options["sparsity"], 0, frequency=1)
    pruning = pruning_impl.Pruning(lambda: 1, [(weight, mask, threshold)], schedule, (1, 1), "AVG")
    update = tf.function(pruning.conditional_mask_update)
    seconds = []
    for _ in range(options["repeats"] + 1):
        start = time.perf_counter()
        update()
        threshold.numpy()
        seconds.append(time.perf_counter() - start)
    kept = int(tf.reduce_sum(mask))
    assert abs(kept - mask.shape[0] * (1 - options["sparsity"])) < mask.shape[0] * 1e-3, kept
    return {"seconds": np.array(seconds[1:])}


def _accuracy(arrays: Arrays, options: Mapping[str, Any]) -> Arrays:
    import _digits
    import tensorflow as tf
    import tensorflow_model_optimization as tfmot
    import tf_keras

    del arrays
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = _digits.MODELS[options["model"]]
    data = _digits.split(model, options["seed"])
    batches = _digits.batches(model, data["train_x"], data["train_y"], options["seed"])
    pairs = []
    for sparsity in options["sparsities"]:
        tf_keras.utils.set_random_seed(options["seed"])
        schedule = tfmot.sparsity.keras.PolynomialDecay(
            0.0, sparsity, options["begin_step"], options["end_step"], power=3, frequency=options["frequency"]
        )
        network = _digits.compiled(
            model, tf_keras, lambda dense, to=schedule: tfmot.sparsity.keras.prune_low_magnitude(dense, to)
        )
        network.fit(batches, callbacks=[tfmot.sparsity.keras.UpdatePruningStep()], verbose=0)
        network = tfmot.sparsity.keras.strip_pruning(network)
        pairs.append(_digits.outcome(network, data["test_x"], data["test_y"]))
        tf_keras.backend.clear_session()
    return {"pairs": np.array(pairs)}


def _step(arrays: Arrays, options: Mapping[str, Any]) -> Arrays:
    import tensorflow_model_optimization as tfmot
    import tf_keras

    del arrays
    layers, shape, batch_size = MODELS[options["model"]]
    x, y = random_data(shape, batch_size)

    class Clock(tf_keras.callbacks.Callback):
        def __init__(self, seconds: list[float]) -> None:
            super().__init__()
            self.seconds = seconds

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch:
                self.seconds.append((time.perf_counter() - self.start) / STEPS)

    times: dict[str, list[float]] = {"dense": [], "pruned": []}
    for _ in range(options["rounds"]):
        for which, seconds in times.items():
            model = tf_keras.Sequential([tf_keras.layers.Input(shape), *layers(tf_keras.layers)])
            callbacks: list[Any] = [Clock(seconds)]
            if which == "pruned":
                schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, 0.9, 0, 10 * STEPS * EPOCHS, frequency=STEPS)
                model = tfmot.sparsity.keras.prune_low_magnitude(model, schedule)
                callbacks.append(tfmot.sparsity.keras.UpdatePruningStep())
            loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(tf_keras.optimizers.Adam(1e-4), loss)
            model.fit(x, y, batch_size=batch_size, epochs=EPOCHS, verbose=0, callbacks=callbacks)
            tf_keras.backend.clear_session()
    return {which: np.array(seconds) for which, seconds in times.items()}


if __name__ == "__main__":
    run_task({"time": _time, "accuracy": _accuracy, "step": _step})
