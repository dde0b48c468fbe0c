"""How long the dense and the pruned model of a run take to answer on this machine."""

import itertools
import time
import traceback
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from tfx.utils import path_utils

from tfx_pruning import properties
from tfx_pruning.examples.example_files import ExampleFile, feature_names
from tfx_pruning.pipelines.run.outputs import RunOutputs
from tfx_pruning.report.latency import CallTimes, Latency
from tfx_pruning.stripper.proof.example_feed import ExampleFeed
from tfx_pruning.stripper.proof.served_model import ServedModel

BATCHES = (1, 64)
_WARM_UP = 3
_CALLS = 200
_SECONDS = 1.5  # for each batch: slow models get fewer calls
_EXAMPLE_GENS = ("CsvExampleGen", "ImportExampleGen")


def measured_latency(run: RunOutputs) -> tuple[Latency, ...]:
    """Times the signature that Stripper proved, of both models, on examples of the run. Takes some seconds.

    Args:
        run: The run.

    Returns:
        One for each of `BATCHES` that the signature takes. Nothing if it cannot be measured; an error is printed.
    """
    try:
        stripped = run.output("Stripper", "model")
        signature = str(stripped.properties[properties.SIGNATURE_PROVEN])
        split = str(stripped.properties[properties.SPLITS_PROVEN]).partition(",")[0]
        folders = [path_utils.serving_model_dir(uri) for uri in (run.output("Trainer", "model").uri, stripped.uri)]
        return tuple(_latencies(folders, signature, _records(run, split)))
    except Exception:
        traceback.print_exc()
        return ()


def _latencies(folders: Sequence[str], signature: str, records: Sequence[bytes]) -> Iterator[Latency]:
    served = [ServedModel.read(folder) for folder in folders]
    feed = ExampleFeed.choose(served[0], signature, feature_names(records[0]))
    models = [each.load() for each in served]  # held: a signature does not keep its variables alive
    functions = [model.signatures[signature] for model in models]
    for batch in BATCHES if feed.batch_size is None else (feed.batch_size,):
        inputs = feed.inputs(list(itertools.islice(itertools.cycle(records), batch)))
        dense, pruned = by_turns([lambda call=call, given=inputs: call(**given) for call in functions])
        yield Latency(signature, batch, len(dense), call_times(dense), call_times(pruned))


def by_turns(
    calls: Sequence[Callable[[], object]], count: int = _CALLS, seconds: float = _SECONDS
) -> list[list[float]]:
    """Times calls one after the other, in turns, so that other load on the machine affects all alike.

    Args:
        calls: What is timed. TensorFlow answers on the CPU when the call returns; a GPU is waited for.
        count: The most calls of each.
        seconds: After this time no further turn begins.

    Returns:
        For each of `calls` the milliseconds of each call, at least one.
    """
    for call in calls:
        for _ in range(_WARM_UP):
            _finished(call())
    found: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds
    for turn in range(count):
        if turn and time.perf_counter() > end:
            break
        for times, call in zip(found, calls, strict=True):
            began = time.perf_counter()
            _finished(call())
            times.append(1000 * (time.perf_counter() - began))
    return found


def call_times(milliseconds: Sequence[float]) -> CallTimes:
    """Median and quartiles of times."""
    lower, median, upper = np.quantile(milliseconds, [0.25, 0.5, 0.75])
    return CallTimes(float(median), float(lower), float(upper))


def _finished(answer: object) -> None:
    """Waits until all of an answer is computed."""
    for value in tf.nest.flatten(answer, expand_composites=True):
        if isinstance(value, tf.Tensor):
            value.numpy()


def _records(run: RunOutputs, split: str) -> list[bytes]:
    """The first examples of a split, as many as the largest batch has."""
    for node in _EXAMPLE_GENS:
        try:
            uri = run.output(node, "examples").uri
        except ValueError:
            continue
        files = [ExampleFile(split, path) for path in sorted(tf.io.gfile.glob(f"{uri}/Split-{split}/*"))]
        records = itertools.chain.from_iterable(file.records() for file in files)
        return list(itertools.islice(records, max(BATCHES)))
    raise ValueError(f"The run {run.name} has no examples of {' or '.join(_EXAMPLE_GENS)}.")
