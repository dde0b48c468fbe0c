"""The PruningTrainer component."""

from typing import Any

from absl import logging
from tfx import types
from tfx.components.util import udf_utils
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration import data_types
from tfx.proto import trainer_pb2
from tfx.types import standard_artifacts, standard_component_specs
from tfx.utils import json_utils

from ..engine.hparams import PruningHParams
from ..engine.hparams_checks import check_teacher
from ..engine.ranking.criteria import criterion_of
from ..pruning_report import PruningReport
from ..typed_value import checked_value
from .executor import Executor
from .spec import PruningTrainerSpec


class PruningTrainer(base_component.BaseComponent):
    """A TFX Trainer that prunes while it trains.

    It takes the module that tfx's Trainer takes, unchanged. The Keras models that its `run_fn` fits are pruned as
    `hparams` says. The component fails if the model that `run_fn` saves does not have the sparsity asked for.

    Example:
        ```python
        pruned = PruningTrainer(
            module_file='taxi_module.py',
            examples=transform.outputs['transformed_examples'],
            transform_graph=transform.outputs['transform_graph'],
            schema=schema_gen.outputs['schema'],
            base_model=trainer.outputs['model'],
            train_args=tfx.proto.TrainArgs(num_steps=1000),
            eval_args=tfx.proto.EvalArgs(num_steps=50),
            hparams=PruningHParams.for_steps(1000, prune_option='first_order_gradient', target_sparsity=0.9))
        ```

    Component `outputs` contains:

     - `model`: `standard_artifacts.Model`, as trained: with masks, gradients and optimizer variables, which Stripper
       removes. Its custom properties (`tfx_pruning.properties`) tell what was asked for and what came.
     - `model_run`: `standard_artifacts.ModelRun`, TensorBoard summaries: loss, sparsity by layer, histograms.
     - `report`: `PruningReport`, a page of HTML and its figures as JSON: sparsity by layer, the course of the training,
       weights and scores, sizes.
    """

    SPEC_CLASS = PruningTrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        hparams: PruningHParams | str | data_types.RuntimeParameter,
        statistics: types.BaseChannel | None = None,
        examples: types.BaseChannel | None = None,
        transformed_examples: types.BaseChannel | None = None,
        transform_graph: types.BaseChannel | None = None,
        schema: types.BaseChannel | None = None,
        base_model: types.BaseChannel | None = None,
        hyperparameters: types.BaseChannel | None = None,
        module_file: str | data_types.RuntimeParameter | None = None,
        run_fn: str | data_types.RuntimeParameter | None = None,
        train_args: trainer_pb2.TrainArgs | data_types.RuntimeParameter | None = None,
        eval_args: trainer_pb2.EvalArgs | data_types.RuntimeParameter | None = None,
        custom_config: dict[str, Any] | data_types.RuntimeParameter | None = None,
        custom_executor_spec: executor_spec.ExecutorSpec | None = None,
        backup_steps: int | data_types.RuntimeParameter | None = None,
        teacher: types.BaseChannel | None = None,
    ) -> None:
        """Constructs the component.

        Args:
            hparams: Pruning hyperparameters: PruningHParams, its string (`PruningHParams.parse`), or a RuntimeParameter
                of that string. A criterion or schedule of your own must be registered here too: import the module
                that does it (see `tfx_pruning.register_criterion`).
            statistics: As in tfx Trainer, like all that follow.
            examples: Examples to train on. Exactly one of `examples` and `transformed_examples` is needed.
            transformed_examples: tfx Trainer's older name for `examples`.
            transform_graph: Transform's graph.
            schema: Schema of the data.
            base_model: Model to start from; `tfx_pruning.warm_start(model, fn_args)` in run_fn loads it.
            hyperparameters: Hyperparameters that a Tuner chose. Those named `pruning/target_sparsity`,
                `pruning/prune_option` and so on replace those of `hparams`; run_fn gets all of them. Or those of
            BudgetSearch, of which run_fn gets none.
            module_file: Python file with `run_fn`. Exactly one of `module_file` and `run_fn` is needed.
            run_fn: Python path of the function.
            train_args: Splits and number of steps to train.
            eval_args: Splits and number of steps to evaluate.
            custom_config: Further parameters, passed to run_fn.
            custom_executor_spec: An executor derived from this component's own.
            backup_steps: Batches between two backups of the training, from which the next execution with the same
                inputs goes on if this one is killed. 0 for no backups; None for one at the end of every epoch, and
                within an epoch one a minute.
            teacher: A dense model, such as `trainer.outputs['model']`, whose answers join the loss as `distill_weight`,
                `temperature` and `distill_loss` of `hparams` say. run_fn need not know of it.

        Raises:
            TypeError: `hparams` or `backup_steps` is of another type.
            ValueError: `hparams` is wrong or `backup_steps` negative; `teacher` is given without `distill_weight`, or
                the other way round, and no Tuner may change that; both or neither of `module_file` and `run_fn`, or of
                `examples` and `transformed_examples`, are given; or `transformed_examples` is given without
                `transform_graph`.
        """
        if [bool(module_file), bool(run_fn)].count(True) != 1:
            raise ValueError(
                f"Exactly one of 'module_file' and 'run_fn' must be given, got {module_file!r} and {run_fn!r}."
            )
        if bool(examples) == bool(transformed_examples):
            given = "both" if examples else "neither"
            raise ValueError(f"Exactly one of 'examples' and 'transformed_examples' must be given, got {given}.")
        if transformed_examples and not transform_graph:
            raise ValueError("'transformed_examples' is given without 'transform_graph'. Give both, or use 'examples'.")
        if not isinstance(hparams, data_types.RuntimeParameter):
            hparams = _checked_hparams(hparams)
            if hyperparameters is None:  # a Tuner may choose distill_weight
                check_teacher(hparams, teacher is not None)
            _warn_of_too_few_steps(hparams, train_args)
            hparams = hparams.to_string()
        if backup_steps is not None and not isinstance(backup_steps, data_types.RuntimeParameter):
            _check_backup_steps(backup_steps)
        spec = PruningTrainerSpec(
            hparams=hparams,
            backup_steps=backup_steps,
            statistics=statistics,
            examples=examples or transformed_examples,
            transform_graph=transform_graph,
            schema=schema,
            base_model=base_model,
            teacher=teacher,
            hyperparameters=hyperparameters,
            train_args=train_args or trainer_pb2.TrainArgs(),
            eval_args=eval_args or trainer_pb2.EvalArgs(),
            module_file=module_file,
            run_fn=run_fn,
            custom_config=(
                custom_config
                if isinstance(custom_config, data_types.RuntimeParameter)
                else json_utils.dumps(custom_config)
            ),
            model=types.Channel(type=standard_artifacts.Model),
            model_run=types.Channel(type=standard_artifacts.ModelRun),
            report=types.Channel(type=PruningReport),
        )
        super().__init__(spec=spec, custom_executor_spec=custom_executor_spec)
        if udf_utils.should_package_user_modules():
            udf_utils.add_user_module_dependency(
                self, standard_component_specs.MODULE_FILE_KEY, standard_component_specs.MODULE_PATH_KEY
            )


