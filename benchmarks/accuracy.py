"""Test accuracy of pruned models on the UCI digits, by criterion, allocation and sparsity.

An MLP 64-300-100-10 and a small CNN (see `_digits.py`) are trained dense, by an ordinary `fit`; by the same `fit` in
`tfx_pruning.pruning_scope` with `PruningHParams.for_steps`; and by tfmot with the same steps: the same Adam, images and
order of images in every row. The data are scikit-learn's copy of the digits, standardised. Each seed holds out another
fifth of the images for the test, so that five seeds have tested every image once.

Prints a table a model and draws both (docs/accuracy.png). Exit status 1 if the best of this project's rows misses a
goal on the MLP: at 98 % sparsity the dense accuracy - .004, at 99 % the dense accuracy - .010, at 99.5 % .950.

Trainings share no state, so a run that was cut short goes on where it stood if it is given the same `--cache` again.
"""

import argparse
import concurrent.futures
import dataclasses
import gc
import multiprocessing
import os
import pathlib
import re
import sys
import time
import warnings
from collections.abc import Mapping, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from _accuracy_plot import draw
from _digits import MODELS, batches, compiled, outcome, split
from _methods import DENSE, FLOOR, METHODS, OURS, TFMOT, hparams
from _results_file import ResultsFile
from _table import publish
from tfmot import tfmot_accuracies

from tfx_pruning import Pruning, pruning_scope

_SPARSITIES = (0.9, 0.95, 0.98, 0.99, 0.995)
# Steps that Keras runs in one call. Changes the time only.
_STEPS_PER_EXECUTION = 220
_PLOT = pathlib.Path(__file__).parents[1] / "docs" / "accuracy.png"

_JUDGED_MODEL = "mlp"
_LOSS_ALLOWED = {0.98: 0.004, 0.99: 0.010}
_LEAST = {0.995: 0.950}

# Test accuracy and delivered sparsity; None where the hyperparameters were refused.
Result = tuple[float, float] | None
# One result a seed, by method and target sparsity; the dense models' sparsity is 0.
Results = dict[tuple[str, float], list[Result]]


@dataclasses.dataclass(frozen=True)
class _Job:
    """The trainings of one process call: one, or tfmot's of one seed, for starting tfmot takes long."""

    model: str
    method: str
    sparsities: tuple[float, ...]
    seed: int

    def result_keys(self) -> list[list[str | float]]:
        """For each training what its result depends on."""
        model = MODELS[self.model]
        training = f"{model.description}, {model.epochs}, {model.batch_size}, {model.learning_rate}"
        return [
            [training, self.method, sparsity, self.seed, hparams(self.method, sparsity, model.steps).to_string()]
            for sparsity in self.sparsities
        ]


def main() -> int:
    """Trains everything, prints the tables, draws them and judges them; returns the exit status."""
    arguments = _arguments()
    methods = [method for method in METHODS if re.search(arguments.methods, method)]
    results = _results(methods, arguments)
    verdicts, passed = _verdicts(results[_JUDGED_MODEL]) if _JUDGED_MODEL in results else ([], True)
    for model, of_model in results.items():
        _publish(model, of_model, verdicts if model == _JUDGED_MODEL else [], arguments)
    draw({MODELS[model].description: _means_and_deviations(of_model) for model, of_model in results.items()}, _PLOT)
    return 0 if passed else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(MODELS), nargs="+", default=list(MODELS), help="(default: all)")
    parser.add_argument("--methods", default="", help="regular expression: train only the rows whose name it finds")
    parser.add_argument(
        "--sparsities", type=float, nargs="+", default=list(_SPARSITIES), help="fractions (default: all columns)"
    )
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, at least 2, from 0 on (default: 5)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one for each core)")
    parser.add_argument("--cache", type=pathlib.Path, help="file that keeps results; what it has is not trained again")
    arguments = parser.parse_args()
    for option, least in {"seeds": 2, "jobs": 1}.items():
        if getattr(arguments, option) < least:
            parser.error(f"--{option} must be at least {least}, got {getattr(arguments, option)}.")
    return arguments


def _results(methods: Sequence[str], arguments: argparse.Namespace) -> dict[str, Results]:
    """Trains, in `--jobs` processes, what the cache does not have."""
    jobs = []
    for seed in range(arguments.seeds):
        for model in arguments.model:
            jobs.append(_Job(model, DENSE, (0.0,), seed))
            for method in methods:
                if method == TFMOT:
                    jobs.append(_Job(model, method, tuple(arguments.sparsities), seed))
                else:
                    jobs += [_Job(model, method, (sparsity,), seed) for sparsity in arguments.sparsities]
    cache = ResultsFile(arguments.cache)
    _train_missing([job for job in jobs if any(key not in cache for key in job.result_keys())], cache, arguments.jobs)
    results: dict[str, Results] = {model: {} for model in arguments.model}
    for job in jobs:
        for sparsity, key in zip(job.sparsities, job.result_keys(), strict=True):
            results[job.model].setdefault((job.method, sparsity), []).append(cache[key])
    return results


