"""Test accuracy of int8 TFLite files of CNNs pruned to 95 %: rounded after training, and with quantize='int8'.

Two CNNs, of the UCI digits and of MNIST-1D, are pruned by `PruningHParams.for_steps` for each seed, with and without
`quantize='int8'`, from the same weights and with the same images in the same order. Each is stripped and exported as
'tflite_int8', whose ranges are set by 500 training examples. The test images go through the float model and the file.

Exit status 1 if a bar is missed, for either CNN: with quantize, the mean accuracy of the files is at most .005 below
that of their float models, and above that of the files without quantize by two standard errors; and each zero of each
mask is a zero in the file.

Trainings share no state, so a run that was cut short goes on where it stood if it is given the same `--cache` again.
"""

import argparse
import concurrent.futures
import dataclasses
import multiprocessing
import os
import pathlib
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import _digits
import keras
import numpy as np
import tensorflow as tf
from _mnist1d import BATCH, EPOCHS, RATE, STEPS_PER_EXECUTION, compiled, mnist1d, parsed_arguments
from _results_file import ResultsFile
from _table import publish

from tfx_pruning import PruningHParams, pruning_scope, strip_saved_model
from tfx_pruning.engine.weight_state import WeightState
from tfx_pruning.stripper.export.model_export import export_model
from tfx_pruning.stripper.export.tflite import TFLiteModel

_SPARSITY = 0.95
_CALIBRATION = 500
_MOST_LOSS = 0.005
_MODELS = {"digits": "digits CNN", "mnist1d": "MNIST-1D CNN"}
_QUANTIZED = "quantize='int8'"
# By row: fields of PruningHParams.
_ROWS: Mapping[str, Mapping[str, str]] = {"rounded after training": {}, _QUANTIZED: {"quantize": "int8"}}
_SIGNATURE = "serving_default"


@dataclasses.dataclass(frozen=True)
class Result:
    """What was found of one training.

    Attributes:
        of_float: Test accuracy of the float model.
        of_int8: Test accuracy of the file.
        zeros: Weights that the masks prune.
        kept_zeros: Those of them that are zero in the file.
        more_zeros: Weights that the masks keep and that are zero in the file.
        kept: Weights that the masks keep.
    """

    of_float: float
    of_int8: float
    zeros: int
    kept_zeros: int
    more_zeros: int
    kept: int


def main() -> int:
    """Trains everything, prints the table, and judges it; returns the exit status."""
    arguments = parsed_arguments(__doc__)
    results = _results(ResultsFile(arguments.cache), arguments)
    passed, notes = {}, []
    for model, description in _MODELS.items():
        ours, after = results[model, _QUANTIZED], results[model, "rounded after training"]
        lost = _mean(ours, "of_float") - _mean(ours, "of_int8")
        gain = np.subtract([each.of_int8 for each in ours], [each.of_int8 for each in after])
        passed[
            f"{description}, {_QUANTIZED}: the files lose {lost:+.4f} against their float models; at most "
            f"{_MOST_LOSS} was wanted"
        ] = lost <= _MOST_LOSS
        error = gain.std(ddof=1) / np.sqrt(len(gain))
        passed[
            f"{description}: the files are {gain.mean():+.4f} against those rounded after training, a standard error "
            f"of {error:.4f}; above 0 by two standard errors was wanted"
        ] = bool(gain.mean() > 0 and gain.mean() >= 2 * error)
        to_regain = _mean(after, "of_float") - _mean(after, "of_int8")
        notes.append(
            f"{description}: rounding after training loses {to_regain:+.4f}, which is all that there is to regain. The "
            f"float models differ by {_mean(ours, 'of_float') - _mean(after, 'of_float'):+.4f}, as trainings do."
        )
        passed[f"{description}: every zero of every mask is a zero in each file"] = all(
            each.zeros == each.kept_zeros for each in (*ours, *after)
        )
    publish(
        "int8",
        "Eight bits",
        ["model", "float", "int8 file", "int8 - float", "zeros of the masks kept", "further zeros of the kept weights"],
        [_row(f"{_MODELS[model]}, {row}", found) for (model, row), found in results.items()],
        [
            *(f"{'pass' if met else 'FAIL'}: {what}." for what, met in passed.items()),
            *notes,
            f"Test accuracy, means over {arguments.seeds} seeds and the standard deviation, at {_SPARSITY:.0%} zeros. "
            f"Digits: {_digits.MODELS['cnn'].description}, as in the accuracy table. MNIST-1D: the CNN of the table of "
            f"teachers, {EPOCHS} epochs. Both pruned from new weights.",
            f"The file is the export `tflite_int8`, run in the interpreter; {_CALIBRATION} training examples set its "
            "ranges. Further zeros are small weights that round to zero.",
            "mnist1d 0.0.2.post1, `make_dataset()`, in an environment of its own.",
        ],
    )
    return 0 if all(passed.values()) else 1


def _mean(found: list[Result], name: str) -> float:
    return float(np.mean([getattr(each, name) for each in found]))


def _row(name: str, found: list[Result]) -> list[str]:
    differences = [each.of_int8 - each.of_float for each in found]
    return [
        name,
        *(f"{_mean(found, kind):.4f} +- {_deviation(found, kind):.4f}" for kind in ("of_float", "of_int8")),
        f"{np.mean(differences):+.4f}",
        f"{sum(each.kept_zeros for each in found) / sum(each.zeros for each in found):.2%}",
        f"{sum(each.more_zeros for each in found) / sum(each.kept for each in found):.2%}",
    ]


