"""Channels pruned to a quarter of the multiply-adds, and the speed of the shrunk models, beside dense ones and a peer.

A CNN on the UCI digits is trained dense, and pruned by `granularity='channel', cost='flops'`, once for each seed. The
pruned model is stripped and shrunk; its accuracy is that of the shrunk SavedModel. Torch-Pruning prunes the same
network, on the same images, in as many epochs and to the same budget, if `--torch-python` names a Python that has it.
A wide MLP and MobileNetV2 take a few steps on random data, to half and a quarter of the multiply-adds, and are timed
dense and shrunk by turns, as a SavedModel with batches of 1 and 64, and as TFLite.

Exit status 1 if a bar is missed: some criterion's mean accuracy at a quarter is at least that of the dense model less
.006, and above that of Torch-Pruning, by each of its importances, by more than two standard errors; SavedModels at
batch 64 are at least 1.8 times as fast at a half and 3 times at a quarter, and take at most their share of the
parameters and 5 % more bytes.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import sklearn.datasets
import tensorflow as tf
from _models import MODELS as WIDE
from _table import publish
from shrink import seconds_by_turns, shrunk

from tfx_pruning import PruningHParams, pruning_scope
from tfx_pruning.stripper.strip import StripReport

_CRITERIA = ("first_order_gradient", "second_order_gradient", "weight")
_FIRST_SEED, _SHARE = 201, 0.25
_TRAIN, _BATCH, _EPOCHS, _RATE = 1280, 64, 40, 2e-3
_LEAST_ACCURACY = 0.006
# By share of the multiply-adds: how much faster the SavedModel has to be at batch 64.
_LEAST_SPEED = {0.5: 1.8, 0.25: 3.0}
_MOST_BYTES = 0.05
_WIDE_STEPS = 8
# Of deep networks: 42 scales in the kernels of MobileNetV2 change answers by some 1.5e-5.
_WIDE_TOLERANCE = 1e-4


def main() -> int:
    """Trains and times everything, prints the tables, and judges them; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each row (default: 5)")
    parser.add_argument("--runs", type=int, default=100, help="timed runs of each model (default: 100)")
    parser.add_argument("--only", choices=("digits", "wide"), help="one of the tables (default: both)")
    parser.add_argument(
        "--channel-multiple",
        type=int,
        default=8,
        help="of what the layers of the large models keep (default: 8)",
    )
    parser.add_argument(
        "--torch-python",
        help="a Python of an environment of its own: pip install torch==2.13.0 torch-pruning==1.6.1 scikit-learn",
    )
    arguments = parser.parse_args()
    for name in ("seeds", "runs", "channel_multiple"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {getattr(arguments, name)}.")
    missed = []
    if arguments.only != "wide":
        missed += _digits(range(_FIRST_SEED, _FIRST_SEED + arguments.seeds), arguments.torch_python)
    if arguments.only != "digits":
        missed += _wide(arguments.runs, arguments.channel_multiple)
    for each in missed:
        print(f"MISSED: {each}", flush=True)
    return 1 if missed else 0


def _digits(seeds: Sequence[int], torch_python: str | None) -> list[str]:
    """The table of the digits CNN; returns the bars that were missed."""
    dense = [_trained(seed, None)[0] for seed in seeds]
    rows, ours = [["dense", "1.00", "1.00", "1.00", _spread(dense)]], {}
    for criterion in _CRITERIA:
        hparams = PruningHParams.for_steps(
            _EPOCHS * _TRAIN // _BATCH,
            prune_option=criterion,
            granularity="channel",
            cost="flops",
            target_sparsity=1 - _SHARE,
        )
        trained = [_trained(seed, hparams) for seed in seeds]
        ours[criterion] = [accuracy for accuracy, _ in trained]
        shrinks = [report.shrink for _, report in trained]
        rows.append(
            [
                f"tfx-pruning, {criterion}",
                *(f"{_share(shrinks, what):.2f}" for what in ("multiply_adds", "parameters", "bytes")),
                _spread(ours[criterion]),
            ]
        )
        print(f"{criterion}: done", file=sys.stderr, flush=True)
    peers = _peers(torch_python, seeds) if torch_python else {}
    for name, found in peers.items():
        rows.append(
            [
                f"Torch-Pruning 1.6.1, {name}",
                *(f"{np.mean(found[what]):.2f}" for what in ("multiply_adds", "parameters")),
                "",
                f"{_spread(found['accuracy'])}, dense {_spread(found['dense'])}",
            ]
        )
    publish(
        "channels_digits",
        "Channels, UCI digits CNN, convolutions to 32, 64, 128, Dense 64 and 10",
        ["model", "multiply-adds", "parameters", "bytes", "test accuracy"],
        rows,
        [
            f"Means over {len(seeds)} seeds, and the standard deviation of the accuracy, after {_EPOCHS} epochs of "
            "Adam; shares are of the dense model, bytes of the stripped SavedModel.",
            "Torch-Pruning in an environment of its own, with global pruning in 60 steps and fine-tuning in the same "
            "number of epochs."
            if peers
            else "No peer in this run: `--torch-python` was not given.",
        ],
    )
    best = max(ours.values(), key=np.mean)
    missed = []
    if np.mean(best) < np.mean(dense) - _LEAST_ACCURACY:
        missed.append(f"the best accuracy is {np.mean(best):.4f}, that of the dense model {np.mean(dense):.4f}")
    for name, found in peers.items():
        error = np.sqrt((np.var(best, ddof=1) + np.var(found["accuracy"], ddof=1)) / len(seeds))
        ahead = np.mean(best) - np.mean(found["accuracy"])
        if ahead <= 2 * error:
            missed.append(f"ahead of {name} by {ahead:.4f}, which is no more than two standard errors of {error:.4f}")
    return missed


def _data() -> tuple[np.ndarray, np.ndarray]:
    images, digits = sklearn.datasets.load_digits(return_X_y=True)
    order = np.random.RandomState(5).permutation(len(images))
    return (images / 16).astype(np.float32).reshape(-1, 8, 8, 1)[order], digits[order]


def _network() -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(128, 3, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10),
        ]
    )


