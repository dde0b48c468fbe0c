"""TrainingHistory: the history of one pruned training, of bounded size."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from .histogram import Histogram


@dataclasses.dataclass(frozen=True)
class MetricsPoint:
    """Loss and metrics at one step.

    Attributes:
        step: Optimizer steps taken.
        values: Finite scalars by the names that Keras gives them.
    """

    step: int
    values: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class SparsityPoint:
    """Sparsity of all pruned weights together at one step, fractions.

    Attributes:
        step: Optimizer steps taken.
        asked: What the schedule asks for at the step.
        reached: Zeros in the masks.
    """

    step: int
    asked: float
    reached: float


@dataclasses.dataclass(frozen=True)
class StepRange:
    """Steps at equal distances.

    Attributes:
        first: The first.
        last: The last; equal to `first` if there is only one.
        every: The distance from one to the next.
    """

    first: int
    last: int
    every: int

    def steps(self) -> range:
        """The steps."""
        return range(self.first, self.last + 1, self.every)


@dataclasses.dataclass(frozen=True)
class WeightHistory:
    """How the values of one pruned weight are spread.

    Attributes:
        path: Its name in the model, which no other pruned weight has.
        shape: Its shape.
        before: Its values before the first recorded step, or just after it if that step built the model.
        after: Its values after the training; pruned ones are among the zeros.
        scores: The scores of its units (weights, blocks, channels) at the last step, which the last masks are made
            from. Units that were pruned before have the score zero, except under `apply_mask`. None if no step was
            recorded.
        threshold: Score of the last unit kept at the last mask update; None if it is not finite.
    """

    path: str
    shape: tuple[int, ...]
    before: Histogram
    after: Histogram
    scores: Histogram | None
    threshold: float | None


@dataclasses.dataclass(frozen=True)
class TrainingHistory:
    """The history of a pruned training, as far as one process saw it.

    Each series has a bounded number of evenly spread points, and its last.

    Attributes:
        first_step: Optimizer steps taken when recording began; above 0 in a training that was resumed from a file.
        last_step: Optimizer steps taken when it ended.
        mask_updates: The steps of all mask updates in between, in order.
        sparsity: At mask updates and at the end.
        metrics: As Keras reports them after a batch: means since the epoch began.
        epochs: As Keras reports them after an epoch, validation included.
        weights: The pruned weights, in the order of `Pruning.states`.
    """

    first_step: int
    last_step: int
    mask_updates: tuple[StepRange, ...]
    sparsity: tuple[SparsityPoint, ...]
    metrics: tuple[MetricsPoint, ...]
    epochs: tuple[MetricsPoint, ...]
    weights: tuple[WeightHistory, ...]

    @property
    def mask_update_count(self) -> int:
        """How many mask updates there were."""
        return sum(len(each.steps()) for each in self.mask_updates)

    def to_dict(self) -> dict[str, Any]:
        """A dict of the types that JSON has."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "TrainingHistory":
        """Reads what `to_dict` wrote, also after JSON."""
        return cls(
            first_step=fields["first_step"],
            last_step=fields["last_step"],
            mask_updates=tuple(StepRange(**each) for each in fields["mask_updates"]),
            sparsity=tuple(SparsityPoint(**each) for each in fields["sparsity"]),
            metrics=tuple(MetricsPoint(**each) for each in fields["metrics"]),
            epochs=tuple(MetricsPoint(**each) for each in fields["epochs"]),
            weights=tuple(_weight_history(each) for each in fields["weights"]),
        )


def extended(ranges: Iterable[StepRange], steps: Iterable[int]) -> list[StepRange]:
    """`ranges` followed by `steps`, which come after them, in as few ranges as possible."""
    result = list(ranges)
    for step in steps:
        last = result[-1] if result else None
        if last is not None and (last.first == last.last or step - last.last == last.every):
            result[-1] = StepRange(last.first, step, step - last.last)
        else:
            result.append(StepRange(step, step, 1))
    return result


def _weight_history(fields: Mapping[str, Any]) -> WeightHistory:
    histograms = {
        key: None if fields[key] is None else Histogram.from_dict(fields[key]) for key in ("before", "after", "scores")
    }
    return WeightHistory(**{**fields, **histograms, "shape": tuple(fields["shape"])})
