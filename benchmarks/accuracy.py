"""Test accuracy of pruned models on the UCI digits, by criterion, allocation and sparsity.

An MLP 64-300-100-10 is trained by an ordinary `fit` inside `tfx_pruning.pruning_scope`, with Adam at 2e-3, 80 epochs of
batch 64; the sparsity rises from step 300 to step 1000. The data are scikit-learn's copy of the digits, standardised. A
test set has 360 images only, so every seed has a split of its own: a fifth of the images is held out for the test. The
rest of an epoch that fills no batch is dropped: its few images would weigh as much in the averages as a batch.

Exit status 1 if the best gradient criterion with global allocation misses a bar: at 98, 99 and 99.5 % sparsity at least
the dense accuracy - .006, the dense accuracy - .012, and .945.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import sklearn.datasets
import sklearn.model_selection
import sklearn.preprocessing
import tensorflow as tf
from _table import publish
from tfmot import tfmot_accuracies

from tfx_pruning import PruningHParams, pruning_scope

_UNITS = (300, 100, 10)
_LEARNING_RATE = 2e-3
_EPOCHS = 80
_BATCH_SIZE = 64
# Steps that Keras runs in one call: an epoch's. Changes the time only.
_STEPS_PER_EXECUTION = 22
_BEGIN_STEP, _END_STEP, _FREQUENCY = 300, 1000, 10
_DECAY = 0.9
_SPARSITIES = (0.95, 0.98, 0.99, 0.995)
# Rows: name, and the hyperparameters that make it.
_METHODS = {
    f"{name}, {allocation}": {"allocation": allocation, **values}
    for name, values in {
        "magnitude |w|": {"prune_option": "weight"},
        "first order |w| |dL/dw|": {"prune_option": "first_order_gradient"},
        "second order w^2 (dL/dw)^2": {"prune_option": "second_order_gradient"},
        "reference's first order": {"prune_option": "first_order_gradient", "gradient_estimator": "weight_delta"},
        "reference's second order": {"prune_option": "second_order_gradient", "gradient_estimator": "weight_delta"},
    }.items()
    for allocation in (("uniform",) if "gradient_estimator" in values else ("uniform", "global"))
}
_TFMOT = "tfmot prune_low_magnitude"
_JUDGED = ("first order |w| |dL/dw|, global", "second order w^2 (dL/dw)^2, global")
_LOSS_ALLOWED = {0.98: 0.006, 0.99: 0.012}
_FLOOR = {0.995: 0.945}

# Test accuracy and delivered sparsity.
Result = tuple[float, float]


def main() -> int:
    """Trains everything, prints the table, and judges it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=6, help="number of seeds, counted from 0 (default: 6)")
    parser.add_argument("--only-judged", action="store_true", help="train only the models that the bars are about")
    parser.add_argument("--methods", default="", help="regular expression: train only the rows whose name it finds")
    parser.add_argument(
        "--sparsities", type=float, nargs="+", default=list(_SPARSITIES), help="fractions (default: all columns)"
    )
    arguments = parser.parse_args()
    if arguments.seeds < 1:
        parser.error(f"--seeds must be at least 1, got {arguments.seeds}.")
    seeds = range(arguments.seeds)
    splits = [_digits(seed) for seed in seeds]
    dense = [_train(splits[seed], seed, None) for seed in seeds]
    methods = {
        name: values
        for name, values in _METHODS.items()
        if re.search(arguments.methods, name) and (name in _JUDGED or not arguments.only_judged)
    }
    results: dict[str, dict[float, list[Result]]] = {}
    for name, values in methods.items():
        results[name] = {}
        for sparsity in arguments.sparsities:
            hparams = PruningHParams(
                target_sparsity=sparsity,
                gradient_decay_rate=_DECAY,
                begin_pruning_step=_BEGIN_STEP,
                sparsity_function_begin_step=_BEGIN_STEP,
                sparsity_function_end_step=_END_STEP,
                pruning_frequency=_FREQUENCY,
                **values,
            )
            results[name][sparsity] = [_train(splits[seed], seed, hparams) for seed in seeds]
            print(f"{name}, {sparsity:.1%}: {_cell(results[name][sparsity])}", file=sys.stderr, flush=True)
    if not arguments.only_judged and re.search(arguments.methods, _TFMOT):
        training = {
            "units": _UNITS,
            "learning_rate": _LEARNING_RATE,
            "epochs": _EPOCHS,
            "batch_size": _BATCH_SIZE,
            "begin_step": _BEGIN_STEP,
            "end_step": _END_STEP,
            "frequency": _FREQUENCY,
        }
        results[_TFMOT] = tfmot_accuracies(splits, arguments.sparsities, training)
    verdicts, passed = _verdicts(_mean(dense), results)
    _publish("accuracy_bars" if arguments.only_judged else "accuracy", dense, results, verdicts, arguments)
    return 0 if passed else 1


