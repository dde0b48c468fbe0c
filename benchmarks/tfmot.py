"""tensorflow-model-optimization (tfmot), run as a peer in a process of its own: it needs Keras 2."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from _process import Arrays, in_own_process, run_task


def tfmot_seconds(weight: np.ndarray, sparsity: float, repeats: int) -> list[float]:
    """Seconds that each of `repeats` mask updates of one weight takes tfmot, after a first that is not counted."""
    found = in_own_process(__file__, "time", {"weight": weight}, {"sparsity": sparsity, "repeats": repeats})
    return found["seconds"].tolist()


def tfmot_accuracies(
    splits: Sequence[Arrays], sparsities: list[float], training: Mapping[str, Any]
) -> dict[float, list[tuple[float, float]]]:
    """Test accuracy and delivered sparsity of `prune_low_magnitude`, by target sparsity, one pair for each seed.

    Args:
        splits: `train_x`, `train_y`, `test_x`, `test_y` for each seed, counted from 0.
        sparsities: Target sparsities.
        training: `units`, `learning_rate`, `epochs`, `batch_size`, `begin_step`, `end_step` and `frequency`.
    """
    data = {name: np.stack([split[name] for split in splits]) for name in splits[0]}
    found = in_own_process(__file__, "accuracy", data, {"sparsities": sparsities, **training})
    return {sparsity: [tuple(pair) for pair in found["pairs"][i].tolist()] for i, sparsity in enumerate(sparsities)}


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
    import tensorflow_model_optimization as tfmot
    import tf_keras

    seeds = len(arrays["train_x"])
    pairs = np.zeros([len(options["sparsities"]), seeds, 2])
    for i, sparsity in enumerate(options["sparsities"]):
        for seed in range(seeds):
            train_x, train_y, test_x, test_y = (
                arrays[name][seed] for name in ("train_x", "train_y", "test_x", "test_y")
            )
            tf_keras.utils.set_random_seed(seed)
            layers = [tf_keras.layers.Input([train_x.shape[1]])]
            layers += [tf_keras.layers.Dense(units, activation="relu") for units in options["units"][:-1]]
            layers += [tf_keras.layers.Dense(options["units"][-1])]
            schedule = tfmot.sparsity.keras.PolynomialDecay(
                0.0, sparsity, options["begin_step"], options["end_step"], power=3, frequency=options["frequency"]
            )
            model = tfmot.sparsity.keras.prune_low_magnitude(tf_keras.Sequential(layers), schedule)
            model.compile(
                tf_keras.optimizers.Adam(options["learning_rate"]),
                tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                metrics=["accuracy"],
            )
            model.fit(
                train_x,
                train_y,
                batch_size=options["batch_size"],
                epochs=options["epochs"],
                callbacks=[tfmot.sparsity.keras.UpdatePruningStep()],
                verbose=0,
            )
            _, accuracy = model.evaluate(test_x, test_y, verbose=0)
            stripped = tfmot.sparsity.keras.strip_pruning(model)
            kernels = [layer.kernel.numpy() for layer in stripped.layers if hasattr(layer, "kernel")]
            zeros = sum(int((kernel == 0).sum()) for kernel in kernels) / sum(kernel.size for kernel in kernels)
            pairs[i, seed] = accuracy, zeros
    return {"pairs": pairs}


if __name__ == "__main__":
    run_task({"time": _time, "accuracy": _accuracy})