def _deviation(found: list[Result], name: str) -> float:
    return float(np.std([getattr(each, name) for each in found], ddof=1))


def _results(cache: ResultsFile, arguments: argparse.Namespace) -> dict[tuple[str, str], list[Result]]:
    """Results by model and row; trains, in `--jobs` processes, what the cache does not have."""
    wanted = [(model, row, seed) for model in _MODELS for row in _ROWS for seed in range(arguments.seeds)]
    missing = [each for each in wanted if _key(*each) not in cache]
    signals = mnist1d(arguments.mnist1d_python) if any(model == "mnist1d" for model, _, _ in missing) else {}
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(arguments.jobs, context) as processes:
        jobs = {
            processes.submit(_result, model, row, seed, signals): (model, row, seed) for model, row, seed in missing
        }
        for done in concurrent.futures.as_completed(jobs):
            cache[_key(*jobs[done])] = dataclasses.astuple(done.result())
            print(f"{jobs[done]}: {done.result()}", file=sys.stderr, flush=True)
    found: dict[tuple[str, str], list[Result]] = {}
    for model, row, seed in wanted:
        found.setdefault((model, row), []).append(Result(*cache[_key(model, row, seed)]))
    return found


def _key(model: str, row: str, seed: int) -> list[Any]:
    """What a result depends on."""
    training = [EPOCHS, BATCH, RATE] if model == "mnist1d" else [_digits.MODELS["cnn"].steps]
    return [model, *training, _hparams(model, row).to_string(), _CALIBRATION, seed]


def _hparams(model: str, row: str) -> PruningHParams:
    steps = EPOCHS * 4000 // BATCH if model == "mnist1d" else _digits.MODELS["cnn"].steps
    return PruningHParams.for_steps(steps, target_sparsity=_SPARSITY, **_ROWS[row])


def _result(model: str, row: str, seed: int, signals: Mapping[str, np.ndarray]) -> Result:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(seed)
    with pruning_scope(_hparams(model, row)) as scope:
        if model == "mnist1d":
            network, data = compiled(STEPS_PER_EXECUTION), signals
            network.fit(data["x"], data["y"], batch_size=BATCH, epochs=EPOCHS, verbose=0)
        else:
            kind = _digits.MODELS["cnn"]
            split = _digits.split(kind, seed)
            data = {"x": split["train_x"], "x_test": split["test_x"], "y_test": split["test_y"]}
            network = _digits.compiled(kind, keras)
            network.fit(_digits.batches(kind, data["x"], split["train_y"], seed), verbose=0)
    content = _exported(network, data["x"][:_CALIBRATION])
    file = TFLiteModel(content, _SIGNATURE)
    inputs = data["x_test"]
    of_file = np.concatenate([file({"x": tf.constant(each[np.newaxis])})["y"] for each in inputs])
    zeros = _zeros(content, [WeightState.of(weight) for weight in scope.prunings[0].weights])
    return Result(
        _accuracy(network(inputs).numpy(), data["y_test"]), _accuracy(of_file, data["y_test"]), *map(int, zeros)
    )


def _accuracy(answers: np.ndarray, labels: np.ndarray) -> float:
    return float((answers.argmax(axis=1) == labels).mean())


def _exported(network: keras.Model, examples: np.ndarray) -> bytes:
    """The file of int8, after a strip."""
    spec = tf.TensorSpec([None, *network.input_shape[1:]], name="x")
    serve = tf.function(lambda x: {"y": network(x)}, input_signature=[spec])
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(network, f"{folder}/trained", signatures={_SIGNATURE: serve})
        strip_saved_model(f"{folder}/trained", f"{folder}/stripped")
        records = [_record(each) for each in examples]
        # How near the answers are is what is measured here.
        (file,) = export_model(
            f"{folder}/stripped", f"{folder}/out", ["tflite_int8"], examples=records, tolerance=float("inf")
        )
        return pathlib.Path(file.path).read_bytes()


def _record(values: np.ndarray) -> bytes:
    feature = tf.train.Feature(float_list=tf.train.FloatList(value=values.ravel()))
    return tf.train.Example(features=tf.train.Features(feature={"x": feature})).SerializeToString()


def _zeros(content: bytes, states: list[WeightState]) -> np.ndarray:
    """Of all weights: pruned, pruned and zero in the file, kept and zero in the file, kept."""
    interpreter = tf.lite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    weights = {}
    for detail in interpreter.get_tensor_details():
        if detail["dtype"] == np.int8 and detail["quantization_parameters"]["scales"].size > 1:
            weights.setdefault(int(np.prod(detail["shape"])), []).append(interpreter.get_tensor(detail["index"]))
    total = np.zeros(4, np.int64)
    for state in states:
        mask, weight = (np.moveaxis(each.numpy(), -1, 0).ravel() for each in (state.mask, state.weight))
        # The tensor of that size whose codes have the signs of the weight.
        codes = next(
            each.ravel()
            for each in weights[mask.size]
            if np.all((np.sign(each.ravel()) == np.sign(weight)) | (each.ravel() == 0) | (weight == 0))
            and np.any(each.ravel()[weight != 0])
        )
        zero = codes == 0
        total += [np.sum(~mask), np.sum(~mask & zero), np.sum(mask & zero), np.sum(mask)]
    return total


if __name__ == "__main__":
    sys.exit(main())