def _trained(seed: int, hparams: PruningHParams | None) -> tuple[float, StripReport | None]:
    """The accuracy of a trained model, shrunk if it was pruned, and what shrinking did."""
    images, digits = _data()
    keras.utils.set_random_seed(seed)
    network = _network()
    network.compile(keras.optimizers.Adam(_RATE), keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    def fit() -> None:
        network.fit(images[:_TRAIN], digits[:_TRAIN], batch_size=_BATCH, epochs=_EPOCHS, verbose=0)

    if hparams is None:
        fit()
        return _accuracy(network(images[_TRAIN:]).numpy(), digits[_TRAIN:]), None
    with pruning_scope(hparams):
        fit()
    with tempfile.TemporaryDirectory() as folder:
        report = shrunk(network, (8, 8, 1), pathlib.Path(folder))
        answer = tf.saved_model.load(report.destination).signatures["serving_default"]
        scores = answer(x=tf.constant(images[_TRAIN:]))["scores"].numpy()
    return _accuracy(scores, digits[_TRAIN:]), report


def _accuracy(scores: np.ndarray, digits: np.ndarray) -> float:
    return float((scores.argmax(axis=1) == digits).mean())


def _share(shrinks: Sequence[Any], what: str) -> float:
    """The mean share of something that is left."""
    return float(np.mean([getattr(each, f"{what}_after") / getattr(each, f"{what}_before") for each in shrinks]))


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.4f} +- {np.std(values, ddof=min(1, len(values) - 1)):.4f}"


def _peers(python: str, seeds: Sequence[int]) -> dict[str, dict[str, list[float]]]:
    """What Torch-Pruning reaches, by its importance."""
    script = pathlib.Path(__file__).with_name("torch_pruning_digits.py")
    run = subprocess.run([python, str(script), *map(str, seeds)], capture_output=True, text=True, timeout=7200)
    if run.returncode:
        raise RuntimeError(f"{script.name} failed with exit status {run.returncode}:\n{run.stderr[-4000:]}")
    return json.loads(run.stdout.splitlines()[-1])


