"""The SparsitySelector component."""

from collections.abc import Mapping

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration import data_types
from tfx.types import standard_artifacts

from ..pruning_report import PruningReport
from ..sweep import HIGHER, MetricGoal
from .executor import Executor
from .spec import SparsitySelectorSpec, check_key, check_name, evaluation_key, model_key, spec_of


class SparsitySelector(base_component.BaseComponent):
    """A TFX component that takes, of several pruned models, the sparsest whose metric is good enough.

    Each candidate is a stripped model with its evaluation against the dense model. A model is good enough if its
    metric is at most `tolerance` worse than the dense model's, and no worse than `bound`. Given `checks`, a model must
    also keep to its budget, and of those that do, the one with the best metric is taken.

    Example:
        ```
        selector = SparsitySelector(
            models={name: stripper.outputs['model'] for name, stripper in strippers.items()},
            evaluations={name: evaluator.outputs['evaluation'] for name, evaluator in evaluators.items()},
            metric='auc',
            tolerance=0.005)
        pusher = Pusher(
            model=selector.outputs['model'], model_blessing=selector.outputs['blessing'], push_destination=...)
        ```

    Component `outputs` contains:

     - `model`: `standard_artifacts.Model`, a copy of the chosen model with its custom properties, and those of the
       choice (`tfx_pruning.properties`). Empty if no candidate is good enough.
     - `blessing`: `standard_artifacts.ModelBlessing`, blessed if a model was chosen. A Resolver of the latest blessed
       model finds the candidate that was chosen.
     - `report`: `PruningReport` on all candidates, a page of HTML with the Pareto front, and JSON.
    """

    SPEC_CLASS = SparsitySelectorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        models: Mapping[str, types.BaseChannel],
        evaluations: Mapping[str, types.BaseChannel],
        metric: str,
        tolerance: float | data_types.RuntimeParameter,
        direction: str = HIGHER,
        bound: float | data_types.RuntimeParameter | None = None,
        baseline_model: types.BaseChannel | None = None,
        checks: Mapping[str, types.BaseChannel] | None = None,
    ) -> None:
        """Constructs the component.

        Args:
            models: Stripper's output `model` of each candidate, by a name of letters, digits and underscores.
            evaluations: Evaluator's output `evaluation` of that model against the dense one, by the same names.
            metric: Name of the metric as Evaluator writes it, of all examples, not of a slice: the `name` that its
                eval_config gives the metric or, without one, TFMA's own, such as 'auc'.
            tolerance: How much worse than the dense model's it may be, 0 or more, in the metric's own unit.
            direction: Whether 'higher' or 'lower' values are better.
            bound: The worst value that is allowed, whatever the dense model's is; None for no limit.
            baseline_model: The dense model, stripped as the candidates are, so that the report shows its sizes.
            checks: BudgetCheck's output `report` on each model, by the same names; None without a budget.

        Raises:
            ValueError: There is no candidate; `models`, `evaluations` and `checks` have different names; a name or
                value is out of range.
            TypeError: One of them is of another type.
        """
        _check_names(models, evaluations, "evaluations")
        if checks is not None:
            _check_names(models, checks, "checks")
        # RuntimeParameters are checked by the run.
        known = {
            name: value
            for name, value in (("tolerance", tolerance), ("bound", bound))
            if not isinstance(value, data_types.RuntimeParameter)
        }
        goal = MetricGoal(**{"tolerance": 0.0, **known}, metric=metric, direction=direction)
        inputs = {model_key(name): channel for name, channel in models.items()}
        inputs |= {evaluation_key(name): channel for name, channel in evaluations.items()}
        inputs |= {check_key(name): channel for name, channel in (checks or {}).items()}
        spec = spec_of(models, checks is not None)(
            baseline_model=baseline_model,
            metric=goal.metric,
            tolerance=float(goal.tolerance) if "tolerance" in known else tolerance,
            direction=goal.direction,
            bound=float(bound) if isinstance(bound, int) else bound,
            model=types.Channel(type=standard_artifacts.Model),
            blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            report=types.Channel(type=PruningReport),
            **inputs,
        )
        super().__init__(spec=spec)


def _check_names(models: Mapping[str, types.BaseChannel], others: Mapping[str, types.BaseChannel], what: str) -> None:
    for name in (*models, *others):
        check_name(name)
    if not models:
        raise ValueError("models must have at least one candidate, got none: give SparsitySelector one or more.")
    if set(models) != set(others):
        differing = ", ".join(map(repr, sorted(set(models) ^ set(others))))
        raise ValueError(f"models and {what} must have the same names, but only one of them has {differing}.")