def _digits(seed: int) -> dict[str, np.ndarray]:
    pixels, digits = sklearn.datasets.load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = sklearn.model_selection.train_test_split(
        pixels.astype(np.float32), digits, test_size=0.2, random_state=seed
    )
    scaler = sklearn.preprocessing.StandardScaler().fit(train_x)
    return {
        "train_x": scaler.transform(train_x),
        "train_y": train_y,
        "test_x": scaler.transform(test_x),
        "test_y": test_y,
    }


def _train(data: dict[str, np.ndarray], seed: int, hparams: PruningHParams | None) -> Result:
    keras.utils.set_random_seed(seed)
    hidden = [keras.layers.Dense(units, activation="relu") for units in _UNITS[:-1]]
    model = keras.Sequential([keras.Input([data["train_x"].shape[1]]), *hidden, keras.layers.Dense(_UNITS[-1])])
    model.compile(
        keras.optimizers.Adam(_LEARNING_RATE),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=_STEPS_PER_EXECUTION,
    )

    batches = tf.data.Dataset.from_tensor_slices((data["train_x"], data["train_y"]))
    batches = batches.shuffle(len(data["train_x"]), seed=seed).batch(_BATCH_SIZE, drop_remainder=True)

    def fit() -> None:
        model.fit(batches, epochs=_EPOCHS, verbose=0)

    if hparams is None:
        fit()
    else:
        with pruning_scope(hparams):
            fit()
    _, accuracy = model.evaluate(data["test_x"], data["test_y"], verbose=0)
    kernels = [layer.kernel.numpy() for layer in model.layers]
    zeros = sum(int((kernel == 0).sum()) for kernel in kernels)
    keras.backend.clear_session()
    return accuracy, zeros / sum(kernel.size for kernel in kernels)


def _verdicts(dense: float, results: dict[str, dict[float, list[Result]]]) -> tuple[list[str], bool]:
    sentences, passed = [], True
    for sparsity in (*_LOSS_ALLOWED, *_FLOOR):
        if not all(sparsity in results.get(name, {}) for name in _JUDGED):
            continue
        bar = dense - _LOSS_ALLOWED[sparsity] if sparsity in _LOSS_ALLOWED else _FLOOR[sparsity]
        best = max(_JUDGED, key=lambda name: _mean(results[name][sparsity]))
        accuracy = _mean(results[best][sparsity])
        passed &= accuracy >= bar
        verdict = "pass" if accuracy >= bar else "FAIL"
        sentences.append(f"{verdict}: at {sparsity:.1%} at least {bar:.4f} was wanted; {best} has {accuracy:.4f}.")
    return sentences, passed


def _publish(
    name: str,
    dense: list[Result],
    results: dict[str, dict[float, list[Result]]],
    verdicts: list[str],
    arguments: argparse.Namespace,
) -> None:
    header = ["criterion, allocation", *(f"{sparsity:.1%}" for sparsity in arguments.sparsities)]
    rows = [["dense", *([_cell(dense)] * len(arguments.sparsities))]]
    for method, by_sparsity in results.items():
        rows.append([method, *(_cell(by_sparsity[sparsity]) for sparsity in arguments.sparsities)])
        rows.append(["  sparsity delivered", *(_delivered(by_sparsity[sparsity]) for sparsity in arguments.sparsities)])
    notes = [
        *verdicts,
        f"Cells: mean (min..max) test accuracy over {arguments.seeds} seeds, each with its own split; UCI digits, MLP "
        f"64-300-100-10, Adam {_LEARNING_RATE}, {_EPOCHS} epochs of batch {_BATCH_SIZE}; sparsity rises from step "
        f"{_BEGIN_STEP} to {_END_STEP}, a mask update every {_FREQUENCY} steps, decay {_DECAY}.",
        "Sparsity delivered: zeros among the kernels' weights after training, with its range where seeds differ.",
    ]
    publish(name, "Test accuracy of pruned models, UCI digits", header, rows, notes)


def _mean(results: Sequence[Result]) -> float:
    return float(np.mean([accuracy for accuracy, _ in results]))


def _cell(results: Sequence[Result]) -> str:
    accuracies = [accuracy for accuracy, _ in results]
    return f"{_mean(results):.4f} ({min(accuracies):.4f}..{max(accuracies):.4f})"


def _delivered(results: Sequence[Result]) -> str:
    low, high = (f"{pick(zeros for _, zeros in results):.4%}" for pick in (min, max))
    return low if low == high else f"{low}..{high}"


if __name__ == "__main__":
    sys.exit(main())