def _wide(runs: int, multiple: int) -> list[str]:
    """The table of large models; returns the bars that were missed."""
    layers, shape, _ = WIDE["MLP"]
    networks: dict[str, tuple[Callable[[], keras.Model], tuple[int, ...]]] = {
        "MLP 1000-1500-1000-10": (lambda: keras.Sequential([keras.Input(shape), *layers(keras.layers)]), shape),
        "MobileNetV2, 96x96": (_mobilenet, (96, 96, 3)),
    }
    rows: list[list[str]] = []
    missed, whats, folded = [], [], []
    for name, (network, shape) in networks.items():
        for share, least in _LEAST_SPEED.items():
            with tempfile.TemporaryDirectory() as folder:
                hparams = PruningHParams.for_steps(
                    _WIDE_STEPS,
                    granularity="channel",
                    cost="flops",
                    channel_multiple=multiple,
                    allocation="uniform",
                    target_sparsity=1 - share,
                )
                report, seconds = _pruned_by_turns(network(), shape, hparams, runs, pathlib.Path(folder))
            shrink = report.shrink
            parameters = shrink.parameters_after / shrink.parameters_before
            size = shrink.bytes_after / shrink.bytes_before
            whats = list(seconds)
            if shrink.folded_scales:
                folded.append(
                    f"{shrink.folded_scales} at {share:.0%} (largest difference {shrink.largest_difference:.1e})"
                )
            rows.append(
                [
                    f"{name}, {share:.0%}",
                    f"{shrink.multiply_adds_after / shrink.multiply_adds_before:.3f}",
                    f"{parameters:.3f}",
                    f"{size:.3f}",
                    *(f"{before / after:.2f}" for before, after in seconds.values()),
                ]
            )
            before, after = seconds["SavedModel, batch 64"]
            if before / after < least:
                missed.append(f"{name} at {share} is {before / after:.2f} times as fast, not {least}")
            if size > parameters + _MOST_BYTES:
                missed.append(f"{name} at {share} has {size:.2f} of the bytes and {parameters:.2f} of the parameters")
            print(f"{name}, {share:.0%}: done", file=sys.stderr, flush=True)
    publish(
        "channels_wide",
        "Channels, large models: how many times as fast as the dense model",
        ["model, multiply-adds asked for", "multiply-adds", "parameters", "bytes", *whats],
        rows,
        [
            f"Every layer keeps the same share of its channels, a multiple of {multiple} (channel_multiple).",
            f"Ratios of medians of {runs} runs each, dense and shrunk by turns, of one example unless a batch is "
            "named.",
            f"The data is random: this is about speed and bytes, not accuracy. Each model takes {_WIDE_STEPS} steps "
            f"dense and {_WIDE_STEPS} pruned. MobileNetV2's batch normalisation has a momentum of .5, so that its "
            "averages follow; int8 files may differ by any amount.",
            f"shrink_tolerance is {_WIDE_TOLERANCE:g}. In MobileNetV2 the scales of batch normalisation go into the "
            f"kernels, {' and '.join(folded)}; by default, at 1e-5, they would stay behind the convolutions.",
        ],
    )
    return missed


def _mobilenet() -> keras.Model:
    network = keras.applications.MobileNetV2(
        (96, 96, 3), alpha=1.0, weights=None, classes=10, classifier_activation=None
    )
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # With .999, the averages of a few steps are near 0 and 1, and the answers near 1e-11.
            layer.momentum = 0.5
    return network


def _pruned_by_turns(
    network: Any, shape: tuple[int, ...], hparams: PruningHParams, runs: int, folder: pathlib.Path
) -> tuple[StripReport, dict[str, tuple[float, float]]]:
    """Prunes a network in a few steps; the report of shrinking, and seconds dense and shrunk by what is run."""
    random = np.random.default_rng(0)
    images = random.normal(size=(16 * _WIDE_STEPS, *shape)).astype(np.float32)
    digits = random.integers(0, 10, len(images))
    network.compile(keras.optimizers.Adam(1e-4), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    network.fit(images, digits, batch_size=16, verbose=0)
    (folder / "whole").mkdir()
    shrunk(network, shape, folder / "whole")
    with pruning_scope(hparams):
        network.fit(images, digits, batch_size=16, verbose=0)
    report = shrunk(network, shape, folder, _WIDE_TOLERANCE)
    _ = report.gzipped_bytes  # read while it is there
    (folder / "whole" / "shrunk").rename(folder / "dense")
    return report, seconds_by_turns(folder, shape, runs)


if __name__ == "__main__":
    sys.exit(main())
