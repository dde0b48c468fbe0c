"""What `tfx_pruning.sensitivity` predicts, and what is lost after retraining; and the time that it takes.

A CNN of ten prunable layers is trained on the UCI digits and saved. Each layer is pruned alone, to each of four
sparsities: by `sensitivity` on the training images, without retraining; and by a training of ten more epochs. The drop
is the rise of the loss on the test images over that of the same training without pruning. Both are means over the
seeds.

Exit status 1 if a bar is missed: the rank correlation (Spearman) over the 40 pairs is at least .8 for |w|; a model of
20 layers takes at most 120 s.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import scipy.stats
import tensorflow as tf
from _digits import DigitsModel, batches, outcome, split
from _table import publish

import tfx_pruning
from tfx_pruning import PruningHParams

_SPARSITIES = (0.8, 0.9, 0.95, 0.98)
_CRITERIA = ("weight", "wanda", "obc")
_JUDGED = "weight"
_RETRAINING_EPOCHS = 10
_RETRAINING_RATE = 5e-4
_LEAST_CORRELATION, _MOST_SECONDS = 0.8, 120.0
_DEEP_LAYERS = 20


def _layers(layers: object) -> list[object]:
    convolutions = [(16, 1), (16, 1), (32, 2), (32, 1), (32, 1), (64, 2), (64, 1), (64, 1)]
    made = [
        layers.Conv2D(
            filters, 3, strides, "same", activation="relu", kernel_initializer="he_normal", name=f"conv{number}"
        )
        for number, (filters, strides) in enumerate(convolutions, 1)
    ]
    return [*made, layers.Flatten(), layers.Dense(64, activation="relu", name="dense"), layers.Dense(10, name="head")]


_MODEL = DigitsModel("CNN, eight convolutions, Dense 64 and 10", _layers, (8, 8, 1), epochs=30)
_RETRAINING = DigitsModel("", _layers, (8, 8, 1), epochs=_RETRAINING_EPOCHS)


def main() -> int:
    """Trains, prunes and times everything, prints the table, and judges it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="trainings (default: 3)")
    arguments = parser.parse_args()
    if arguments.seeds < 1:
        parser.error(f"--seeds must be at least 1, got {arguments.seeds}.")
    predicted: dict[str, list[np.ndarray]] = {name: [] for name in _CRITERIA}
    losses, accuracies = [], []
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            data = split(_MODEL, seed)
            network, path = _trained(seed, data), os.path.join(folder, str(seed))
            _save(network, path)
            for name in _CRITERIA:
                predicted[name].append(_predicted(path, data, name))
            of_loss, of_accuracy = _drops(network, data, seed)
            losses.append(of_loss)
            accuracies.append(of_accuracy)
            for name in _CRITERIA:
                print(
                    f"seed {seed}, {name}: {_correlation(predicted[name][-1], of_loss):.3f}",
                    file=sys.stderr,
                    flush=True,
                )
        deep, examples = _deep(os.path.join(folder, "deep"))
        for name in _CRITERIA:
            begin = time.perf_counter()
            found = tfx_pruning.sensitivity(deep, examples, PruningHParams(prune_option=name), label="label")
            seconds[name] = time.perf_counter() - begin
            assert len(found.layers) == _DEEP_LAYERS
    return _publish(predicted, losses, accuracies, seconds)


def _publish(
    predicted: dict[str, list[np.ndarray]],
    losses: Sequence[np.ndarray],
    accuracies: Sequence[np.ndarray],
    seconds: dict[str, float],
) -> int:
    rows = []
    for name, found in predicted.items():
        by_seed = [_correlation(one, other) for one, other in zip(found, losses, strict=True)]
        mean = np.mean(found, 0)
        rows.append(
            [
                name,
                f"{_correlation(mean, np.mean(losses, 0)):.3f}",
                f"{min(by_seed):.3f} to {max(by_seed):.3f}",
                f"{_correlation(mean, np.mean(accuracies, 0)):.3f}",
                f"{seconds[name]:.0f}",
            ]
        )
    correlation = _correlation(np.mean(predicted[_JUDGED], 0), np.mean(losses, 0))
    missed = []
    if correlation < _LEAST_CORRELATION:
        missed.append(f"MISSED: rank correlation {correlation:.3f}, at least {_LEAST_CORRELATION} was wanted.")
    if seconds[_JUDGED] > _MOST_SECONDS:
        missed.append(
            f"MISSED: {seconds[_JUDGED]:.0f} s for {_DEEP_LAYERS} layers, at most {_MOST_SECONDS:.0f} was wanted."
        )
    drops = np.mean(losses, 0)
    publish(
        "sensitivity",
        "Sensitivity: what each layer loses, predicted and after retraining",
        [
            "criterion",
            "rank correlation with the rise of the loss",
            "single seeds",
            "with the drop of the accuracy",
            f"s for {_DEEP_LAYERS} layers",
        ],
        rows,
        [
            *(missed or [f"pass: at least {_LEAST_CORRELATION} for {_JUDGED}, at most {_MOST_SECONDS:.0f} s."]),
            f"UCI digits; {_MODEL.description}. Each of the ten layers alone at {', '.join(map(str, _SPARSITIES))}: 40 "
            f"pairs of a prediction and a drop, means over {len(losses)} seeds.",
            f"Predicted: the rise of the loss on the training images at once. After retraining: {_RETRAINING_EPOCHS} "
            "epochs with magnitude pruning of that layer, against the same epochs without; the loss on the test images "
            f"rises by {drops.min():.3f} to {drops.max():.3f}.",
            f"Time: {_DEEP_LAYERS} convolutions of 32 channels, images of 16x16, 1,024 examples, five sparsities.",
        ],
    )
    print("\n".join(missed), flush=True)
    return int(bool(missed))


