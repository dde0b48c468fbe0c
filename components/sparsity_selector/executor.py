"""The executor of SparsitySelector."""

import json
import os
from typing import Any

import tensorflow as tf
from absl import logging
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from .. import properties
from ..budget import BudgetVerdict
from ..executor_artifacts import (
    EXPORTS_FOLDER,
    artifacts_and_versions,
    copy_properties,
    set_budget_properties,
)
from ..pruning_report import publish
from ..report.document import ReportDocument
from ..staging import copy_folder, empty_folder, write_file
from ..sweep import MetricGoal, Sweep
from .candidates import read_sweep
from .spec import (
    BASELINE_MODEL_KEY,
    BLESSING_KEY,
    BOUND_KEY,
    DIRECTION_KEY,
    METRIC_KEY,
    MODEL_KEY,
    REPORT_KEY,
    TOLERANCE_KEY,
    candidate_names,
    check_key,
    evaluation_key,
    model_key,
)


class Executor(base_executor.BaseExecutor):
    """Chooses one of the candidates and copies it."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Chooses the sparsest candidate that is good enough; with a budget, the best one that keeps to it.

        If the budget is for a TFLite file, the serving model is that file, in place of the SavedModel.

        Args:
            input_dict: Artifacts by input: for each candidate NAME its Model under `model_NAME` and its ModelEvaluation
                under `evaluation_NAME`; and optionally the dense model's under `baseline_model`, and BudgetCheck's
                reports under `check_NAME`.
            output_dict: Artifacts by output, of one artifact each: `model`, `blessing` and `report`. If the report
                cannot be written, its custom property `missing` says why.
            exec_properties: `metric`, `tolerance`, `direction`, and optionally `bound`.

        Raises:
            ValueError: A candidate's evaluation or properties cannot be read, or a parameter is out of range.
            OSError: The chosen model cannot be copied.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        goal = MetricGoal(
            exec_properties[METRIC_KEY],
            exec_properties[TOLERANCE_KEY],
            exec_properties[DIRECTION_KEY],
            exec_properties.get(BOUND_KEY),
        )
        names = candidate_names(key for key, artifacts in input_dict.items() if artifacts)
        models = {name: artifact_utils.get_single_instance(input_dict[model_key(name)]) for name in names}
        evaluations = {name: artifact_utils.get_single_uri(input_dict[evaluation_key(name)]) for name in names}
        dense = input_dict.get(BASELINE_MODEL_KEY)
        sweep = read_sweep(
            goal,
            {name: _custom_properties(model) for name, model in models.items()},
            evaluations,
            _custom_properties(artifact_utils.get_single_instance(dense)) if dense else None,
            _checks(input_dict, names),
        )
        model, blessing, report = outputs = [
            artifact_utils.get_single_instance(output_dict[key]) for key in (MODEL_KEY, BLESSING_KEY, REPORT_KEY)
        ]
        chosen = models[sweep.chosen.name] if sweep.chosen else None
        try:
            if chosen:
                _copy(chosen.uri, model.uri, sweep.chosen.check)
            publish(report, lambda: _document(sweep, artifacts_and_versions(input_dict, output_dict)))
            _bless(blessing, chosen)
        except BaseException:
            for artifact in outputs:
                empty_folder(artifact.uri)
            raise
        for artifact in outputs:
            _set_properties(artifact, sweep)
        if chosen:
            copy_properties(chosen, model)
        report.set_string_custom_property(properties.CANDIDATES, json.dumps(sweep.to_dict()["candidates"]))
        logging.info("Of %s, %s was chosen.", ", ".join(names), sweep.chosen.name if sweep.chosen else "none")
        for refusal in sweep.refusals:
            logging.warning("No model is good enough: %s.", refusal)


def _document(sweep: Sweep, made_of: dict[str, str]) -> ReportDocument:
    hparams = sweep.chosen.hparams if sweep.chosen else ""
    return ReportDocument(title="Sparsity sweep", weights=(), hparams=hparams or None, sweep=sweep, lineage=made_of)


def _checks(input_dict: dict[str, list[types.Artifact]], names: list[str]) -> dict[str, dict[str, Any]] | None:
    given = {name: input_dict.get(check_key(name)) for name in names}
    if not all(given.values()):
        return None
    return {name: _custom_properties(artifact_utils.get_single_instance(given[name])) for name in names}


def _copy(source: str, destination: str, check: BudgetVerdict | None) -> None:
    """Copies a Model with its exports; of one that a budget asks for as a TFLite file, that file is what is served."""
    if not tf.io.gfile.isdir(source):
        raise OSError(f"The chosen model {source} is gone. Run the Stripper that made it again.")
    try:
        if check is None or check.budget.export is None:
            copy_folder(source, destination)
        else:
            copy_folder(os.path.join(source, EXPORTS_FOLDER), path_utils.serving_model_dir(destination))
    except tf.errors.OpError as error:
        raise OSError(
            f"The chosen model {source} cannot be copied to {destination} ({error.message}). Choose a pipeline_root "
            "that this process may write to, with room for it."
        ) from error


def _bless(blessing: types.Artifact, chosen: types.Artifact | None) -> None:
    """Writes the file and properties that Pusher and the Resolver of the latest blessed model look for."""
    name = constants.BLESSED_FILE_NAME if chosen else constants.NOT_BLESSED_FILE_NAME
    write_file(os.path.join(blessing.uri, name), b"")
    value = constants.BLESSED_VALUE if chosen else constants.NOT_BLESSED_VALUE
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, value)
    if chosen:
        # The model that was copied, for that has an id already, and the copy has not.
        blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, chosen.uri)
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, chosen.id)


def _set_properties(artifact: types.Artifact, sweep: Sweep) -> None:
    artifact.set_string_custom_property(properties.METRIC, sweep.goal.metric)
    artifact.set_string_custom_property(properties.BASELINE_METRIC_VALUE, repr(sweep.baseline.metric))
    artifact.set_string_custom_property(properties.METRIC_LIMIT, repr(sweep.limit))
    if sweep.chosen:
        artifact.set_string_custom_property(properties.CANDIDATE, sweep.chosen.name)
        artifact.set_string_custom_property(properties.METRIC_VALUE, repr(sweep.chosen.metric))
        if sweep.chosen.check:
            set_budget_properties(artifact, sweep.chosen.check)


def _custom_properties(artifact: types.Artifact) -> dict[str, Any]:
    return {key: artifact.get_custom_property(key) for key in artifact.mlmd_artifact.custom_properties}
