"""What shrinking leaves of pruned models, and how much faster they answer, beside the dense model.

The MLP on the UCI digits is trained dense and pruned, element by element, with global allocation, once for each seed;
the pruned model is stripped and shrunk, and its accuracy is that of the shrunk SavedModel. A wide MLP, of which units
are killed at random until half and a quarter of the multiply-adds are left, is timed dense and shrunk by turns, as a
SavedModel with batches of 1 and 64, and as TFLite in float32 and int8.

Exit status 1 if a bar is missed: at .25 of the digits MLP's weights or less, some row has a mean accuracy of at least
that of the dense model less .006; the wide MLP's SavedModel at batch 64 is at least 1.8 times as fast at a half and 3
times at a quarter, and takes at most its share of the parameters and 5 % more bytes.
"""

import argparse
import math
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from _digits import MODELS, batches, compiled, outcome, split
from _methods import hparams
from _models import MODELS as WIDE
from _table import publish

from tfx_pruning import pruning_scope, strip_saved_model
from tfx_pruning.call_times import milliseconds_by_turns
from tfx_pruning.stripper.export.model_export import export_model
from tfx_pruning.stripper.strip import StripReport

_METHODS = ("first order |w| |dL/dw|, global", "second order w^2 (dL/dw)^2, global")
_SPARSITIES = (0.9, 0.95, 0.98)
_MOST_WEIGHTS, _LEAST_ACCURACY = 0.25, 0.006
# By share of the multiply-adds: the share of each layer's units that stay, and how much faster it has to be.
_SHARES = {0.5: (0.577, 1.8), 0.25: (0.351, 3.0)}
_MOST_BYTES = 0.05
_EXAMPLES = 32
# Networks that learnt nothing from random data lose most of their answers to int8; it is time that counts there.
_TOLERANCES = {"tflite": None, "tflite_int8": 2.0}


