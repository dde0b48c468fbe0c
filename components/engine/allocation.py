"""Allocation: how the sparsity asked for is shared out among the weights."""

from collections.abc import Sequence
from typing import Protocol

import tensorflow as tf

from .hparams import PruningHParams
from .schedule import PolynomialSchedule, kept_count
from .selection import top_k_mask


class Allocation(Protocol):
    """Turns the scores of all weights into their masks."""

    def masks(self, scores: Sequence[tf.Tensor], step: tf.Tensor) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """Masks at `step`.

        Args:
            scores: One non-negative floating tensor a weight.
            step: int64 scalar.

        Returns:
            For each weight its mask (float32, 0 or 1, shape of the scores) and threshold (float32 scalar, the score of
            the last kept weight).
        """
        ...

    def kept(self, step: int | tf.Tensor) -> list[tf.Tensor]:
        """The int64 numbers of kept weights that `step` asks for: one a weight, or one for all of them together."""
        ...


class Uniform:
    """Each weight has its own sparsity: the target, or the one `weight_sparsity_map` gives it."""

    def __init__(self, hparams: PruningHParams, paths: Sequence[str], sizes: Sequence[int]) -> None:
        self._sizes = sizes
        self._seed = hparams.seed
        self._schedules = [_schedule(hparams, target) for target in _mapped_targets(hparams, paths)]
        for path, size, schedule in zip(paths, sizes, self._schedules, strict=True):
            if not int(kept_count(size, schedule.target_sparsity)):
                raise ValueError(
                    f"A sparsity of {schedule.target_sparsity} would leave none of the {size} weights of {path}: the "
                    f"layer would be dead. Lower target_sparsity, give the weight a lower one in weight_sparsity_map, "
                    "leave it out with exclude, or use allocation='global'."
                )

    def masks(self, scores: Sequence[tf.Tensor], step: tf.Tensor) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """See `Allocation.masks`."""
        return [
            top_k_mask(score, kept, _seed(self._seed, index, step))
            for index, (score, kept) in enumerate(zip(scores, self.kept(step), strict=True))
        ]

    def kept(self, step: int | tf.Tensor) -> list[tf.Tensor]:
        """See `Allocation.kept`."""
        return [kept_count(size, schedule(step)) for size, schedule in zip(self._sizes, self._schedules, strict=True)]


class Global:
    """All weights are ranked together; the sparsity holds for their sum."""

    def __init__(self, hparams: PruningHParams, paths: Sequence[str], sizes: Sequence[int]) -> None:
        self._size = sum(sizes)
        self._seed = hparams.seed
        self._schedule = _schedule(hparams, hparams.target_sparsity)
        if not int(kept_count(self._size, hparams.target_sparsity)):
            raise ValueError(
                f"target_sparsity={hparams.target_sparsity} would leave none of the {self._size} weights of "
                f"{', '.join(paths)}. Lower it."
            )

    def masks(self, scores: Sequence[tf.Tensor], step: tf.Tensor) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """See `Allocation.masks`."""
        sizes = [score.shape.num_elements() for score in scores]
        ranked = tf.concat([tf.reshape(tf.cast(score, tf.float32), [-1]) for score in scores], axis=0)
        mask, threshold = top_k_mask(ranked, self.kept(step)[0], _seed(self._seed, 0, step))
        return [
            (tf.reshape(part, score.shape), threshold)
            for part, score in zip(tf.split(mask, sizes), scores, strict=True)
        ]

    def kept(self, step: int | tf.Tensor) -> list[tf.Tensor]:
        """See `Allocation.kept`."""
        return [kept_count(self._size, self._schedule(step))]


_ALLOCATIONS: dict[str, type[Uniform] | type[Global]] = {"uniform": Uniform, "global": Global}


def allocation(hparams: PruningHParams, paths: Sequence[str], sizes: Sequence[int]) -> Allocation:
    """The allocation that `hparams` names.

    Args:
        hparams: The hyperparameters.
        paths: The weights' paths.
        sizes: The weights' numbers of elements, in the order of `paths`.

    Raises:
        ValueError: A regex of `weight_sparsity_map` matches no weight, two match one, or a weight would lose all.
    """
    return _ALLOCATIONS[hparams.allocation](hparams, paths, sizes)


def _schedule(hparams: PruningHParams, target_sparsity: float) -> PolynomialSchedule:
    return PolynomialSchedule(
        initial_sparsity=hparams.initial_sparsity,
        target_sparsity=target_sparsity,
        begin_step=hparams.sparsity_function_begin_step,
        end_step=hparams.sparsity_function_end_step,
        exponent=hparams.sparsity_function_exponent,
    )


def _mapped_targets(hparams: PruningHParams, paths: Sequence[str]) -> list[float]:
    for pattern, _ in hparams.weight_sparsities:
        if not any(pattern.search(path) for path in paths):
            raise ValueError(
                f"weight_sparsity_map holds {pattern.pattern!r}, which matches none of the pruned weights "
                f"{list(paths)}."
            )
    targets = []
    for path in paths:
        matches = [(pattern.pattern, target) for pattern, target in hparams.weight_sparsities if pattern.search(path)]
        if len(matches) > 1:
            raise ValueError(
                f"{path} matches {len(matches)} patterns of weight_sparsity_map: "
                f"{', '.join(repr(pattern) for pattern, _ in matches)}. Let one pattern match a weight."
            )
        targets.append(matches[0][1] if matches else hparams.target_sparsity)
    return targets


def _seed(seed: int, index: int, step: tf.Tensor) -> tf.Tensor:
    """Seed of one weight's tie-breaking at one step, int64 of shape [2]."""
    return tf.stack([tf.constant(seed + index, tf.int64), tf.cast(step, tf.int64)])
