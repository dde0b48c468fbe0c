"""RunFigures: what a pipeline run came to: the metric, size and speed of its model, and the verdict."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from .. import properties
from .artifacts import MODEL, values
from .store_reader import StoreReader, last_part

_EVALUATION = "ModelEvaluation"
_BLESSING = "ModelBlessing"
_BLESSED = "blessed"  # as TFX's Evaluator writes it, 1 or 0


@dataclasses.dataclass(frozen=True)
class RunFigures:
    """Figures of the last stripped model of a run. Each is None if the store does not have it.

    Attributes:
        metric: Name of the metric that decides.
        metric_value: The model's.
        baseline_metric_value: The dense model's.
        sparsity: Zeros in the pruned weights, a fraction of them.
        stripped_bytes: The SavedModel, all its files.
        milliseconds: The median time of a call, where the run measured it.
        dense_milliseconds: The dense model's.
        latency_batch: Number of examples of that call.
        verdict: 'blessed' or 'refused'.
    """

    metric: str | None = None
    metric_value: float | None = None
    baseline_metric_value: float | None = None
    sparsity: float | None = None
    stripped_bytes: int | None = None
    milliseconds: float | None = None
    dense_milliseconds: float | None = None
    latency_batch: int | None = None
    verdict: str | None = None

    @classmethod
    def of(cls, reader: StoreReader, executions: Iterable[int]) -> "RunFigures":
        """Reads them from the outputs of the executions of a run.

        Metric and latency are those of the run's evaluation, where `tfx-pruning run` writes them, or else of the model,
        where SparsitySelector does.

        Args:
            reader: Reader of the store.
            executions: Ids of the run's executions.
        """
        uses = reader.outputs(executions).values()
        artifacts = reader.artifacts(sorted(use.artifact_id for each in uses for use in each))
        found = [(last_part(artifact.type), values(artifact)) for artifact in artifacts.values()]
        model = _last(found, MODEL, properties.STRIPPED_BYTES)
        measured = _last(found, _EVALUATION, properties.METRIC_VALUE) or model
        blessing = _last(found, _BLESSING, _BLESSED)
        return cls(
            metric=measured.get(properties.METRIC),
            metric_value=_number(measured, properties.METRIC_VALUE),
            baseline_metric_value=_number(measured, properties.BASELINE_METRIC_VALUE),
            sparsity=properties.exact_sparsity(model) if properties.SPARSITY in model else None,
            stripped_bytes=_whole(model, properties.STRIPPED_BYTES),
            milliseconds=_number(measured, properties.MILLISECONDS),
            dense_milliseconds=_number(measured, properties.DENSE_MILLISECONDS),
            latency_batch=_whole(measured, properties.LATENCY_BATCH),
            verdict=("blessed" if blessing[_BLESSED] else "refused") if blessing else None,
        )


def _last(found: Iterable[tuple[str, Mapping[str, Any]]], kind: str, key: str) -> Mapping[str, Any]:
    """The properties of the last artifact of a type that has `key`; none if there is none."""
    of_kind = [each for name, each in found if name == kind and key in each]
    return of_kind[-1] if of_kind else {}


def _number(found: Mapping[str, Any], key: str) -> float | None:
    return float(found[key]) if key in found else None


def _whole(found: Mapping[str, Any], key: str) -> int | None:
    return int(found[key]) if key in found else None