def _trained(seed: int, data: dict[str, np.ndarray]) -> keras.Model:
    keras.utils.set_random_seed(seed)
    network = keras.Sequential([keras.layers.Input(_MODEL.input_shape), *_layers(keras.layers)])
    _compile(network, 1e-3, _MODEL.steps // _MODEL.epochs)
    network.fit(batches(_MODEL, data["train_x"], data["train_y"], seed), verbose=0)
    print(
        f"seed {seed}: accuracy {outcome(network, data['test_x'], data['test_y'])[0]:.3f}", file=sys.stderr, flush=True
    )
    return network


def _compile(network: keras.Model, rate: float, at_once: int) -> None:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(rate), loss, steps_per_execution=at_once)


def _save(network: keras.Model, folder: str) -> None:
    spec = tf.TensorSpec([None, *network.input_shape[1:]], name="image")
    serve = tf.function(lambda image: {"logits": network(image)}, input_signature=[spec], autograph=False)
    tf.saved_model.save(network, folder, signatures=serve)


def _predicted(path: str, data: dict[str, np.ndarray], name: str) -> np.ndarray:
    """The rise of the loss, [layers, sparsities]."""
    examples = {"image": data["train_x"], "label": data["train_y"]}
    hparams = PruningHParams(prune_option=name)
    found = tfx_pruning.sensitivity(path, examples, hparams, sparsities=_SPARSITIES, label="label")
    return np.array([[rise for _, rise in found.curve(layer).points] for layer in found.layers])


def _drops(network: keras.Model, data: dict[str, np.ndarray], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How much the loss rises and the accuracy falls after retraining, each [layers, sparsities]."""
    start = network.get_weights()
    names = [layer.name for layer in network.layers if hasattr(layer, "kernel")]
    dense = _retrained(network, start, data, seed, None)
    found = np.array(
        [[_retrained(network, start, data, seed, (name, sparsity)) for sparsity in _SPARSITIES] for name in names]
    )
    network.set_weights(start)
    return found[..., 0] - dense[0], dense[1] - found[..., 1]


def _retrained(
    network: keras.Model,
    start: Sequence[np.ndarray],
    data: dict[str, np.ndarray],
    seed: int,
    pruned: tuple[str, float] | None,
) -> tuple[float, float]:
    """Loss and accuracy on the test images."""
    fresh = keras.models.clone_model(network)
    fresh.set_weights(start)
    _compile(fresh, _RETRAINING_RATE, _RETRAINING.steps // _RETRAINING_EPOCHS)
    steps = batches(_RETRAINING, data["train_x"], data["train_y"], seed + 100)
    if pruned is None:
        fresh.fit(steps, verbose=0)
    else:
        name, sparsity = pruned
        hparams = PruningHParams.for_steps(
            _RETRAINING.steps,
            prune_option="weight",
            allocation="uniform",
            target_sparsity=sparsity,
            include=[f"(^|/){name}/kernel$"],
        )
        with tfx_pruning.pruning_scope(hparams):
            fresh.fit(steps, verbose=0)
    logits = tf.constant(fresh(data["test_x"]))
    loss = keras.losses.sparse_categorical_crossentropy(data["test_y"], logits, from_logits=True)
    return float(tf.reduce_mean(loss)), outcome(fresh, data["test_x"], data["test_y"])[0]


def _deep(folder: str) -> tuple[str, dict[str, np.ndarray]]:
    """A SavedModel of 20 layers, and examples."""
    random = np.random.default_rng(0)
    layers = [keras.layers.Conv2D(32, 3, padding="same", activation="relu") for _ in range(_DEEP_LAYERS - 1)]
    network = keras.Sequential([keras.Input((16, 16, 3)), *layers, keras.layers.Flatten(), keras.layers.Dense(10)])
    _save(network, folder)
    images = random.normal(size=(1024, 16, 16, 3)).astype(np.float32)
    return folder, {"image": images, "label": random.integers(0, 10, 1024)}


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(scipy.stats.spearmanr(one.ravel(), other.ravel()).statistic)


if __name__ == "__main__":
    sys.exit(main())
