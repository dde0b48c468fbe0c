"""MNIST-1D (Greydanus and Kobak, 2020), signals of 40 points, each a digit; and a CNN that reads them.

The package mnist1d makes the signals.
"""

import argparse
import functools
import os
import pathlib
import subprocess
import tempfile

import keras
import numpy as np

FILTERS, KERNEL, DROPOUT = 64, 5, 0.5
BATCH, EPOCHS, RATE = 100, 100, 2e-3
# Steps that Keras runs in one call where nothing is timed. Changes the time only.
STEPS_PER_EXECUTION = 40

_MAKE = """
import sys
import numpy
from mnist1d.data import make_dataset
numpy.savez(sys.argv[1], **{name: values for name, values in make_dataset().items() if name not in ("t", "templates")})
"""


def parsed_arguments(description: str | None) -> argparse.Namespace:
    """The command line of a benchmark that trains on MNIST-1D: `mnist1d_python`, `seeds`, `jobs`, `cache`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--mnist1d-python",
        required=True,
        help="a Python of an environment of its own: pip install mnist1d==0.0.2.post1",
    )
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each row, at least 2 (default: 5)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one for each core)")
    parser.add_argument("--cache", type=pathlib.Path, help="file that keeps results; what it has is not trained again")
    arguments = parser.parse_args()
    for option, least in {"seeds": 2, "jobs": 1}.items():
        if getattr(arguments, option) < least:
            parser.error(f"--{option} must be at least {least}, got {getattr(arguments, option)}.")
    return arguments


def mnist1d(python: str) -> dict[str, np.ndarray]:
    """4,000 signals to train on and 1,000 to test: `x` and `x_test`, float32 [n, 40, 1], `y` and `y_test`, int [n].

    Args:
        python: A Python of an environment of its own that has mnist1d, which needs matplotlib: no project needs both.

    Raises:
        RuntimeError: It cannot make the data; the message ends with what it printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "mnist1d.npz")
        run = subprocess.run([python, "-c", _MAKE, str(file)], capture_output=True, text=True, timeout=600)
        if run.returncode:
            raise RuntimeError(f"mnist1d cannot make its data, exit status {run.returncode}:\n{run.stderr[-4000:]}")
        with np.load(file) as arrays:
            found = dict(arrays)
    return {
        name: values.astype(np.float32)[..., np.newaxis] if name.startswith("x") else values
        for name, values in found.items()
    }


def compiled(steps_per_execution: int = 1) -> keras.Model:
    """The CNN, built and compiled: three 1-D convolutions, and dropout before the last layer, which gives logits."""
    layers = keras.layers
    convolution = functools.partial(layers.Conv1D, FILTERS, KERNEL, padding="same", activation="relu")
    network = keras.Sequential(
        [
            keras.Input((40, 1)),
            convolution(),
            layers.MaxPooling1D(),
            convolution(),
            layers.MaxPooling1D(),
            convolution(),
            layers.Flatten(),
            layers.Dropout(DROPOUT),
            layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(RATE), loss, steps_per_execution=steps_per_execution)
    return network
