"""TrainingRecorder: records the history of a pruned training."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from ..pruning import Pruning
from ..shown import only_shown
from ..weight_state import WeightState
from .histogram import Histogram
from .thinned_series import ThinnedSeries
from .training_history import MetricsPoint, SparsityPoint, StepRange, TrainingHistory, WeightHistory, extended

_SPARSITY = "sparsity"  # has a series of its own


class TrainingRecorder:
    """Records the history of one model's training, over all its `fit`s.

    Points are computed for a bounded number of batches. Histograms are computed before the first step and at the end of
    each `fit`. An error is logged, and what it concerns is missing in the history.
    """

    def __init__(self) -> None:
        self._first_step: int | None = None
        self._last_step = 0
        self._last_update = 0
        self._updates: list[StepRange] = []
        self._sparsity: ThinnedSeries[SparsityPoint] = ThinnedSeries()
        self._metrics: ThinnedSeries[MetricsPoint] = ThinnedSeries()
        self._epochs: ThinnedSeries[MetricsPoint] = ThinnedSeries()
        self._before: dict[WeightState, Histogram] = {}
        self._scores: dict[WeightState, Histogram] = {}

    @only_shown
    def begin(self, pruning: Pruning, step: int) -> None:
        """Records the values of the weights that were not recorded before.

        Args:
            pruning: The pruning, after anything was loaded from a file.
            step: Optimizer steps taken so far.
        """
        if self._first_step is None:
            self._first_step = self._last_step = step
            self._last_update = int(tf.convert_to_tensor(pruning.last_mask_update_step))
        for state in pruning.states:
            if state not in self._before:
                self._before[state] = Histogram.of(_value(state))

    def wants_metrics(self) -> bool:
        """Counts a batch; returns whether `add_metrics` is to be called for it."""
        return self._metrics.due()

    @only_shown
    def add_metrics(self, step: int, logs: Mapping[str, Any] | None) -> None:
        """Records loss and metrics after a batch."""
        self._metrics.append(_metrics_point(step, logs))

    @only_shown
    def add_epoch(self, step: int, logs: Mapping[str, Any] | None) -> None:
        """Records loss and metrics after an epoch."""
        point = _metrics_point(step, logs)
        if self._epochs.due():
            self._epochs.append(point)
        else:
            self._epochs.end_with(point)

    @only_shown
    def add_mask_updates(self, pruning: Pruning) -> None:
        """Records the mask updates since the last call.

        One call of a training function may make several, of which only the last is visible. The others follow from it:
        every update takes place when it is due.
        """
        last = int(tf.convert_to_tensor(pruning.last_mask_update_step))
        known = max(self._last_update, self._first_step or 0)
        if last <= known:
            return
        steps = pruning.hparams.mask_updates.between(known, last)
        self._updates = extended(self._updates, steps)
        self._last_update = last
        if any([self._sparsity.due() for _ in steps]):  # a list, so that all are counted
            self._sparsity.append(SparsityPoint(last, pruning.sparsity_asked(last), pruning.reached()))

    @only_shown
    def end_steps(self, pruning: Pruning) -> None:
        """Records the scores after the last step of a `fit`, before the masks are brought to the final sparsity."""
        for index, state in enumerate(pruning.states):
            self._scores[state] = Histogram.of_scores(pruning.scores(index).numpy())

    @only_shown
    def end(self, pruning: Pruning, step: int, logs: Mapping[str, Any] | None) -> None:
        """Records the step and the sparsity at which a `fit` ended."""
        self._last_step = step
        sparsity, metrics = self._sparsity.points, self._metrics.points
        if not sparsity or sparsity[-1].step != step:
            self._sparsity.end_with(SparsityPoint(step, pruning.sparsity_asked(step), pruning.reached()))
        if logs and metrics and metrics[-1].step != step:
            # Without the validation's metrics, which belong to the epochs.
            self._metrics.end_with(
                _metrics_point(step, {name: logs[name] for name in metrics[-1].values if name in logs})
            )

    def history(self, pruning: Pruning) -> TrainingHistory:
        """What was recorded, with the weights as they are now."""
        return TrainingHistory(
            first_step=self._first_step or 0,
            last_step=self._last_step,
            mask_updates=tuple(self._updates),
            sparsity=self._sparsity.points,
            metrics=self._metrics.points,
            epochs=self._epochs.points,
            weights=self._weights(pruning) or (),
        )

    @only_shown
    def _weights(self, pruning: Pruning) -> tuple[WeightHistory, ...]:
        return tuple(
            WeightHistory(
                path=path,
                shape=tuple(state.weight.shape),
                before=self._before[state],
                after=Histogram.of(_value(state, masked=True)),
                scores=self._scores.get(state),
                threshold=_finite(float(tf.convert_to_tensor(state.threshold))),
            )
            for path, state in zip(pruning.paths, pruning.states, strict=True)
        )


def _value(state: WeightState, masked: bool = False) -> np.ndarray:
    value = state.weight.numpy()
    return value * state.mask.numpy() if masked and state.masked_forward else value


def _metrics_point(step: int, logs: Mapping[str, Any] | None) -> MetricsPoint:
    scalars = {name: float(value) for name, value in (logs or {}).items() if np.ndim(value) == 0 and name != _SPARSITY}
    return MetricsPoint(step, {name: value for name, value in scalars.items() if math.isfinite(value)})


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