def main() -> int:
    """Trains, shrinks and times everything, prints the tables, and judges them; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each row (default: 5)")
    parser.add_argument("--runs", type=int, default=300, help="timed runs of each model (default: 300)")
    parser.add_argument("--only", choices=("digits", "wide"), help="one of the tables (default: both)")
    arguments = parser.parse_args()
    for name in ("seeds", "runs"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(arguments, name)}.")
    missed = []
    if arguments.only != "wide":
        missed += _digits(arguments.seeds)
    if arguments.only != "digits":
        missed += _wide(arguments.runs)
    for each in missed:
        print(f"MISSED: {each}", flush=True)
    return 1 if missed else 0


def _digits(seeds: int) -> list[str]:
    """The table of the digits MLP; returns the bars that were missed."""
    dense = [_digits_model(seed, None)[0] for seed in range(seeds)]
    rows, found = [["dense", "1.00", "1.00", "", "", _mean(dense)]], []
    for method in _METHODS:
        for sparsity in _SPARSITIES:
            trained = [_digits_model(seed, hparams(method, sparsity, MODELS["mlp"].steps)) for seed in range(seeds)]
            accuracy = [each for each, _ in trained]
            shrinks = [report.shrink for _, report in trained]
            weights = np.mean([_kernel_elements(each, "after") / _kernel_elements(each, "before") for each in shrinks])
            multiply_adds = np.mean([each.multiply_adds_after / each.multiply_adds_before for each in shrinks])
            raw = np.mean([each.bytes_after / each.bytes_before for each in shrinks])
            gzipped = np.mean([report.gzipped_bytes / report.shrink.gzipped_bytes_before for _, report in trained])
            rows.append(
                [
                    f"{method}, {sparsity:.0%}",
                    *(f"{each:.2f}" for each in (weights, multiply_adds, raw, gzipped)),
                    _mean(accuracy),
                ]
            )
            found.append(weights <= _MOST_WEIGHTS and np.mean(accuracy) >= np.mean(dense) - _LEAST_ACCURACY)
            print(f"{method}, {sparsity:.0%}: done", file=sys.stderr, flush=True)
    publish(
        "shrink_digits",
        "Shrunk models, UCI digits MLP",
        ["model", "weights", "multiply-adds", "bytes", "bytes gzipped", "test accuracy"],
        rows,
        [
            f"Means over {seeds} seeds, and the standard deviation of the accuracy; shares are of the stripped model "
            "that was not shrunk.",
        ],
    )
    return [] if any(found) else [f"no row has {_MOST_WEIGHTS} of the weights and the dense model's accuracy"]


def _digits_model(seed: int, chosen: Any) -> tuple[float, StripReport | None]:
    """The accuracy of a trained model, pruned and shrunk if there are hyperparameters, and what shrinking did."""
    model, data = MODELS["mlp"], split(MODELS["mlp"], seed)
    keras.utils.set_random_seed(seed)
    network = compiled(model, keras)
    images = batches(model, data["train_x"], data["train_y"], seed)
    if chosen is None:
        network.fit(images, verbose=0)
        return outcome(network, data["test_x"], data["test_y"])[0], None
    with pruning_scope(chosen):
        network.fit(images, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        report = shrunk(network, model.input_shape, pathlib.Path(folder))
        _ = report.gzipped_bytes  # read while it is there
        answer = tf.saved_model.load(report.destination).signatures["serving_default"]
        scores = answer(x=tf.constant(data["test_x"]))["scores"].numpy()
    return float((scores.argmax(axis=1) == data["test_y"]).mean()), report


def shrunk(network: Any, shape: tuple[int, ...], folder: pathlib.Path, tolerance: float | None = None) -> StripReport:
    """Saves a network to folder/source, and strips and shrinks it to folder/shrunk."""
    spec = tf.TensorSpec([None, *shape], tf.float32, name="x")
    serve = tf.function(lambda x: {"scores": network(x, training=False)}, input_signature=[spec])
    tf.saved_model.save(network, folder / "source", signatures={"serving_default": serve})
    return strip_saved_model(folder / "source", folder / "shrunk", shrink=True, shrink_tolerance=tolerance)


def _kernel_elements(report: Any, when: str) -> int:
    """Elements of the kernels, before or after."""
    shapes = [getattr(each, f"shape_{when}") for each in report.variables]
    return sum(int(np.prod(shape)) for shape in shapes if len(shape) > 1)


def _mean(values: list[float]) -> str:
    return f"{np.mean(values):.3f} +- {np.std(values):.3f}"


def _wide(runs: int) -> list[str]:
    """The table of the wide MLP; returns the bars that were missed."""
    layers, shape, _ = WIDE["MLP"]
    rows, missed = [], []
    for share, (kept, least) in _SHARES.items():
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            keras.utils.set_random_seed(0)
            model = keras.Sequential([keras.Input(shape), *layers(keras.layers)])
            _kill(model, kept)
            shrink = shrunk(model, shape, folder).shrink
            strip_saved_model(folder / "source", folder / "dense")
            times = seconds_by_turns(folder, shape, runs)
        parameters = shrink.parameters_after / shrink.parameters_before
        size = shrink.bytes_after / shrink.bytes_before
        speed = {what: before / after for what, (before, after) in times.items()}
        rows.append(
            [
                f"{share:.0%} of the multiply-adds",
                f"{shrink.multiply_adds_after / shrink.multiply_adds_before:.3f}",
                f"{parameters:.3f}",
                f"{size:.3f}",
                *(f"{1e6 * before:.0f} / {1e6 * after:.0f}" for before, after in times.values()),
            ]
        )
        if speed["SavedModel, batch 64"] < least:
            missed.append(
                f"the SavedModel at {share} is {speed['SavedModel, batch 64']:.2f} times as fast, not {least}"
            )
        if size > parameters + _MOST_BYTES:
            missed.append(f"the SavedModel at {share} has {size:.2f} of the bytes, {parameters:.2f} of the parameters")
    publish(
        "shrink_wide",
        "Shrunk models, MLP 1000-1500-1000-10",
        ["model", "multiply-adds", "parameters", "bytes", *(f"{what}, us" for what in times)],
        rows,
        [
            f"Shares of the dense model; times dense / shrunk, medians of {runs} runs each by turns, of one example "
            "unless a batch is named.",
        ],
    )
    return missed


def _kill(model: keras.Model, kept: float) -> None:
    """Leaves a share of the units of each layer but the last."""
    random = np.random.default_rng(0)
    for layer in model.layers[:-1]:
        kernel, bias = layer.get_weights()
        dead = random.permutation(len(bias))[: round(len(bias) * (1 - kept))]
        kernel[:, dead], bias[dead] = 0, 0
        layer.set_weights([kernel, bias])


def seconds_by_turns(folder: pathlib.Path, shape: tuple[int, ...], runs: int) -> dict[str, tuple[float, float]]:
    """Median seconds of a run, dense and shrunk, by what is run."""
    examples = []
    for row in np.random.default_rng(0).normal(size=(_EXAMPLES, int(np.prod(shape)))):
        example = tf.train.Example()
        example.features.feature["x"].float_list.value.extend(row)
        examples.append(example.SerializeToString())
    calls: dict[str, list[Callable[[], object]]] = {}
    for name in ("dense", "shrunk"):
        signature = tf.saved_model.load(str(folder / name)).signatures["serving_default"]
        for batch in (1, 64):
            x = tf.constant(np.random.default_rng(1).normal(size=(batch, *shape)), tf.float32)
            calls.setdefault(f"SavedModel, batch {batch}", []).append(lambda signature=signature, x=x: signature(x=x))
        files = [
            file
            for format, tolerance in _TOLERANCES.items()
            for file in export_model(
                folder / name,
                folder / f"{name}_{format}",
                [format],
                examples=examples,
                tolerance=tolerance,
                source=folder / "source",
            )
        ]
        for file in files:
            for threads in (1, 2):
                what = f"{file.format}, {threads} thread{'s' * (threads > 1)}"
                calls.setdefault(what, []).append(_interpreter(file.path, threads, shape).invoke)
    found = {}
    for what, pair in calls.items():
        times = milliseconds_by_turns(dict(zip(("dense", "shrunk"), pair, strict=True)), 10, runs, math.inf)
        found[what] = tuple(float(np.median(each)) / 1e3 for each in times.values())
    return found


def _interpreter(path: str, threads: int, shape: tuple[int, ...]) -> tf.lite.Interpreter:
    interpreter = tf.lite.Interpreter(path, num_threads=threads)
    interpreter.allocate_tensors()
    x = np.random.default_rng(1).normal(size=(1, *shape)).astype(np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    return interpreter


if __name__ == "__main__":
    sys.exit(main())
