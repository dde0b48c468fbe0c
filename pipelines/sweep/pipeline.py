"""The pipeline of a sweep: models of one dense model, of which the sparsest within a tolerance is pushed."""

import dataclasses
from collections.abc import Sequence

from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx

from tfx_pruning import SparsitySelector
from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.nodes import DENSE, CandidateNodes, DenseNodes, dense_stripper, pusher
from tfx_pruning.pipelines.sweep.plan import Candidate


def create_sweep_pipeline(
    config: PipelineConfig,
    candidates: Sequence[Candidate],
    metadata_connection_config: metadata_store_pb2.ConnectionConfig | None = None,
    beam_pipeline_args: Sequence[str] = (),
    select: bool = True,
) -> tfx.dsl.Pipeline:
    """Builds the pipeline, for any runner.

    The data are prepared and the dense model is trained once. Each candidate is pruned from the dense model, stripped,
    and evaluated against it, by nodes whose ids end with the candidate's name. SparsitySelector takes the sparsest one
    whose metric is at most `config.max_metric_drop` worse than the dense model's, and no worse than `min_metric` or
    `max_metric`; Pusher pushes it. The dense training starts from no earlier model, whatever `config.warm_start` says:
    all rounds of a sweep share it.

    The nodes of a candidate are the same, whatever other candidates there are, so that TFX's cache has them when a
    pipeline with more candidates runs in the same place.

    Args:
        config: What to run and where; its `pruning` is not used.
        candidates: What to prune; at least one.
        metadata_connection_config: ML Metadata's database; None where the runner brings its own.
        beam_pipeline_args: Arguments of the components that run on Beam.
        select: Whether the pipeline ends with SparsitySelector and Pusher.

    Returns:
        The pipeline.

    Raises:
        ValueError: There are no candidates, two have the same name, one has the name of the dense model's nodes, or a
            metric is known neither to TFMA nor to Keras.
    """
    _check_candidates(candidates)
    dense = DenseNodes.of(dataclasses.replace(config, warm_start=False))
    stripper = dense_stripper(dense)
    nodes = {
        each.name: CandidateNodes.of(config, dense, each.hparams.to_string(), suffix=each.name, judge=False)
        for each in candidates
    }
    components = [*dense.components, stripper, *(node for each in nodes.values() for node in each.components)]
    if select:
        goal = config.goal
        selector = SparsitySelector(
            models={name: each.stripper.outputs["model"] for name, each in nodes.items()},
            evaluations={name: each.evaluator.outputs["evaluation"] for name, each in nodes.items()},
            baseline_model=stripper.outputs["model"],
            metric=goal.metric,
            tolerance=goal.tolerance,
            direction=goal.direction,
            bound=goal.bound,
        )
        components += [selector, pusher(config, selector.outputs["model"], selector.outputs["blessing"])]
    return tfx.dsl.Pipeline(
        pipeline_name=config.pipeline_name,
        pipeline_root=config.pipeline_root,
        components=components,
        enable_cache=config.enable_cache,
        metadata_connection_config=metadata_connection_config,
        beam_pipeline_args=list(beam_pipeline_args),
    )


def _check_candidates(candidates: Sequence[Candidate]) -> None:
    """Raises a ValueError if there is no candidate, or if two nodes would have the same id."""
    if not candidates:
        raise ValueError("candidates must have at least one candidate, got none: give one or more.")
    names = [each.name for each in candidates]
    for index, name in enumerate(names):
        if name in names[:index] or name == DENSE:
            raise ValueError(f"The name {name!r} is taken: give each candidate one of its own, and none {DENSE!r}.")
