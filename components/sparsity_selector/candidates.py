"""Reads the candidates of a sweep from what ML Metadata has of them."""

import json
import math
from collections.abc import Mapping
from typing import Any

from .. import properties
from ..budget import BudgetVerdict
from ..sweep import MetricGoal, Sweep, SweepBaseline, SweepCandidate
from .evaluation import read_metric

# Largest relative difference between evaluations of one model: Beam sums in any order, and rounding depends on batch
# sizes.
_SAME_BASELINE = 1e-4


def read_sweep(
    goal: MetricGoal,
    models: Mapping[str, Mapping[str, Any]],
    evaluations: Mapping[str, str],
    baseline_model: Mapping[str, Any] | None = None,
    checks: Mapping[str, Mapping[str, Any]] | None = None,
) -> Sweep:
    """Reads a sweep, the candidates in the order of their names.

    The dense model's metric is that of the first one's evaluation.

    Args:
        goal: How good a candidate must be.
        models: Custom properties of each candidate's stripped model, by name.
        evaluations: The URI of each one's evaluation, by the same names.
        baseline_model: Custom properties of the dense model, stripped; None if its sizes are unknown.
        checks: Custom properties of BudgetCheck's report on each, by the same names; None without a budget.

    Raises:
        ValueError: An evaluation cannot be read; a model lacks a property that PruningTrainer or Stripper writes, or a
            report one of BudgetCheck; or the candidates were not compared with the same model.
    """
    candidates, baselines = [], {}
    for name, model in sorted(models.items()):
        evaluated = read_metric(evaluations[name], goal.metric)
        baselines[name] = evaluated.baseline
        _property(model, name, properties.SPARSITY)
        candidates.append(
            SweepCandidate(
                name=name,
                sparsity=properties.exact_sparsity(model),
                metric=evaluated.candidate,
                stripped_bytes=int(_property(model, name, properties.STRIPPED_BYTES)),
                gzipped_bytes=int(_property(model, name, properties.GZIPPED_BYTES)),
                hparams=model.get(properties.HPARAMS, ""),
                check=None if checks is None else read_verdict(name, checks[name]),
            )
        )
    first = next(iter(baselines.values()))
    if not all(math.isclose(value, first, rel_tol=_SAME_BASELINE) for value in baselines.values()):
        values = ", ".join(f"{value!r} in {name}" for name, value in baselines.items())
        raise ValueError(
            f"The {goal.metric} of the dense model differs: {values}. Give all Evaluators the same baseline_model and "
            "examples."
        )
    return Sweep(goal, _baseline(first, baseline_model), tuple(candidates))


def read_verdict(name: str, report: Mapping[str, Any]) -> BudgetVerdict:
    """Reads what BudgetCheck says of a model.

    Args:
        name: The candidate's name, for the error.
        report: Custom properties of its report.

    Raises:
        ValueError: The report has no verdict.
    """
    try:
        return BudgetVerdict.from_dict(json.loads(report[properties.BUDGET_VERDICT]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"The check of {name!r} has no property {properties.BUDGET_VERDICT!r} that can be read ({error!r}); "
            "expected the output 'report' of BudgetCheck."
        ) from error


def _baseline(metric: float, model: Mapping[str, Any] | None) -> SweepBaseline:
    if model is None:
        return SweepBaseline(metric)
    return SweepBaseline(
        metric,
        int(_property(model, "baseline_model", properties.STRIPPED_BYTES)),
        int(_property(model, "baseline_model", properties.GZIPPED_BYTES)),
    )


def _property(model: Mapping[str, Any], name: str, key: str) -> float:
    if key not in model:
        raise ValueError(
            f"The model of {name!r} has no property {key!r}; expected what Stripper puts out, given a model of "
            "PruningTrainer or, as baseline_model, the dense one."
        )
    return model[key]
