"""MaskUpdate: computes new masks from the weights and their gradient states."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from . import gradient_state, naming
from .compilation import compiled_if_large
from .hparams import PruningHParams
from .ranking.allocation import Allocation, allocation
from .ranking.criteria import Criterion, WeightChangeCriterion, criterion_of
from .ranking.granularity import Elements, Granularity, granularities
from .ranking.n_of_m import NOfM
from .ranking.regrowth import regrown_masks
from .ranking.schedule import CosineSchedule, ExternalSparsity, SparsitySource, schedule_of
from .ranking.selection import Scores
from .share import Share
from .weight_state import WeightState

# XLA may treat smaller numbers as zero.
SMALLEST = float(np.finfo(np.float32).smallest_normal)


class MaskUpdate:
    """Scores a set of weights, shares out the sparsity among them, and updates their masks."""

    def __init__(
        self,
        hparams: PruningHParams,
        paths: Sequence[str],
        states: Sequence[WeightState],
        sparsity: SparsitySource | None = None,
    ) -> None:
        """Takes the weights. Raises the errors that `Pruning` documents.

        Args:
            hparams: The hyperparameters.
            paths: The weights' names.
            states: Their states.
            sparsity: Replaces the schedule.
        """
        self._hparams = hparams
        self._paths = paths
        self._states = states
        self._criterion = criterion_of(hparams)
        shapes = [tuple(state.weight.shape) for state in states]
        self._granularities = granularities(hparams, paths, shapes)
        if hparams.run_length:
            sparsities = (
                schedule_of(hparams, hparams.target_sparsity) if sparsity is None else ExternalSparsity(sparsity)
            )
            self._allocation: Allocation = NOfM(hparams, paths, shapes, sparsities)
        else:
            units = [granularity.units for granularity in self._granularities]
            self._allocation = allocation(hparams, paths, shapes, units, sparsity)
        self._check_regrowth()

    @property
    def criterion(self) -> Criterion:
        """What scores the weights."""
        return self._criterion

    @property
    def parts(self) -> list[list[int]]:
        """Indices of the weights whose sparsity holds for their sum."""
        return self._allocation.parts

    def shares(self, step: int) -> list[Share]:
        """For each of `parts`, what the masks keep, and what the sparsity of a step asks for."""
        kept = [
            int(tf.math.count_nonzero(granularity.any(tf.cast(state.mask, tf.float32))))
            for granularity, state in zip(self._granularities, self._states, strict=True)
        ]
        return [
            Share(
                members=tuple(part),
                counted="units",
                total=self._units(part),
                kept=sum(kept[index] for index in part),
                least=asked,
                most=asked,
            )
            for part, asked in zip(self.parts, self._asked(step), strict=True)
        ]

    def sparsity_at(self, step: int) -> float:
        """Fraction of zeros, in all weights together, that the sparsity of a step asks for.

        Units of different sizes, such as blocks at an edge, count as equal within a part.
        """
        kept = 0.0
        for part, units_kept in zip(self.parts, self._asked(step), strict=True):
            kept += sum(self._states[index].size for index in part) * units_kept / self._units(part)
        return 1.0 - kept / sum(state.size for state in self._states)

    def reached(self) -> float:
        """Fraction of zeros in the masks of all weights together."""
        return 1.0 - sum(int(state.kept()) for state in self._states) / sum(state.size for state in self._states)

    def _asked(self, step: int) -> list[int]:
        """For each of `parts`, how many units the sparsity of a step keeps."""
        return [int(kept) for kept in self._allocation.kept(step)]

    def _units(self, part: Sequence[int]) -> int:
        return sum(self._granularities[index].units for index in part)

    def scores(self, index: int) -> tf.Tensor:
        """Scores of the units of one weight as they are now, float32. Pruned units without `apply_mask` have zero."""
        return self._scores(self._states[index], self._granularities[index])

    def update(self, step: tf.Tensor, regrow: bool = True) -> None:
        """Gives every weight the mask, and the threshold, of `step`.

        Args:
            step: int64 scalar.
            regrow: Whether pruned weights may come back if `hparams.regrow` is set.
        """
        if isinstance(self._criterion, WeightChangeCriterion):
            for state in self._states:
                observe_change(self._criterion, state, self._hparams.gradient_decay_rate)
        units = list(zip(self._states, self._granularities, strict=True))
        if self._hparams.regrow and regrow:
            masks = self._regrown_masks([self._scores(*unit) for unit in units], step)
        else:
            masks = self._allocation.masks([self._scores_to_rank(*unit) for unit in units], step, tf.bool)
        for (state, granularity), (mask, threshold) in zip(units, masks, strict=True):
            state.mask.assign(granularity.expand(mask))
            state.threshold.assign(threshold)

    def zeros(self) -> list[tf.Tensor]:
        """The masks that the weights' own zeros make, bool: those of the units in which every weight is zero.

        A weight under `apply_mask` keeps its mask.
        """
        return [
            tf.convert_to_tensor(state.mask)
            if state.masked_forward
            else tf.cast(granularity.expand(granularity.any(tf.cast(state.weight != 0, tf.float32))), tf.bool)
            for state, granularity in zip(self._states, self._granularities, strict=True)
        ]

    def _regrown_masks(self, scores: list[tf.Tensor], step: tf.Tensor) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """As `Allocation.masks`, but some of the units are chosen by their gradients."""
        self._check_regrowth()
        hparams = self._hparams
        fraction = CosineSchedule(hparams.regrow_fraction, 0.0, hparams.begin_pruning_step, hparams.regrow_end_step)
        live, gradients = [], []
        for state, granularity in zip(self._states, self._granularities, strict=True):
            live.append(granularity.any(tf.cast(state.mask, tf.float32)))
            gradient = granularity.pool(tf.abs(tf.convert_to_tensor(state.gradient)))
            # The last optimizer step has moved pruned weights too. A unit in which it left a zero must not come back:
            # the weight would be sparser than asked for.
            still = granularity.any(tf.cast(tf.abs(tf.cast(state.weight, tf.float32)) < SMALLEST, tf.float32))
            gradients.append(tf.where((still == 0) & (gradient >= SMALLEST), gradient, 0.0))
        return regrown_masks(self._allocation, scores, live, gradients, fraction(step), step)

    def _check_regrowth(self) -> None:
        masked = [path for path, state in zip(self._paths, self._states, strict=True) if state.masked_forward]
        if self._hparams.regrow and masked:
            raise ValueError(
                f"regrow={self._hparams.regrow!r} needs the gradients of pruned weights, and apply_mask makes those of "
                f"{', '.join(masked)} zero. Use the weights themselves in the forward pass, or leave out regrow."
            )

    def _scores_to_rank(self, state: WeightState, granularity: Granularity) -> tf.Tensor | Scores:
        """Scores of the units of one weight, float32; if they can be scored in parts, what they are computed from."""
        if not (self._criterion.elementwise and isinstance(granularity, Elements)):
            return self._scores(state, granularity)
        weight, average, mask = self._values(state)
        formula = _element_formula(self._criterion, average is None, mask is None)
        return Scores(formula, tuple(value for value in (weight, average, mask) if value is not None))

    def _scores(self, state: WeightState, granularity: Granularity) -> tf.Tensor:
        """Scores of the units of one weight, float32."""
        return _compiled_scores(self._criterion, granularity, *reversed(self._values(state)))

    def _values(self, state: WeightState) -> tuple[tf.Tensor, tf.Tensor | None, tf.Tensor | None]:
        """Weight, gradient state and mask of one weight; None for what its scores do not need."""
        return (
            tf.convert_to_tensor(state.weight),
            tf.convert_to_tensor(state.gradient) if self._criterion.has_average else None,
            None if state.masked_forward else tf.convert_to_tensor(state.mask),
        )


def observe_change(criterion: WeightChangeCriterion, state: WeightState, decay_rate: float) -> None:
    """Adds a sample of a weight's change to its average, and saves the weight for the next sample."""
    weight = tf.cast(state.weight, tf.float32)
    old_weights = [state.old_weight]
    if naming.OLD_OLD_WEIGHT in criterion.variables:
        old_weights.append(state.old_old_weight)
    sample = criterion.sample(weight, *(tf.convert_to_tensor(old) for old in old_weights))
    state.gradient.assign(gradient_state.moving_average(state.gradient, sample, decay_rate))
    for older, newer in zip(reversed(old_weights), [*reversed(old_weights[:-1]), weight], strict=True):
        older.assign(newer)


def _scores(
    criterion: Criterion,
    granularity: Granularity,
    mask: tf.Tensor | None,
    average: tf.Tensor | None,
    weight: tf.Tensor,
) -> tf.Tensor:
    scores = criterion.unit_scores(tf.cast(weight, tf.float32), average, granularity.pool)
    if mask is None:
        return scores
    # A kept weight may have the score zero, for lack of a gradient say. It must still rank above pruned weights: in a
    # tie with them, a pruned one might be kept in its place.
    return tf.maximum(scores, granularity.any(tf.cast(mask, tf.float32)) * SMALLEST)


_compiled_scores = compiled_if_large(_scores)


@functools.cache
def _element_formula(criterion: Criterion, without_average: bool, without_mask: bool) -> Callable[..., tf.Tensor]:
    """`_scores` of single weights, as a function of the tensors that there are: weight, average, mask."""

    def scores(weight: tf.Tensor, *others: tf.Tensor) -> tf.Tensor:
        average = None if without_average else others[0]
        mask = None if without_mask else others[-1]
        # The number of units is not read.
        return _scores(criterion, Elements(0), mask, average, weight)

    return scores
