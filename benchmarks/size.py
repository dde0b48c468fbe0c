"""Bytes of each export format by sparsity, beside the entropy bound, and the latency of TFLite files.

A dense MLP and a CNN are pruned by magnitude, every kernel to the same sparsity, stripped, and exported in every format
that takes them; each file was run against the model before it counts. The entropy bound of a kernel with the fraction p
of its n weights not zero is n H(p) bits for their places, and 32, 16 or 8 bits for each value.

The latency is of one example on one thread, by XNNPACK (what TensorFlow's interpreter does by default) and by the
builtin kernels alone.

Nothing is judged: exit status 0.
"""

import argparse
import os
import pathlib
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from _models import MODELS
from _table import publish

from tfx_pruning import strip_saved_model
from tfx_pruning.stripper.check.verify import VerificationError
from tfx_pruning.stripper.export.formats import FORMATS
from tfx_pruning.stripper.export.model_export import ExportedFile, export_model

_SPARSITIES = (0.5, 0.9, 0.99)
_EXAMPLES = 32
_VALUE_BITS = {"float32": 32, "float16": 16, "int8": 8}
_TIMED = ("tflite", "tflite_sparse", "tflite_int8", "tflite_sparse_int8")
_KERNELS = {"XNNPACK": "AUTO", "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES"}


def main() -> int:
    """Exports and times everything, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300, help="timed runs of each file and kernels (default: 300)")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error(f"--runs must be at least 1, got {arguments.runs}.")
    rows, latencies = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            cells: dict[str, list[str]] = {}
            times: dict[str, list[str]] = {}
            for sparsity in _SPARSITIES:
                model = _pruned(name, sparsity)
                files = _exported(model, MODELS[name][1], pathlib.Path(folder, f"{name}_{sparsity}"))
                for what, found in {**_bounds(model), **files[0]}.items():
                    cells.setdefault(what, []).append(_cell(found))
                for what, seconds in _latencies(files[1], MODELS[name][1], arguments.runs).items():
                    times.setdefault(what, []).append("refused" if np.isnan(seconds) else f"{1e6 * seconds:.0f}")
                print(f"{name}, {sparsity:.0%}: done", file=sys.stderr, flush=True)
            rows += [[f"{name}, {what}", *found] for what, found in cells.items()]
            latencies += [[f"{name}, {what}", *found] for what, found in times.items()]
    publish(
        "sizes",
        "Bytes by format",
        ["model, format", *(f"{sparsity:.0%} zeros, bytes / gzipped" for sparsity in _SPARSITIES)],
        rows,
        [
            f"MLP: 1000-1500-1000-10, {_pruned('MLP', 0.5).count_params():,} parameters; CNN: 3x3 convolutions to 32, "
            f"64, 128 and a Dense, {_pruned('CNN', 0.5).count_params():,} parameters; initial weights, untrained.",
            "Refused: TensorFlow's converter or kernels gave a file that does not load, or answers otherwise.",
            "The bound holds for kernels; biases count in full. Gzip at its default level; folders as one .tar.gz.",
        ],
    )
    publish(
        "tflite_latency",
        "Latency of TFLite files",
        ["model, format, kernels", *(f"{sparsity:.0%} zeros, us" for sparsity in _SPARSITIES)],
        latencies,
        [f"Median of {arguments.runs} runs, one example, one thread, each file's two kernels in turns."],
    )
    return 0


def _pruned(name: str, sparsity: float) -> keras.Model:
    layers, shape, _ = MODELS[name]
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(shape), *layers(keras.layers)])
    for kernel in _kernels(model):
        value = np.array(kernel)
        order = np.argsort(np.abs(value), axis=None)
        value.ravel()[order[: round(value.size * sparsity)]] = 0.0
        kernel.assign(value)
    return model


def _kernels(model: keras.Model) -> list[keras.Variable]:
    return [layer.kernel for layer in model.layers if hasattr(layer, "kernel")]


def _cell(found: int | tuple[int, int] | None) -> str:
    if found is None:
        return "refused"
    return f"{found:,}" if isinstance(found, int) else " / ".join(f"{size:,}" for size in found)


def _bounds(model: keras.Model) -> dict[str, int]:
    """Bytes of the entropy bound, by the width of a value."""
    kernels = [np.array(kernel) for kernel in _kernels(model)]
    others = model.count_params() - sum(kernel.size for kernel in kernels)
    found = {}
    for name, bits in _VALUE_BITS.items():
        total = others * bits
        for kernel in kernels:
            kept = np.count_nonzero(kernel) / kernel.size
            entropy = -sum(p * np.log2(p) for p in (kept, 1 - kept) if p > 0)
            total += kernel.size * (entropy + kept * bits)
        found[f"entropy bound, {name}"] = round(total / 8)
    return found


def _exported(
    model: keras.Model, shape: tuple[int, ...], folder: pathlib.Path
) -> tuple[dict[str, tuple[int, int] | None], dict[str, ExportedFile]]:
    """Bytes and gzipped bytes by format, None where no correct file can be had, and the files."""
    spec = tf.TensorSpec([None, *shape], tf.float32, name="x")
    serve = tf.function(lambda x: {"scores": model(x, training=False)}, input_signature=[spec])
    tf.saved_model.save(model, folder / "source", signatures={"serving_default": serve})
    report = strip_saved_model(folder / "source", folder / "stripped")
    sizes: dict[str, tuple[int, int] | None] = {"SavedModel": (report.stripped_bytes, report.gzipped_bytes)}
    files = {}
    examples = _examples(shape)
    for name in FORMATS.names():
        try:
            (files[name],) = export_model(
                folder / "stripped", folder / name, [name], examples=examples, source=folder / "source"
            )
            sizes[name] = (files[name].bytes, files[name].gzipped_bytes)
        except VerificationError as error:
            print(error, file=sys.stderr, flush=True)
            sizes[name] = None
    return sizes, files


def _examples(shape: tuple[int, ...]) -> list[bytes]:
    found = []
    for row in np.random.default_rng(0).normal(size=(_EXAMPLES, int(np.prod(shape)))):
        example = tf.train.Example()
        example.features.feature["x"].float_list.value.extend(row)
        found.append(example.SerializeToString())
    return found


def _latencies(files: Mapping[str, ExportedFile], shape: tuple[int, ...], runs: int) -> dict[str, float]:
    """Median seconds of a run, by format and kernels; NaN where there is no file."""
    x = np.random.default_rng(1).normal(size=(1, *shape)).astype(np.float32)
    found = {}
    for name in _TIMED:
        if name not in files:
            found |= {f"{name}, {kernels}": float("nan") for kernels in _KERNELS}
            continue
        interpreters = {kernels: _interpreter(files[name].path, kernels, x) for kernels in _KERNELS}
        seconds: dict[str, list[float]] = {kernels: [] for kernels in _KERNELS}
        for run in range(runs + 10):
            for kernels, interpreter in interpreters.items():
                start = time.perf_counter()
                interpreter.invoke()
                if run >= 10:  # the others warm up
                    seconds[kernels].append(time.perf_counter() - start)
        found |= {f"{name}, {kernels}": float(np.median(times)) for kernels, times in seconds.items()}
    return found


def _interpreter(path: str, kernels: str, x: np.ndarray) -> tf.lite.Interpreter:
    resolver = getattr(tf.lite.experimental.OpResolverType, _KERNELS[kernels])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(path, experimental_op_resolver_type=resolver, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    return interpreter


if __name__ == "__main__":
    sys.exit(main())
