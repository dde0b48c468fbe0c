"""The Chicago taxi pipeline: train, prune, strip, evaluate against the dense model, push."""

from collections.abc import Sequence

import tensorflow_model_analysis as tfma
from google.protobuf import json_format, message
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
    runtime_parameters: bool = False,
) -> tfx.dsl.Pipeline:
    """Builds the pipeline, for any runner.

    The latest blessed model, if there is one and `config.warm_start` holds, is what the dense training of the next run
    starts from. Evaluator compares the stripped model with the dense model of the same run, and Pusher pushes it if it
    is blessed.

    Args:
        config: What to run and where.
        metadata_connection_config: ML Metadata's database; None where the runner brings its own.
        beam_pipeline_args: Arguments of the components that run on Beam.
        runtime_parameters: Whether data, steps, hyperparameters of pruning, thresholds and the place to push to are
            RuntimeParameters, which every run may set, with the values of `config` as their defaults. Those that stand
            for a proto are its JSON, and `hparams` is the string of PruningHParams.

    Returns:
        The pipeline.
    """
    parameter = _runtime_parameter if runtime_parameters else _constant
    eval_args = parameter("eval_args", tfx.proto.EvalArgs(num_steps=config.eval_steps))

    example_gen = tfx.components.CsvExampleGen(input_base=parameter("data_root", config.data_root))
    statistics_gen = tfx.components.StatisticsGen(examples=example_gen.outputs["examples"])
    # Without shapes every feature may be missing, in training and in a request to the served model.
    schema_gen = tfx.components.SchemaGen(statistics=statistics_gen.outputs["statistics"], infer_feature_shape=False)
    example_validator = tfx.components.ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema_gen.outputs["schema"]
    )
    transform = tfx.components.Transform(
        examples=example_gen.outputs["examples"],
        schema=schema_gen.outputs["schema"],
        disable_statistics=True,
        **_user_code(config, "preprocessing_fn"),
    )
    components = [example_gen, statistics_gen, schema_gen, example_validator, transform]
    blessed_model = None
    if config.warm_start:
        resolver = tfx.dsl.Resolver(
            strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
            model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
            model_blessing=tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
        ).with_id("Resolver.latest_blessed_model")
        blessed_model = resolver.outputs["model"]
        components.append(resolver)
    trainer = tfx.components.Trainer(
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema_gen.outputs["schema"],
        base_model=blessed_model,
        train_args=parameter("train_args", tfx.proto.TrainArgs(num_steps=config.train_steps)),
        eval_args=eval_args,
        **_user_code(config, "run_fn"),
    )
    pruning_trainer = PruningTrainer(
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema_gen.outputs["schema"],
        base_model=trainer.outputs["model"],
        train_args=parameter("pruning_args", tfx.proto.TrainArgs(num_steps=config.pruning_steps)),
        eval_args=eval_args,
        hparams=parameter("hparams", config.hparams.to_string()),
        **_user_code(config, "run_fn"),
    )
    stripper = Stripper(model=pruning_trainer.outputs["model"], examples=example_gen.outputs["examples"])
    evaluator = tfx.components.Evaluator(
        examples=example_gen.outputs["examples"],
        model=stripper.outputs["model"],
        baseline_model=trainer.outputs["model"],
        eval_config=parameter("eval_config", eval_config(config)),
    )
    pusher = tfx.components.Pusher(
        model=stripper.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=parameter(
            "push_destination",
            tfx.proto.PushDestination(
                filesystem=tfx.proto.PushDestination.Filesystem(base_directory=config.serving_dir)
            ),
        ),
    )
    return tfx.dsl.Pipeline(
        pipeline_name=config.pipeline_name,
        pipeline_root=config.pipeline_root,
        components=[*components, trainer, pruning_trainer, stripper, evaluator, pusher],
        enable_cache=config.enable_cache,
        metadata_connection_config=metadata_connection_config,
        beam_pipeline_args=list(beam_pipeline_args),
    )


def _constant(name: str, value: str | message.Message) -> str | message.Message:
    return value


def _runtime_parameter(name: str, value: str | message.Message) -> tfx.dsl.experimental.RuntimeParameter:
    # On one line: KFP writes defaults into comments.
    default = (
        value
        if isinstance(value, str)
        else json_format.MessageToJson(value, preserving_proto_field_name=True, sort_keys=True, indent=None)
    )
    return tfx.dsl.experimental.RuntimeParameter(name=name, ptype=str, default=default)


def _user_code(config: PipelineConfig, function: str) -> dict[str, str]:
    """The argument of a component that names the user's function."""
    if config.module_path:
        return {function: f"{config.module_path}.{function}"}
    return {"module_file": config.module_file}


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
