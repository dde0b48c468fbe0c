"""The executor of BudgetSearch."""

from typing import Any

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from ..budget import Budget
from ..budget_fit.plan_file import write_plan
from ..budget_fit.search import search_budget
from ..budget_fit.sparsity_plan import delivered_in_words
from ..engine.hparams import PruningHParams
from ..examples.examples_input import ExamplesInput
from .spec import (
    BATCH_SIZE_KEY,
    DENSE_MODEL_KEY,
    EXAMPLES_KEY,
    FORMAT_KEY,
    HPARAMS_KEY,
    HYPERPARAMETERS_KEY,
    MAX_BYTES_KEY,
    MAX_LATENCY_KEY,
    NUM_EXAMPLES_KEY,
    SHRINK_KEY,
    THREADS_KEY,
)


class Executor(base_executor.BaseExecutor):
    """Finds the target sparsity that meets a budget, before the training that prunes."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Measures copies of the dense model that are pruned at once.

        Args:
            input_dict: Artifacts by input: one Model under `dense_model`, stripped; optional Examples under `examples`.
            output_dict: One HyperParameters artifact under `hyperparameters`.
            exec_properties: `hparams`, the string of the hyperparameters; `max_bytes` and `max_latency`, texts, '' for
                no limit; `format`, `batch_size`, `threads`, `num_examples`, and `shrink`, 0 or 1.

        Raises:
            ValueError: The budget is below the smallest model, or is none, or the model cannot be pruned or exported.
            RuntimeError: The latency cannot be measured.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        dense = artifact_utils.get_single_instance(input_dict[DENSE_MODEL_KEY])
        budget = Budget(
            max_bytes=exec_properties[MAX_BYTES_KEY] or None,
            max_latency=exec_properties[MAX_LATENCY_KEY] or None,
            format=exec_properties[FORMAT_KEY],
            batch_size=exec_properties[BATCH_SIZE_KEY],
            threads=exec_properties[THREADS_KEY],
        )
        examples = input_dict.get(EXAMPLES_KEY)
        plan = search_budget(
            path_utils.serving_model_path(dense.uri, path_utils.is_old_model_artifact(dense)),
            PruningHParams.parse(exec_properties[HPARAMS_KEY]),
            budget,
            ExamplesInput.read(examples, None).records(exec_properties[NUM_EXAMPLES_KEY]) if examples else None,
            shrink=bool(exec_properties[SHRINK_KEY]),
        )
        sparsity = plan.next_sparsity()
        for each in plan.candidates:
            logging.info("Sparsity %.4f would deliver %s.", each.sparsity, delivered_in_words(each.delivered))
        logging.info("For %s, the target sparsity is %g.", budget.in_words(), sparsity)
        write_plan(artifact_utils.get_single_instance(output_dict[HYPERPARAMETERS_KEY]), plan, sparsity)
