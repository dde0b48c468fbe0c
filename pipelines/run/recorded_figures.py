"""What a run found out about its models, in ML Metadata."""

import traceback

from tfx_pruning import properties
from tfx_pruning.pipelines.run.metadata_run import MetadataRun
from tfx_pruning.pipelines.run.outcome import RunOutcome

# No node of the pipeline has these as an input, but with a budget SparsitySelector has the evaluations. TFX's cache
# compares inputs with all their properties: if models had other ones after a run, the next run would train them again.
_PUSHED = (("Pusher", "pushed_model"),)
_OUTPUTS = (("Evaluator", "evaluation"), *_PUSHED)


def record_figures(run: MetadataRun, outcome: RunOutcome) -> None:
    """Writes metric and latency of a run as custom properties, on its evaluation and its pushed model.

    An error in it fails no run: it is printed.

    Args:
        run: The run.
        outcome: What it came to.
    """
    try:
        metric = next(iter(outcome.dense))
        found: dict[str, str | int] = {
            properties.METRIC: metric,
            properties.METRIC_VALUE: repr(float(outcome.pruned[metric])),
            properties.BASELINE_METRIC_VALUE: repr(float(outcome.dense[metric])),
        }
        if outcome.latency:
            largest = outcome.latency[-1]
            found[properties.MILLISECONDS] = repr(largest.pruned.median)
            found[properties.DENSE_MILLISECONDS] = repr(largest.dense.median)
            found[properties.LATENCY_BATCH] = largest.batch
        for node, key in _OUTPUTS if outcome.budget is None else _PUSHED:
            run.set_properties(node, key, found)
    except Exception:
        traceback.print_exc()