def _checked_hparams(hparams: Any) -> PruningHParams:
    """The hyperparameters, checked when the pipeline is built."""
    if isinstance(hparams, str):
        if not hparams.strip():
            raise ValueError("hparams is empty: say what to prune, such as 'target_sparsity=0.9'.")
        hparams = PruningHParams.parse(hparams)
    if not isinstance(hparams, PruningHParams):
        raise TypeError(
            f"hparams must be PruningHParams, its string or a RuntimeParameter, got {type(hparams).__name__}."
        )
    criterion_of(hparams)
    return hparams


def _check_backup_steps(steps: Any) -> None:
    if checked_value("backup_steps", int, steps) < 0:
        raise ValueError(f"backup_steps must be at least 0, got {steps}. Write 0 for no backups.")


def _warn_of_too_few_steps(hparams: PruningHParams, train_args: Any) -> None:
    """Warns only, since run_fn decides what `num_steps` means; most take it as the steps of an epoch."""
    steps = train_args.num_steps if isinstance(train_args, trainer_pb2.TrainArgs) else 0
    if 0 < steps < hparams.target_step:
        logging.warning(
            "The sparsity reaches its target at step %d, but train_args.num_steps is %d: unless run_fn trains longer, "
            "PruningTrainer will fail. PruningHParams.for_steps(%d, ...) fits the schedule to the training.",
            hparams.target_step,
            steps,
            steps,
        )
