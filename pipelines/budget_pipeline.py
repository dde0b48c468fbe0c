"""The pipeline of a budget: models are pruned to a size or a latency, and the best that keeps to it is pushed."""

import dataclasses
from collections.abc import Mapping, Sequence

from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx

from tfx_pruning import BudgetCheck, BudgetSearch, PruningHParams, SparsitySelector
from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.nodes import CandidateNodes, DenseNodes, Parameter, constant, dense_stripper, pusher

# The one way to prune of a pipeline that has no more.
BUDGET = "budget"
# A search has one training, and up to two more that correct its sparsity.
MOST_TRAININGS = 3


def attempt_name(way: str, number: int) -> str:
    """The name of a training, from 1, of a way to prune: what its nodes' ids end with."""
    return f"{way}_{number}"


def create_budget_pipeline(
    config: PipelineConfig,
    ways: Mapping[str, PruningHParams],
    trainings: Mapping[str, int],
    metadata_connection_config: metadata_store_pb2.ConnectionConfig | None = None,
    beam_pipeline_args: Sequence[str] = (),
    select: bool = True,
    parameter: Parameter = constant,
) -> tfx.dsl.Pipeline:
    """Builds the pipeline, for any runner.

    The data are prepared and the dense model is trained once. For each way to prune, BudgetSearch finds the target
    sparsity; a model is pruned to it, stripped and evaluated, and BudgetCheck measures it. A further training
    takes the sparsity that the BudgetCheck before it proposes. SparsitySelector takes the model with the best metric of
    those that keep to the budget and are within the tolerance; Pusher pushes it. The dense training starts from no
    earlier model, whatever `config.warm_start` says: all trainings share it.

    The nodes of a training are the same, whatever further ones there are, so that TFX's cache has them when a pipeline
    with more trainings runs in the same place.

    Args:
        config: What to run and where, with a budget.
        ways: Hyperparameters of the ways to prune, by name; their target sparsities are not used.
        trainings: How many trainings each way has, by the same names; 1 for those that are not in it.
        metadata_connection_config: ML Metadata's database; None where the runner brings its own.
        beam_pipeline_args: Arguments of the components that run on Beam.
        select: Whether the pipeline ends with SparsitySelector and Pusher.
        parameter: `constant` or `runtime_parameter`, for what `create_pipeline` makes parameters of, and for
            `max_bytes` and `max_latency`.

    Returns:
        The pipeline.

    Raises:
        ValueError: There is no budget, or a metric is known neither to TFMA nor to Keras.
    """
    budget = config.budget
    if budget is None:
        raise ValueError("config has no budget: set max_bytes or max_latency, or call create_pipeline.")
    dense = DenseNodes.of(dataclasses.replace(config, warm_start=False), parameter)
    stripper = dense_stripper(dense)
    examples = dense.example_gen.outputs["examples"]
    components = [*dense.components, stripper]
    models, evaluations, checks = {}, {}, {}
    limits = {
        name: parameter(name, "" if limit is None else str(limit))
        for name, limit in (("max_bytes", budget.max_bytes), ("max_latency", budget.max_latency))
    }
    for way, hparams in ways.items():
        search = BudgetSearch(
            dense_model=stripper.outputs["model"],
            hparams=parameter("hparams", hparams.to_string()),
            examples=examples,
            format=budget.format,
            batch_size=budget.batch_size,
            threads=budget.threads,
            shrink=config.shrink,
            **limits,
        ).with_id(f"BudgetSearch.{way}")
        components.append(search)
        hyperparameters = search.outputs["hyperparameters"]
        for number in range(1, trainings.get(way, 1) + 1):
            name = attempt_name(way, number)
            nodes = CandidateNodes.of(
                config,
                dense,
                hparams.to_string(),
                suffix=name,
                parameter=parameter,
                judge=False,
                hyperparameters=hyperparameters,
                export=[budget.export] if budget.export else [],
            )
            check = BudgetCheck(
                model=nodes.stripper.outputs["model"],
                dense_model=stripper.outputs["model"],
                hyperparameters=hyperparameters,
                examples=examples,
            ).with_id(f"BudgetCheck.{name}")
            components += [*nodes.components, check]
            models[name] = nodes.stripper.outputs["model"]
            evaluations[name] = nodes.evaluator.outputs["evaluation"]
            checks[name] = check.outputs["report"]
            hyperparameters = check.outputs["next_hyperparameters"]
    if select:
        selector = SparsitySelector(
            models=models,
            evaluations=evaluations,
            checks=checks,
            baseline_model=stripper.outputs["model"],
            metric=config.goal.metric,
            tolerance=config.goal.tolerance,
            direction=config.goal.direction,
            bound=config.goal.bound,
        )
        components += [selector, pusher(config, selector.outputs["model"], selector.outputs["blessing"], parameter)]
    return tfx.dsl.Pipeline(
        pipeline_name=config.pipeline_name,
        pipeline_root=config.pipeline_root,
        components=components,
        enable_cache=config.enable_cache,
        metadata_connection_config=metadata_connection_config,
        beam_pipeline_args=list(beam_pipeline_args),
    )
