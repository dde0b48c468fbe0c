"""The BudgetCheck component."""

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration import data_types
from tfx.types import standard_artifacts

from ..pruning_report import PruningReport
from . import executor
from .spec import DEFAULT_NUM_EXAMPLES, BudgetCheckSpec


class BudgetCheck(base_component.BaseComponent):
    """A TFX component that measures a stripped model against the budget that BudgetSearch was given.

    It is a node of its own so that an orchestrator can give it the processor that the latency is meant for. It fails no
    run: SparsitySelector takes its report, and refuses a model that is over its budget.

    Component `outputs` contains:
     - `report`: Channel of type `PruningReport`: the budget, what the dense model takes and what was delivered. Its
       custom properties (`tfx_pruning.properties`) say so too.
     - `next_hyperparameters`: Channel of type `standard_artifacts.HyperParameters`: the sparsity with which another
       training of PruningTrainer should come nearer to the budget.
    """

    SPEC_CLASS = BudgetCheckSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        dense_model: types.BaseChannel,
        hyperparameters: types.BaseChannel,
        examples: types.BaseChannel | None = None,
        num_examples: int | data_types.RuntimeParameter = DEFAULT_NUM_EXAMPLES,
    ) -> None:
        """Constructs the component.

        Args:
            model: A channel of type `standard_artifacts.Model`: Stripper's output of the pruned model, with the export
                that the budget is for.
            dense_model: A channel of type `standard_artifacts.Model`: Stripper's output of the dense model.
            hyperparameters: A channel of type `standard_artifacts.HyperParameters`: those that PruningTrainer was
                given, of BudgetSearch or of the BudgetCheck before.
            examples: A channel of type `standard_artifacts.Examples`, as Stripper takes it, for the calls that are
            timed.
            num_examples: How many examples are read at most.
        """
        super().__init__(
            spec=BudgetCheckSpec(
                model=model,
                dense_model=dense_model,
                hyperparameters=hyperparameters,
                examples=examples,
                num_examples=num_examples,
                report=types.Channel(type=PruningReport),
                next_hyperparameters=types.Channel(type=standard_artifacts.HyperParameters),
            )
        )
