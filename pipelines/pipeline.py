"""The pipeline of one pruned model: train, prune, strip, evaluate against the dense model, push."""

from collections.abc import Sequence

from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx

from tfx_pruning.pipelines.budget_pipeline import BUDGET, create_budget_pipeline
from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.nodes import CandidateNodes, DenseNodes, constant, pusher, runtime_parameter


def create_pipeline(
    config: PipelineConfig,
    metadata_connection_config: metadata_store_pb2.ConnectionConfig | None = None,
    beam_pipeline_args: Sequence[str] = (),
    runtime_parameters: bool = False,
) -> tfx.dsl.Pipeline:
    """Builds the pipeline, for any runner.

    The dense training starts from nothing or, with `config.warm_start`, from the dense model of an earlier run on other
    data (`LatestBlessedDenseModel`). Evaluator compares the stripped model with the dense model of the same run, and
    Pusher pushes it if it is blessed.

    With a budget it is that of `create_budget_pipeline`, with one training that prunes.

    Args:
        config: What to run and where.
        metadata_connection_config: ML Metadata's database; None where the runner brings its own.
        beam_pipeline_args: Arguments of the components that run on Beam.
        runtime_parameters: Whether data, steps, hyperparameters of pruning, thresholds and the place to push to are
            RuntimeParameters, which every run may set; their defaults are the values of `config`. Protos are written as
            JSON, and `hparams` as the string of PruningHParams.

    Returns:
        The pipeline.

    Raises:
        ValueError: A metric is known neither to TFMA nor to Keras.
    """
    parameter = runtime_parameter if runtime_parameters else constant
    if config.budget is not None:
        return create_budget_pipeline(
            config, {BUDGET: config.hparams}, {}, metadata_connection_config, beam_pipeline_args, parameter=parameter
        )
    dense = DenseNodes.of(config, parameter)
    candidate = CandidateNodes.of(config, dense, parameter=parameter)
    push = pusher(config, candidate.stripper.outputs["model"], candidate.evaluator.outputs["blessing"], parameter)
    return tfx.dsl.Pipeline(
        pipeline_name=config.pipeline_name,
        pipeline_root=config.pipeline_root,
        components=[*dense.components, *candidate.components, push],
        enable_cache=config.enable_cache,
        metadata_connection_config=metadata_connection_config,
        beam_pipeline_args=list(beam_pipeline_args),
    )
