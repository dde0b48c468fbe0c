"""The executor of PostTrainingPruner."""

from typing import Any

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import json_utils, path_utils

from .. import properties
from ..engine.hparams import PruningHParams
from ..examples.examples_input import ExamplesInput
from ..examples.split_names import check_splits
from ..executor_artifacts import artifacts_and_versions
from ..pruning_report import publish
from ..report.document import ReportDocument
from ..staging import empty_folder
from .prune import PruneReport, prune_saved_model
from .spec import (
    DAMPING_KEY,
    EXAMPLES_KEY,
    HPARAMS_KEY,
    LABEL_KEY,
    LOSS_KEY,
    MODEL_KEY,
    NUM_EXAMPLES_KEY,
    OUTPUT_KEY,
    RECALIBRATE_BN_KEY,
    REPORT_KEY,
    SIGNATURE_NAME_KEY,
    SPLITS_KEY,
    TRAINED_MODEL_KEY,
    UNSEEN_KEY,
    UPDATE_KEY,
    check_num_examples,
)

_PREFERRED_SPLIT = "train"


class Executor(base_executor.BaseExecutor):
    """Prunes the serving model of one Model artifact into another."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Prunes the model.

        Args:
            input_dict: Artifacts by input.
                - trained_model: One Model artifact, whose serving model is pruned.
                - examples: Optional Examples artifacts, TFRecords.
            output_dict: Artifacts by output.
                - model: One Model artifact; the pruned model goes to its serving model folder. It gets the custom
                  properties that PruningTrainer writes.
                - report: One PruningReport artifact. If the report cannot be written, its custom property `missing`
                  says why.
            exec_properties: Execution properties.
                - hparams: The hyperparameters' string.
                - splits: JSON list of the splits to read; 'null' for 'train', or all.
                - num_examples: How many examples are read at most.
                - signature_name, label, loss, output, unseen, damping: As `prune_saved_model` takes them; those that
                  may be None may be missing.
                - update: 1 if kept weights are updated, else 0.
                - recalibrate_bn: 1 if the statistics of batch normalizations are taken anew, else 0.

        Raises:
            ValueError: The examples are not TFRecords, or a split is missing or empty; and as `prune_saved_model`,
                which says what else is raised. No model is left then.
            SparsityError: A weight would have more zeros than asked for.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        hparams = PruningHParams.parse(exec_properties[HPARAMS_KEY])
        trained = artifact_utils.get_single_instance(input_dict[TRAINED_MODEL_KEY])
        pruned = artifact_utils.get_single_instance(output_dict[MODEL_KEY])
        report = prune_saved_model(
            path_utils.serving_model_path(trained.uri, path_utils.is_old_model_artifact(trained)),
            path_utils.serving_model_dir(pruned.uri),
            _records(input_dict.get(EXAMPLES_KEY), exec_properties),
            hparams,
            signature=exec_properties.get(SIGNATURE_NAME_KEY) or None,
            label=exec_properties.get(LABEL_KEY) or None,
            loss=exec_properties[LOSS_KEY],
            output=exec_properties.get(OUTPUT_KEY) or None,
            unseen=exec_properties[UNSEEN_KEY],
            damping=exec_properties[DAMPING_KEY],
            update=bool(exec_properties[UPDATE_KEY]),
            recalibrate_bn=bool(exec_properties[RECALIBRATE_BN_KEY]),
        )
        made_of = artifacts_and_versions(input_dict, output_dict)
        try:
            publish(
                artifact_utils.get_single_instance(output_dict[REPORT_KEY]),
                lambda: ReportDocument(
                    title="Pruned model",
                    weights=report.weights,
                    total_parameters=report.total_parameters,
                    sizes={"SavedModel as trained": report.source_bytes, "SavedModel pruned": report.pruned_bytes},
                    hparams=hparams.to_string(),
                    lineage=made_of,
                ),
            )
        except BaseException:
            empty_folder(pruned.uri)
            raise
        _set_properties(pruned, hparams, report)
        logging.info("Pruned model written to %s.", pruned.uri)


def _records(artifacts: list[types.Artifact] | None, exec_properties: dict[str, Any]) -> list[bytes] | None:
    if not artifacts:
        return None
    check_num_examples(exec_properties[NUM_EXAMPLES_KEY])
    splits = json_utils.loads(exec_properties[SPLITS_KEY])
    check_splits(splits)
    return ExamplesInput.read(artifacts, splits, _PREFERRED_SPLIT).records(exec_properties[NUM_EXAMPLES_KEY])


def _set_properties(model: types.Artifact, hparams: PruningHParams, report: PruneReport) -> None:
    model.set_string_custom_property(properties.PRUNE_OPTION, hparams.prune_option)
    model.set_string_custom_property(properties.GRADIENT_ESTIMATOR, hparams.gradient_estimator)
    model.set_float_custom_property(properties.TARGET_SPARSITY, hparams.target_sparsity)
    model.set_float_custom_property(properties.SPARSITY, report.sparsity)
    zeros = report.prunable_parameters - report.nonzero_parameters
    model.set_float_custom_property(properties.TOTAL_SPARSITY, zeros / report.total_parameters)
    model.set_int_custom_property(properties.PRUNABLE_PARAMETERS, report.prunable_parameters)
    model.set_int_custom_property(properties.NONZERO_PARAMETERS, report.nonzero_parameters)
    model.set_int_custom_property(properties.TOTAL_PARAMETERS, report.total_parameters)
    model.set_string_custom_property(properties.HPARAMS, hparams.to_string())
    model.set_int_custom_property(properties.TRAINED_BYTES, report.pruned_bytes)
