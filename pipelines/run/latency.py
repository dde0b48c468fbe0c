"""How long the dense and the pruned model of a run take to answer on this machine."""

import functools
import itertools
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence

import tensorflow as tf
from tfx.utils import path_utils

from tfx_pruning import properties
from tfx_pruning.call_times import CallTimes, milliseconds_by_turns
from tfx_pruning.examples.example_files import ExampleFile, feature_names
from tfx_pruning.pipelines.run.outputs import RunOutputs
from tfx_pruning.report.latency import Latency
from tfx_pruning.stripper.proof.example_feed import ExampleFeed
from tfx_pruning.stripper.proof.served_model import ServedModel

BATCHES = (1, 64)
_WARM_UP = 3
_CALLS = 200
_SECONDS = 1.5  # for each batch: slow models get fewer calls
_EXAMPLE_GENS = ("CsvExampleGen", "ImportExampleGen")


def measured_latency(run: RunOutputs, candidate: str = "") -> tuple[Latency, ...]:
    """Times the signature that Stripper proved, of both models, on examples of the run. Takes some seconds.

    Args:
        run: The run.
        candidate: Suffix of the ids of the pruned model's nodes; '' if there is only one model.

    Returns:
        One for each of `BATCHES` that the signature takes. Nothing if it cannot be measured; an error is printed.
    """
    try:
        stripped = run.output(f"Stripper.{candidate}" if candidate else "Stripper", "model")
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
        calls = {
            name: functools.partial(_answer, call, inputs)
            for name, call in zip(("dense", "pruned"), functions, strict=True)
        }
        times = milliseconds_by_turns(calls, _WARM_UP, _CALLS, _SECONDS)
        yield Latency(signature, batch, **{name: CallTimes.of(each) for name, each in times.items()})


def _answer(call: Callable[..., Mapping[str, tf.Tensor]], inputs: Mapping[str, tf.Tensor]) -> None:
    """Calls a signature and waits until all of its answer is computed: a GPU computes on when the call returns."""
    for value in tf.nest.flatten(call(**inputs), expand_composites=True):
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
