"""The executor of BudgetCheck."""

import dataclasses
import json
import os
from typing import Any

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from .. import properties
from ..budget_fit.measurement import measured
from ..budget_fit.plan_file import read_plan, write_plan
from ..budget_fit.sparsity_plan import delivered_in_words
from ..examples.examples_input import ExamplesInput
from ..executor_artifacts import EXPORTS_FOLDER, artifacts_and_versions, set_budget_properties
from ..pruning_report import publish
from ..report.document import ReportDocument
from .spec import (
    DENSE_MODEL_KEY,
    EXAMPLES_KEY,
    HYPERPARAMETERS_KEY,
    MODEL_KEY,
    NEXT_HYPERPARAMETERS_KEY,
    NUM_EXAMPLES_KEY,
    REPORT_KEY,
)


class Executor(base_executor.BaseExecutor):
    """Measures the size and the latency of a stripped model, against the budget that it was pruned for."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Measures the model. Whether the budget holds is in the report and its properties; a miss is no error.

        Args:
            input_dict: Artifacts by input: the Models `model` and `dense_model` of Stripper, the first with the export
                that the budget is for; `hyperparameters`, those that PruningTrainer had; optional Examples `examples`.
            output_dict: Artifacts by output: `report`, and `next_hyperparameters` for another training.
            exec_properties: `num_examples`.

        Raises:
            ValueError: The hyperparameters are not of BudgetSearch.
            FileNotFoundError, NotADirectoryError: The model has no artifact of the budget's format.
            RuntimeError: The latency cannot be measured.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        plan, sparsity = read_plan(input_dict[HYPERPARAMETERS_KEY])
        examples = input_dict.get(EXAMPLES_KEY)
        records = ExamplesInput.read(examples, None).records(exec_properties[NUM_EXAMPLES_KEY]) if examples else None
        pruned, dense = (_folders(input_dict[key]) for key in (MODEL_KEY, DENSE_MODEL_KEY))
        verdict = measured(pruned, dense[0], plan.budget, plan.dense, records)
        plan = plan.with_trained(sparsity, verdict.delivered)
        following = plan.next_sparsity()
        retry = not plan.is_met and all(following != each.sparsity for each in plan.trained)
        report = artifact_utils.get_single_instance(output_dict[REPORT_KEY])
        made_of = artifacts_and_versions(input_dict, output_dict)
        publish(report, lambda: ReportDocument(title="Budget", weights=(), budget=verdict, lineage=made_of))
        write_plan(artifact_utils.get_single_instance(output_dict[NEXT_HYPERPARAMETERS_KEY]), plan, following)
        report.set_string_custom_property(properties.BUDGET_VERDICT, json.dumps(dataclasses.asdict(verdict)))
        report.set_int_custom_property(properties.BUDGET_RETRY, int(retry))
        set_budget_properties(report, verdict)
        logging.info(
            "Of %s, the model at the sparsity %g takes %s: %s.",
            *(plan.budget.in_words(), sparsity, delivered_in_words(verdict.delivered)),
            "; ".join(verdict.failures) or "the budget holds",
        )


def _folders(artifacts: list[types.Artifact]) -> tuple[str, str]:
    """Where a Model has its SavedModel, and its exports."""
    model = artifact_utils.get_single_instance(artifacts)
    serving = path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
    return serving, os.path.join(model.uri, EXPORTS_FOLDER)