def _train_missing(jobs: Sequence[_Job], cache: ResultsFile, processes: int) -> None:
    context = multiprocessing.get_context("spawn")
    start = time.monotonic()
    with concurrent.futures.ProcessPoolExecutor(processes, context, initializer=_prepare_process) as pool:
        running = {pool.submit(_train_job, job): job for job in jobs}
        try:
            for done, future in enumerate(concurrent.futures.as_completed(running), 1):
                job = running[future]
                for sparsity, key, result in zip(job.sparsities, job.result_keys(), future.result(), strict=True):
                    cache[key] = result
                    found = "refused" if result is None else f"{result[0]:.4f}"
                    print(f"{job.model}, {job.method}, {sparsity:.1%}, seed {job.seed}: {found}", file=sys.stderr)
                minutes = (time.monotonic() - start) / 60
                left = minutes / done * (len(jobs) - done)
                print(f"  {done} of {len(jobs)} in {minutes:.1f} min, {left:.0f} to go", file=sys.stderr, flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _prepare_process() -> None:
    """Gives the process one core, and keeps garbage collection from going through what was imported."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    warnings.filterwarnings("ignore", message="`shuffle=True` was passed")
    gc.freeze()


def _train_job(job: _Job) -> list[Result]:
    """The job's results, one for each of its sparsities."""
    if job.method != TFMOT:
        return [_train(job.model, job.method, sparsity, job.seed) for sparsity in job.sparsities]
    at = hparams(TFMOT, job.sparsities[0], MODELS[job.model].steps)
    steps = at.sparsity_function_begin_step, at.sparsity_function_end_step, at.pruning_frequency
    return tfmot_accuracies(job.model, job.seed, job.sparsities, *steps)


def _train(model_name: str, method: str, sparsity: float, seed: int) -> Result:
    keras.backend.clear_session()
    model = MODELS[model_name]
    data = split(model, seed)
    keras.utils.set_random_seed(seed)
    network = compiled(model, keras, steps_per_execution=_STEPS_PER_EXECUTION)
    images = batches(model, data["train_x"], data["train_y"], seed)
    if method == DENSE:
        network.fit(images, verbose=0)
    else:
        chosen = hparams(method, sparsity, model.steps)
        try:
            Pruning(chosen, network)
        except ValueError:  # a layer would lose all its weights
            return None
        with pruning_scope(chosen):
            network.fit(images, verbose=0)
    return outcome(network, data["test_x"], data["test_y"])


def _verdicts(results: Results) -> tuple[list[str], bool]:
    """Sentences on the goals that the results cover, and whether these are met."""
    dense = _accuracies(results[DENSE, 0.0])
    sentences, passed = [], True
    for sparsity in (*_LOSS_ALLOWED, *_LEAST):
        rows = {method: results.get((method, sparsity), [None]) for method in OURS}
        judged = {method: _accuracies(row) for method, row in rows.items() if None not in row}
        if not judged:
            continue
        goal = _LEAST[sparsity] if sparsity in _LEAST else dense.mean() - _LOSS_ALLOWED[sparsity]
        best = max(judged, key=lambda method: judged[method].mean())
        met = judged[best].mean() >= goal
        passed &= met
        loss = dense - judged[best]
        sentences.append(
            f"{'pass' if met else 'FAIL'}: at {sparsity:.1%} at least {goal:.4f} was wanted; the best of "
            f"{len(judged)}, {best}, has {judged[best].mean():.4f}, {loss.mean():.4f} ± "
            f"{loss.std(ddof=1) / len(loss) ** 0.5:.4f} (standard error, seed by seed) below dense."
        )
    return sentences, passed


def _publish(name: str, results: Results, verdicts: Sequence[str], arguments: argparse.Namespace) -> None:
    model = MODELS[name]
    methods = list(dict.fromkeys(method for method, _ in results))
    rows = [[DENSE, *[_cell(results[DENSE, 0.0])] * len(arguments.sparsities)]]
    for method in methods[1:]:
        rows.append([method, *(_cell(results[method, sparsity]) for sparsity in arguments.sparsities)])
    at = hparams(TFMOT, 0.9, model.steps)
    off = [
        abs(result[1] - sparsity)
        for (method, sparsity), row in results.items()
        for result in row
        if result is not None and method != DENSE
    ]
    notes = [
        *verdicts,
        f"Cells: mean ± standard deviation of the test accuracy over {arguments.seeds} seeds, each with a fifth of the "
        "1,797 UCI digits held out; refused: a layer would have lost all its weights.",
        f"{model.description}; Adam, learning rate {model.learning_rate}, {model.epochs} "
        f"epochs of batch {model.batch_size}: {model.steps} steps; sparsity rises from step {at.begin_pruning_step} to "
        f"{at.end_pruning_step}, a mask update every {at.pruning_frequency} steps, decay {at.gradient_decay_rate}; "
        f"with a floor, every layer keeps at least {FLOOR:g} of the density asked for.",
        f"Zeros among the kernels' weights after training: the target, to {max(off, default=0.0):.4%} of them.",
    ]
    title = f"Test accuracy of pruned models, UCI digits, {name.upper()}"
    publish(
        f"accuracy_{name}", title, ["criterion, allocation", *(f"{s:.1%}" for s in arguments.sparsities)], rows, notes
    )


def _means_and_deviations(results: Results) -> Mapping[str, Mapping[float, tuple[float, float]]]:
    """For each method mean and standard deviation by sparsity, without what was refused."""
    found: dict[str, dict[float, tuple[float, float]]] = {}
    for (method, sparsity), row in results.items():
        if None not in row:
            accuracies = _accuracies(row)
            found.setdefault(method, {})[sparsity] = float(accuracies.mean()), float(accuracies.std(ddof=1))
    return found


def _accuracies(row: Sequence[Result]) -> np.ndarray:
    return np.array([accuracy for accuracy, _ in row])


def _cell(row: Sequence[Result]) -> str:
    if None in row:
        return "refused"
    return f"{_accuracies(row).mean():.4f} ± {_accuracies(row).std(ddof=1):.4f}"


if __name__ == "__main__":
    sys.exit(main())
