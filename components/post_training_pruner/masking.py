"""Masking: which weights are kept, of those that are pruned, at the target sparsity."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ..engine.hparams import PruningHParams
from ..engine.ranking.allocation import Allocation, allocation
from ..engine.ranking.granularity import granularities
from ..engine.ranking.n_of_m import NOfM
from ..engine.ranking.schedule import schedule_of
from ..engine.ranking.selection import top_k_mask
from .saved_weights import SavedWeight


class Masking:
    """Ranks the units of some weights, as a mask update at the end of a training does.

    Attributes:
        kept: For each part of the allocation, how many units it keeps.
    """

    def __init__(self, hparams: PruningHParams, weights: Sequence[SavedWeight]) -> None:
        """Takes the weights.

        Raises:
            ValueError: A regex of a map matches no weight, a weight would lose all, or N:M sparsity is for none of its
                rank.
        """
        self._hparams = hparams
        self._weights = weights
        names, shapes = [each.name for each in weights], [each.shape for each in weights]
        self._granularities = granularities(hparams, names, shapes)
        self._step = tf.constant(hparams.target_step, tf.int64)
        self._allocation = self._allocation_of(names, shapes)
        self.kept = [int(each) for each in self._allocation.kept(self._step)]

    def _allocation_of(self, names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> Allocation:
        if self._hparams.run_length:
            return NOfM(self._hparams, names, shapes, schedule_of(self._hparams, self._hparams.target_sparsity))
        units = [granularity.units for granularity in self._granularities]
        return allocation(self._hparams, names, shapes, units)

    def check_alone(self) -> None:
        """Checks that every weight has a number of its own to keep.

        Raises:
            ValueError: Weights are ranked together.
        """
        if any(len(part) > 1 for part in self._allocation.parts):
            raise ValueError(
                f"prune_option={self._hparams.prune_option!r} prunes one layer after the other, so that weights "
                "cannot be ranked together. Use allocation='uniform', 'erk' or 'sensitivity', and no groups of "
                "several weights."
            )

    def masks(self, scores: Sequence[np.ndarray], progress: float = 1.0) -> list[np.ndarray]:
        """The masks of all weights, from their scores.

        Args:
            scores: For each weight what `Criterion.scores` gives.
            progress: How far on the way to the target the masks are, in (0, 1]; the densities fall geometrically.

        Returns:
            Bool arrays of the weights' shapes.
        """
        pooled = [
            granularity.pool(tf.where(score > 0, score, 0.0))
            for granularity, score in zip(self._granularities, map(tf.constant, scores), strict=True)
        ]
        counts = self._counts(progress)
        found = self._allocation.best(pooled, counts, self._step, tf.bool, floors=True)
        return [self._expanded(index, mask) for index, (mask, _) in enumerate(found)]

    def _counts(self, progress: float) -> list[tf.Tensor]:
        """How many units, or weights of each run, the parts keep on the way to the target."""
        found = []
        for part, asked in zip(self._allocation.parts, self._allocation.counts(self._step), strict=True):
            whole = self._hparams.run_length or sum(self._granularities[index].units for index in part)
            count = max(int(asked), round(whole * (int(asked) / whole) ** progress)) if progress < 1.0 else int(asked)
            found.append(tf.constant(count, asked.dtype))
        return found

    def levels(self, index: int, share: float) -> list[int]:
        """The levels through which a weight is pruned in rounds.

        Args:
            index: The weight.
            share: The fraction of what is left that one round keeps, in (0, 1).

        Returns:
            How many units, or weights of each run, a round keeps; the last is the number asked for.
        """
        kept = int(self._allocation.counts(self._step)[index])
        if self._hparams.run_length:
            return list(range(self._hparams.run_length - 1, kept - 1, -1)) or [kept]
        found = [kept]
        while found[0] / share < self._granularities[index].units:
            found.insert(0, int(np.ceil(found[0] / share)))
        return found

    def density(self, index: int, level: int) -> float:
        """The fraction of a weight that a level keeps."""
        return level / (self._hparams.run_length or self._granularities[index].units)

    def at_level(self, index: int, scores: np.ndarray, level: int) -> np.ndarray:
        """The mask of one weight at a level; arguments and result as of `masks`."""
        pooled = self._granularities[index].pool(tf.constant(scores))
        if self._hparams.run_length:
            weight = self._weights[index]
            alone = self._allocation_of([weight.name], [weight.shape])
            ((mask, _),) = alone.best([pooled], [tf.constant(level)], self._step, tf.bool)
        else:
            mask, _ = top_k_mask(
                pooled, level, tf.stack([tf.constant(self._hparams.seed, tf.int64), self._step]), tf.bool
            )
        return self._expanded(index, mask)

    def check(self, masks: Sequence[np.ndarray]) -> None:
        """Raises a RuntimeError if masks keep other numbers than were asked for."""
        for part, asked in zip(self._allocation.parts, self.kept, strict=True):
            kept = sum(self._units_kept(index, masks[index]) for index in part)
            if kept != asked:
                names = ", ".join(self._weights[index].name for index in part)
                raise RuntimeError(
                    f"The masks of {names} keep {kept} units, expected {asked}. Please report this model."
                )

    def _units_kept(self, index: int, mask: np.ndarray) -> int:
        return int(tf.math.count_nonzero(self._granularities[index].any(tf.constant(mask, tf.float32))))

    def _expanded(self, index: int, mask: tf.Tensor) -> np.ndarray:
        shape = self._weights[index].shape
        return tf.reshape(self._granularities[index].expand(tf.cast(mask, tf.float32)), shape).numpy() > 0
