"""tensorflow-model-optimization (tfmot), run as a peer in a process of its own: it needs Keras 2."""

import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from _models import MODELS, STEPS, TIMES, random_data
from _process import Arrays, in_own_process, run_task
from _turns import step_seconds


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


def tfmot_step_seconds(model: str, trials: int) -> dict[str, list[float]]:
    """Seconds of a training step, in Keras 2: 'dense', and 'pruned' by `prune_low_magnitude`, by turns.

    Args:
        model: A name of `_models.MODELS`.
        trials: Number of trainings of each.

    Returns:
        For each of the two a value for each `STEPS` that count.
    """
    found = in_own_process(__file__, "step", {}, {"model": model, "trials": trials})
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
    data = random_data(shape, batch_size)

    def fit(pruned: bool, clock: tf_keras.callbacks.Callback) -> None:
        model = tf_keras.Sequential([tf_keras.layers.Input(shape), *layers(tf_keras.layers)])
        callbacks = [clock]
        if pruned:
            schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, 0.9, 0, 10 * STEPS * TIMES, frequency=STEPS)
            model = tfmot.sparsity.keras.prune_low_magnitude(model, schedule)
            callbacks.append(tfmot.sparsity.keras.UpdatePruningStep())
        loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(tf_keras.optimizers.Adam(1e-4), loss)
        model.fit(data, verbose=0, callbacks=callbacks)

    fits = {"dense": functools.partial(fit, False), "pruned": functools.partial(fit, True)}
    times: dict[str, list[float]] = {name: [] for name in fits}
    for _ in range(options["trials"]):
        for name, found in step_seconds(fits, tf_keras.callbacks.Callback).items():
            times[name] += found
        tf_keras.backend.clear_session()
    return {name: np.array(found) for name, found in times.items()}


if __name__ == "__main__":
    run_task({"time": _time, "accuracy": _accuracy, "step": _step})
