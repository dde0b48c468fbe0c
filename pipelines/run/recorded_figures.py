"""What a run found out about its models, on their artifacts in ML Metadata."""

import traceback

from tfx_pruning import properties
from tfx_pruning.pipelines.run.metadata_run import MetadataRun
from tfx_pruning.pipelines.run.outcome import RunOutcome


def record_figures(run: MetadataRun, outcome: RunOutcome) -> None:
    """Writes metric and latency of a run as custom properties: on its evaluation, its dense and its stripped model.

    An error in it fails no run: it is printed.

    Args:
        run: The run.
        outcome: What it came to.
    """
    try:
        metric = next(iter(outcome.dense))
        dense, pruned = (repr(float(values[metric])) for values in (outcome.dense, outcome.pruned))
        both: dict[str, str | int] = {
            properties.METRIC: metric,
            properties.METRIC_VALUE: pruned,
            properties.BASELINE_METRIC_VALUE: dense,
        }
        run.set_properties("Evaluator", "evaluation", both)
        run.set_properties("Trainer", "model", {properties.METRIC: metric, properties.METRIC_VALUE: dense})
        if outcome.latency:
            largest = outcome.latency[-1]
            both[properties.MILLISECONDS] = repr(largest.pruned.median)
            both[properties.DENSE_MILLISECONDS] = repr(largest.dense.median)
            both[properties.LATENCY_BATCH] = largest.batch
        run.set_properties("Stripper", "model", both)
    except Exception:
        traceback.print_exc()
