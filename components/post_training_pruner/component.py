"""The PostTrainingPruner component."""

from collections.abc import Sequence

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration import data_types
from tfx.types import standard_artifacts
from tfx.utils import json_utils

from ..engine.hparams import PruningHParams
from ..examples.split_names import check_splits
from ..pruning_report import PruningReport
from ..typed_value import checked_value
from . import executor
from .checks import DEFAULT_DAMPING, UNSEEN_ERROR, check_damping, check_unseen, checked_criterion
from .loss import AUTO, checked_loss
from .spec import DEFAULT_NUM_EXAMPLES, PostTrainingPrunerSpec, check_num_examples


class PostTrainingPruner(base_component.BaseComponent):
    """A TFX component that prunes a trained model with examples, without its training code.

    It stands between a Trainer and a Stripper. The model's graph stays as it is; its weights get zeros, and those that
    are kept make up for them if the criterion says so.

    Example:
        ```
        pruner = PostTrainingPruner(
            model=trainer.outputs['model'],
            examples=transform.outputs['transformed_examples'],
            hparams=PruningHParams(prune_option='obc', target_sparsity=0.9, allocation='erk'))
        stripper = Stripper(model=pruner.outputs['model'])
        ```

    Component `outputs` contains:
     - `model`: Channel of type `standard_artifacts.Model`, the pruned model. Its custom properties are those that
       PruningTrainer writes: sparsity, counts of parameters, hyperparameters.
     - `report`: Channel of type `PruningReport`, a page of HTML and its figures as JSON: sparsity by weight, sizes,
       hyperparameters.
    """

    SPEC_CLASS = PostTrainingPrunerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        hparams: PruningHParams | str | data_types.RuntimeParameter,
        examples: types.BaseChannel | None = None,
        splits: Sequence[str] | None = None,
        num_examples: int | data_types.RuntimeParameter = DEFAULT_NUM_EXAMPLES,
        signature_name: str | data_types.RuntimeParameter | None = None,
        label: str | data_types.RuntimeParameter | None = None,
        loss: str | data_types.RuntimeParameter = AUTO,
        output: str | data_types.RuntimeParameter | None = None,
        unseen: str | data_types.RuntimeParameter = UNSEEN_ERROR,
        damping: float | data_types.RuntimeParameter = DEFAULT_DAMPING,
        update: bool | data_types.RuntimeParameter = True,
        recalibrate_bn: bool | data_types.RuntimeParameter = False,
    ) -> None:
        """Constructs the component.

        Args:
            model: A channel of type `standard_artifacts.Model`, of TensorFlow 2, without variables of pruning.
            hparams: Pruning hyperparameters: PruningHParams, its string (`PruningHParams.parse`), or a RuntimeParameter
                of that string. `tfx_pruning.prune_saved_model` says which of them have an effect.
            examples: A channel of type `standard_artifacts.Examples`: what the signature parses, those of ExampleGen if
                it holds the Transform graph, or with its inputs as features, those of Transform if it does not. Not
                needed for `prune_option='weight'`.
            splits: The splits to read. By default 'train', or all where there is none of that name.
            num_examples: How many examples are read at most, from the first split; at least 1.
            signature_name: The signature that answers the examples; by default 'serving_default', or the only one.
            label: For criteria of gradients, the feature that holds the labels.
            loss: How answers are compared with labels, as `prune_saved_model` takes it.
            output: The output of the signature that is compared with the labels, or is the loss; by default the only
                one.
            unseen: 'magnitude' to prune weights whose inputs are not seen by |w|; by default that is an error.
            damping: For 'obc' and 'block_fisher', as `prune_saved_model` takes it.
            update: Whether 'obc' and 'block_fisher' update the weights that are kept. A RuntimeParameter is an int, 0
                or 1.
            recalibrate_bn: Whether the statistics of batch normalizations are taken anew after that; likewise.

        Raises:
            TypeError: One of them is of another type.
            ValueError: `hparams` are wrong, for trainings alone, or need examples or a label that there are not;
                `num_examples` is below 1, `splits` are empty, or one of the others is none of its values.
        """
        if isinstance(hparams, str):
            hparams = PruningHParams.parse(hparams)

        def known(value: object, default: object) -> object:
            return default if isinstance(value, data_types.RuntimeParameter) else value

        if not isinstance(hparams, data_types.RuntimeParameter):
            checked_criterion(
                hparams,
                has_examples=examples is not None,
                has_loss=label is not None or output is not None,
                loss=known(loss, AUTO),
                unseen=known(unseen, UNSEEN_ERROR),
                damping=known(damping, DEFAULT_DAMPING),
                recalibrate_bn=known(recalibrate_bn, False) is True,
            )
            hparams = hparams.to_string()
        checked_loss(known(loss, AUTO))
        check_unseen(known(unseen, UNSEEN_ERROR))
        check_damping(known(damping, DEFAULT_DAMPING))
        check_num_examples(checked_value("num_examples", int, known(num_examples, 1)))
        check_splits(splits)
        if not isinstance(update, data_types.RuntimeParameter):
            update = int(checked_value("update", bool, update))
        if not isinstance(recalibrate_bn, data_types.RuntimeParameter):
            recalibrate_bn = int(checked_value("recalibrate_bn", bool, recalibrate_bn))
        super().__init__(
            spec=PostTrainingPrunerSpec(
                trained_model=model,
                examples=examples,
                hparams=hparams,
                splits=json_utils.dumps(None if splits is None else list(splits)),
                num_examples=num_examples,
                signature_name=signature_name,
                label=label,
                loss=loss,
                output=output,
                unseen=unseen,
                damping=float(damping) if isinstance(damping, int) else damping,
                update=update,
                recalibrate_bn=recalibrate_bn,
                model=types.Channel(type=standard_artifacts.Model),
                report=types.Channel(type=PruningReport),
            )
        )
