"""Reads the candidates of a sweep from their artifacts."""

from collections.abc import Mapping

from tfx import types

from .. import properties
from ..sweep import MetricGoal, Sweep, SweepBaseline, SweepCandidate
from .evaluation import read_metric


def read_sweep(
    goal: MetricGoal,
    models: Mapping[str, types.Artifact],
    evaluations: Mapping[str, types.Artifact],
    baseline_model: types.Artifact | None = None,
) -> Sweep:
    """Reads a sweep.

    Args:
        goal: How good a candidate must be.
        models: The stripped model of each candidate, by name.
        evaluations: The evaluation of each, by the same names.
        baseline_model: The dense model, stripped; None for not to tell its sizes.

    Raises:
        ValueError: An evaluation cannot be read; a model lacks a property that PruningTrainer or Stripper writes; or
            the candidates were not compared with the same model.
    """
    candidates, baselines = [], {}
    for name, model in models.items():
        evaluated = read_metric(evaluations[name].uri, goal.metric)
        baselines[name] = evaluated.baseline
        candidates.append(
            SweepCandidate(
                name=name,
                sparsity=float(_property(model, name, properties.SPARSITY)),
                metric=evaluated.candidate,
                stripped_bytes=int(_property(model, name, properties.STRIPPED_BYTES)),
                gzipped_bytes=int(_property(model, name, properties.GZIPPED_BYTES)),
                hparams=model.get_custom_property(properties.HPARAMS) or "",
            )
        )
    if len(set(baselines.values())) > 1:
        values = ", ".join(f"{value!r} in {name}" for name, value in baselines.items())
        raise ValueError(
            f"The {goal.metric} of the dense model differs: {values}. Give all Evaluators the same baseline_model and "
            "examples."
        )
    return Sweep(goal, _baseline(next(iter(baselines.values())), baseline_model), tuple(candidates))


def _baseline(metric: float, model: types.Artifact | None) -> SweepBaseline:
    if model is None:
        return SweepBaseline(metric)
    return SweepBaseline(
        metric,
        int(_property(model, "baseline_model", properties.STRIPPED_BYTES)),
        int(_property(model, "baseline_model", properties.GZIPPED_BYTES)),
    )


def _property(model: types.Artifact, name: str, key: str) -> float:
    value = model.get_custom_property(key)
    if value is None:
        raise ValueError(
            f"The model {name!r} in {model.uri} has no property {key!r}; expected the output of a Stripper, and in it "
            "a model of PruningTrainer unless it is the dense one."
        )
    return value
