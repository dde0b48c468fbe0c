"""The nodes that pruning pipelines are made of, in the groups that pipelines share."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf import json_format, message
from tfx import v1 as tfx
from tfx.dsl.components.base.base_node import BaseNode
from tfx.proto import example_gen_pb2

from tfx_pruning import PruningHParams, PruningTrainer, Stripper
from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.dense_model_strategy import BLESSING_KEY, EXAMPLES_KEY, MODEL_KEY, LatestBlessedDenseModel
from tfx_pruning.pipelines.evaluation import eval_config
from tfx_pruning.pipelines.pusher import Pusher

# Suffix of the ids of the dense model's nodes.
DENSE = "dense"

# Makes an execution property from a name and a value: the value itself, or a RuntimeParameter with it as its default.
Parameter = Callable[[str, str | message.Message], Any]


def constant(name: str, value: str | message.Message) -> str | message.Message:
    """The value itself."""
    return value


def runtime_parameter(name: str, value: str | message.Message) -> tfx.dsl.experimental.RuntimeParameter:
    """A RuntimeParameter with `value` as its default; a proto is written as its JSON."""
    # On one line: KFP writes defaults into comments.
    default = (
        value
        if isinstance(value, str)
        else json_format.MessageToJson(value, preserving_proto_field_name=True, sort_keys=True, indent=None)
    )
    return tfx.dsl.experimental.RuntimeParameter(name=name, ptype=str, default=default)


@dataclasses.dataclass(frozen=True)
class DenseNodes:
    """The nodes from the data to the dense model.

    Attributes:
        example_gen: CsvExampleGen or ImportExampleGen.
        schema_gen: The schema of the examples.
        transform: Transform.
        trainer: Trainer of the dense model.
        components: All nodes, those not named above too.
    """

    example_gen: BaseNode
    schema_gen: BaseNode
    transform: BaseNode
    trainer: BaseNode
    components: tuple[BaseNode, ...]

    @classmethod
    def of(cls, config: PipelineConfig, parameter: Parameter = constant) -> "DenseNodes":
        """The nodes of a configuration.

        With `config.warm_start` the training starts from the dense model that `LatestBlessedDenseModel` finds, if any.

        Args:
            config: What to run and where.
            parameter: `constant` or `runtime_parameter`, for `data_root`, `train_args` and `eval_args`.
        """
        example_gen = _example_gen(config, parameter)
        examples = example_gen.outputs["examples"]
        statistics_gen = tfx.components.StatisticsGen(examples=examples)
        statistics = statistics_gen.outputs["statistics"]
        # Without shapes every feature may be missing, in training and in a request to the served model.
        schema_gen = tfx.components.SchemaGen(statistics=statistics, infer_feature_shape=False)
        schema = schema_gen.outputs["schema"]
        example_validator = tfx.components.ExampleValidator(statistics=statistics, schema=schema)
        transform = tfx.components.Transform(
            examples=examples, schema=schema, disable_statistics=True, **_user_code(config, "preprocessing_fn")
        )
        components = [example_gen, statistics_gen, schema_gen, example_validator, transform]
        transformed = transform.outputs["transformed_examples"]
        base_model = None
        if config.warm_start:
            resolver = tfx.dsl.Resolver(
                strategy_class=LatestBlessedDenseModel,
                **{
                    MODEL_KEY: tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
                    BLESSING_KEY: tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
                    EXAMPLES_KEY: transformed,
                },
            ).with_id("Resolver.latest_blessed_dense_model")
            base_model = resolver.outputs[MODEL_KEY]
            components.append(resolver)
        trainer = tfx.components.Trainer(
            examples=transformed,
            transform_graph=transform.outputs["transform_graph"],
            schema=schema,
            base_model=base_model,
            train_args=parameter("train_args", tfx.proto.TrainArgs(num_steps=config.train_steps)),
            eval_args=_eval_args(config, parameter),
            **_user_code(config, "run_fn"),
        )
        return cls(example_gen, schema_gen, transform, trainer, (*components, trainer))


@dataclasses.dataclass(frozen=True)
class CandidateNodes:
    """The nodes of one pruned model: trained, stripped, and measured against the dense one.

    Attributes:
        pruning_trainer: PruningTrainer.
        stripper: Stripper.
        evaluator: Evaluator of the stripped model.
    """

    pruning_trainer: BaseNode
    stripper: BaseNode
    evaluator: BaseNode

    @classmethod
    def of(
        cls,
        config: PipelineConfig,
        dense: DenseNodes,
        hparams: str | None = None,
        suffix: str = "",
        parameter: Parameter = constant,
        judge: bool = True,
        hyperparameters: tfx.types.BaseChannel | None = None,
        export: Sequence[str] = (),
    ) -> "CandidateNodes":
        """The nodes of a candidate. With a `distill_weight` in its hyperparameters, the dense model is its teacher.

        Args:
            config: What to run and where.
            dense: The nodes that the candidate starts from.
            hparams: Hyperparameters as PruningHParams writes them; None for those of `config`.
            suffix: Tells the candidate's nodes from others': node ids are `PruningTrainer.SUFFIX` and so on, and the
                parameter is `hparams_SUFFIX`, or with `hyperparameters` `hparams`; '' if there is only one candidate.
            parameter: `constant` or `runtime_parameter`, for `pruning_args`, `eval_args`, `hparams` and `eval_config`,
                of which the candidates share all but `hparams`.
            judge: Whether the Evaluator decides to bless the model; otherwise it only measures.
            hyperparameters: A channel of HyperParameters, which replace those of `hparams`; None for none.
            export: Formats that the stripped model is exported in.
        """
        examples = dense.example_gen.outputs["examples"]
        hparams = hparams or config.hparams.to_string()
        distills = PruningHParams.fields_of(hparams).get("distill_weight")
        pruning_trainer = PruningTrainer(
            examples=dense.transform.outputs["transformed_examples"],
            transform_graph=dense.transform.outputs["transform_graph"],
            schema=dense.schema_gen.outputs["schema"],
            base_model=dense.trainer.outputs["model"],
            train_args=parameter("pruning_args", tfx.proto.TrainArgs(num_steps=config.pruning_steps)),
            eval_args=_eval_args(config, parameter),
            hparams=parameter(f"hparams_{suffix}" if suffix and hyperparameters is None else "hparams", hparams),
            hyperparameters=hyperparameters,
            teacher=dense.trainer.outputs["model"] if distills else None,
            **_user_code(config, "run_fn"),
        )
        stripper = Stripper(
            model=pruning_trainer.outputs["model"], examples=examples, shrink=config.shrink, export=export
        )
        evaluator = tfx.components.Evaluator(
            examples=examples,
            model=stripper.outputs["model"],
            baseline_model=dense.trainer.outputs["model"],
            eval_config=parameter("eval_config", eval_config(config, judge)),
        )
        if suffix:
            for node in (pruning_trainer, stripper, evaluator):
                node.with_id(f"{node.id}.{suffix}")
        return cls(pruning_trainer, stripper, evaluator)

    @property
    def components(self) -> tuple[BaseNode, ...]:
        """All of them."""
        return self.pruning_trainer, self.stripper, self.evaluator


def dense_stripper(dense: DenseNodes) -> BaseNode:
    """Stripper of the dense model: what pruned models are compared with, in size and latency."""
    return Stripper(model=dense.trainer.outputs["model"], examples=dense.example_gen.outputs["examples"]).with_id(
        f"Stripper.{DENSE}"
    )


def pusher(
    config: PipelineConfig,
    model: tfx.types.BaseChannel,
    model_blessing: tfx.types.BaseChannel,
    parameter: Parameter = constant,
) -> BaseNode:
    """Pusher of a blessed model to `config.serving_dir`; with `runtime_parameter`, to the run's `push_destination`."""
    destination = tfx.proto.PushDestination(
        filesystem=tfx.proto.PushDestination.Filesystem(base_directory=config.serving_dir)
    )
    return Pusher(
        model=model, model_blessing=model_blessing, push_destination=parameter("push_destination", destination)
    )


def _example_gen(config: PipelineConfig, parameter: Parameter) -> BaseNode:
    data_root = parameter("data_root", config.data_root)
    if config.data_format == "csv":
        # Other files in the folder are not data.
        csv_files = example_gen_pb2.Input(splits=[example_gen_pb2.Input.Split(name="single_split", pattern="*.csv")])
        return tfx.components.CsvExampleGen(input_base=data_root, input_config=csv_files)
    return tfx.components.ImportExampleGen(input_base=data_root)


def _eval_args(config: PipelineConfig, parameter: Parameter) -> Any:
    return parameter("eval_args", tfx.proto.EvalArgs(num_steps=config.eval_steps))


def _user_code(config: PipelineConfig, function: str) -> dict[str, str]:
    """The argument of a component that names the user's function."""
    if config.module_path:
        return {function: f"{config.module_path}.{function}"}
    return {"module_file": config.module_file}
