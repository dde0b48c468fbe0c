"""The Chicago taxi pipeline: train, prune, strip, evaluate against the dense model, push."""

from collections.abc import Sequence

import tensorflow_model_analysis as tfma
from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx

from tfx_pruning import PruningTrainer, Stripper
from tfx_pruning.pipelines.config import PipelineConfig

LABEL = "tips_xf"
SERVING_SIGNATURE = "serving_default"
TRANSFORM_SIGNATURE = "transform_features"


def create_pipeline(
    config: PipelineConfig,
    metadata_connection_config: metadata_store_pb2.ConnectionConfig | None = None,
    beam_pipeline_args: Sequence[str] = (),
) -> tfx.dsl.Pipeline:
    """Builds the pipeline, for any runner.

    The latest blessed model, if there is one, is what the dense training of the next run starts from. Evaluator
    compares the stripped model with the dense model of the same run, and Pusher pushes it if it is blessed.

    Args:
        config: What to run and where.
        metadata_connection_config: ML Metadata's database; None where the runner brings its own.
        beam_pipeline_args: Arguments of the components that run on Beam.

    Returns:
        The pipeline.
    """
    example_gen = tfx.components.CsvExampleGen(input_base=config.data_root)
    statistics_gen = tfx.components.StatisticsGen(examples=example_gen.outputs["examples"])
    # Without shapes every feature may be missing, in training and in a request to the served model.
    schema_gen = tfx.components.SchemaGen(statistics=statistics_gen.outputs["statistics"], infer_feature_shape=False)
    example_validator = tfx.components.ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema_gen.outputs["schema"]
    )
    transform = tfx.components.Transform(
        examples=example_gen.outputs["examples"],
        schema=schema_gen.outputs["schema"],
        module_file=config.module_file,
        disable_statistics=True,
    )
    resolver = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
        model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        model_blessing=tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
    ).with_id("Resolver.latest_blessed_model")
    trainer = tfx.components.Trainer(
        module_file=config.module_file,
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema_gen.outputs["schema"],
        base_model=resolver.outputs["model"],
        train_args=tfx.proto.TrainArgs(num_steps=config.train_steps),
        eval_args=tfx.proto.EvalArgs(num_steps=config.eval_steps),
    )
    pruning_trainer = PruningTrainer(
        module_file=config.module_file,
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema_gen.outputs["schema"],
        base_model=trainer.outputs["model"],
        train_args=tfx.proto.TrainArgs(num_steps=config.pruning_steps),
        eval_args=tfx.proto.EvalArgs(num_steps=config.eval_steps),
        hparams=config.hparams,
    )
    stripper = Stripper(model=pruning_trainer.outputs["model"], examples=example_gen.outputs["examples"])
    evaluator = tfx.components.Evaluator(
        examples=example_gen.outputs["examples"],
        model=stripper.outputs["model"],
        baseline_model=trainer.outputs["model"],
        eval_config=eval_config(config),
    )
    pusher = tfx.components.Pusher(
        model=stripper.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=config.serving_dir)
        ),
    )
    return tfx.dsl.Pipeline(
        pipeline_name=config.pipeline_name,
        pipeline_root=config.pipeline_root,
        components=[
            example_gen,
            statistics_gen,
            schema_gen,
            example_validator,
            transform,
            resolver,
            trainer,
            pruning_trainer,
            stripper,
            evaluator,
            pusher,
        ],
        enable_cache=config.enable_cache,
        metadata_connection_config=metadata_connection_config,
        beam_pipeline_args=list(beam_pipeline_args),
    )


def eval_config(config: PipelineConfig) -> tfma.EvalConfig:
    """What Evaluator measures, and when it blesses: AUC at least `min_auc`, and at most `max_auc_drop` below dense."""
    auc_threshold = tfma.MetricThreshold(
        value_threshold=tfma.GenericValueThreshold(lower_bound={"value": config.min_auc}),
        change_threshold=tfma.GenericChangeThreshold(
            direction=tfma.MetricDirection.HIGHER_IS_BETTER, absolute={"value": -config.max_auc_drop}
        ),
    )
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                signature_name=SERVING_SIGNATURE,
                preprocessing_function_names=[TRANSFORM_SIGNATURE],
                label_key=LABEL,
            )
        ],
        slicing_specs=[tfma.SlicingSpec()],
        metrics_specs=[
            tfma.MetricsSpec(
                metrics=[
                    tfma.MetricConfig(class_name="AUC", threshold=auc_threshold),
                    tfma.MetricConfig(class_name="BinaryAccuracy"),
                    tfma.MetricConfig(class_name="ExampleCount"),
                ]
            )
        ],
    )
