"""Allocation: how the sparsity asked for is shared out among the weights.

Units are ranked and counted: single weights, or the blocks or channels that a weight is divided into.
"""

import abc
import dataclasses
import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import tensorflow as tf

from .. import path_map
from ..hparams import PruningHParams
from .schedule import ExternalSparsity, SparsitySource, schedule_of
from .selection import Scores, top_k_masks
from .unit_count import UnitCount, kept_units

Shape = tuple[int, ...]

# The 63 bits of a non-negative float64 are nine such digits.
_DIGIT_BITS = 7


class Allocation(abc.ABC):
    """Turns the scores of all weights' units into their masks.

    Attributes:
        parts: For each entry of `kept()`, the indices of the weights that share this count, in order. The units of one
            part are ranked together.
    """

    def __init__(self, parts: list[list[int]], floors: Sequence[int], seed: int) -> None:
        """Takes the parts.

        Args:
            parts: See the attribute. Every weight is in one part.
            floors: For each weight how many units it keeps whatever the ranking says.
            seed: Seed of the random tie-breaking.
        """
        self.parts = parts
        self._floors = floors
        self._seed = seed

    @abc.abstractmethod
    def kept(self, step: int | tf.Tensor) -> list[tf.Tensor]:
        """The numbers of kept units that `step` asks for, int64 scalars, one for each of `parts`."""

    def masks(
        self, scores: Sequence[tf.Tensor | Scores], step: tf.Tensor, dtype: tf.DType = tf.float32
    ) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """Masks at `step`.

        Args:
            scores: For each weight its units' scores, non-negative and floating, of any shape; float32 as `Scores`.
            step: int64 scalar.
            dtype: Dtype of the masks.

        Returns:
            For each weight the mask of its units (0 or 1, shape of the scores) and its threshold (float32
            scalar, the score of the last unit kept of those it is ranked with).
        """
        return self.best(scores, self.counts(step), step, dtype, floors=True)

    def counts(self, step: int | tf.Tensor) -> list[tf.Tensor]:
        """How many units a ranking keeps at `step`, integer scalars, one for each of `parts`.

        The numbers of `kept`; if a part is ranked in runs, that of each run.
        """
        return self.kept(step)

    def best(
        self,
        scores: Sequence[tf.Tensor | Scores],
        counts: Sequence[tf.Tensor],
        step: tf.Tensor,
        dtype: tf.DType,
        floors: bool = False,
    ) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """Masks of the units with the largest scores.

        Args:
            scores: See `masks`.
            counts: How many to keep, as `counts` gives them.
            step: int64 scalar. Ties are broken at random by it and the seed.
            dtype: Dtype of the masks.
            floors: Whether the weights' floors hold.

        Returns:
            As `masks`.
        """
        # A part of one weight has no floor: the schedule's numbers are checked against it.
        floored = [index for part in self.parts if floors and len(part) > 1 for index in part if self._floors[index]]
        scores, of_floors = self._with_floors(scores, floored, step)
        ranked = top_k_masks(
            [[_of_one_dtype(scores[index], part) for index in part] for part in self.parts],
            tf.stack(counts),
            self._tie_seeds([part[0] for part in self.parts], step),
            dtype,
        )
        masks: dict[int, tuple[tf.Tensor, tf.Tensor]] = {}
        for part, (own, threshold) in zip(self.parts, ranked, strict=True):
            for index, mask in zip(part, own, strict=True):
                lowest = tf.minimum(threshold, of_floors[index]) if index in of_floors else threshold
                masks[index] = mask, lowest
        return [masks[index] for index in range(len(scores))]

    @property
    def floors(self) -> list[int]:
        """How many units each part keeps whatever its ranking says."""
        return [sum(self._floors[index] for index in part) if len(part) > 1 else 0 for part in self.parts]

    def _with_floors(
        self, scores: Sequence[tf.Tensor | Scores], floored: Sequence[int], step: tf.Tensor
    ) -> tuple[list[tf.Tensor | Scores], dict[int, tf.Tensor]]:
        """Scores in which the units that floors keep rank above all others, and the lowest score that each floor keeps.

        Args:
            scores: See `best`.
            floored: Indices of the weights whose floors hold.
            step: See `best`.
        """
        scores = list(scores)
        if not floored:
            return scores, {}
        found = top_k_masks(
            [[scores[index]] for index in floored],
            [self._floors[index] for index in floored],
            self._tie_seeds(floored, step),
            tf.bool,
        )
        for index, ([sure], _) in zip(floored, found, strict=True):
            each = scores[index].tensor() if isinstance(scores[index], Scores) else scores[index]
            # Above all others, even infinite ones.
            scores[index] = tf.where(sure, math.inf, tf.minimum(tf.cast(each, tf.float32), tf.float32.max))
        return scores, {index: threshold for index, (_, threshold) in zip(floored, found, strict=True)}

    def _tie_seeds(self, indices: Sequence[int], step: tf.Tensor) -> tf.Tensor:
        """Seeds of the tie-breaking at a step, for weights or parts whose first weights they are; int64, [n, 2]."""
        own = tf.constant([self._seed + index for index in indices], tf.int64)
        return tf.stack([own, tf.fill([len(indices)], tf.cast(step, tf.int64))], axis=1)


class PartByPart(Allocation):
    """Each part has a sparsity of its own."""

    def __init__(self, parts: list[list[int]], floors: Sequence[int], seed: int, counts: Sequence[UnitCount]) -> None:
        """Takes the parts; see `Allocation`. `counts` has for each part how many units a step keeps."""
        super().__init__(parts, floors, seed)
        self._counts = counts

    def kept(self, step: int | tf.Tensor) -> list[tf.Tensor]:
        """See `Allocation.kept`."""
        return tf.unstack(kept_units(self._counts, step))


class ErdosRenyiKernel(Allocation):
    """The sparsity holds for the sum; narrow weights stay denser (Evci et al., 2020, https://arxiv.org/abs/1911.11134).

    The density of a weight is proportional to the sum of its dimensions over their product, but at most 1. This holds
    at every step, for the sparsity of that step: a weight that is dense at the target is never pruned on the way.

    Densities become whole numbers of units by Webster's divisor method. A weight keeps
    round(c * units * sum / product of its dimensions), but not more than it has and not less than its floor, with the
    factor c for which the numbers add up to the number asked for. Unlike with largest remainders, no weight's number
    grows as the total falls.
    """

    def __init__(
        self, shapes: Sequence[Shape], units: Sequence[int], floors: Sequence[int], seed: int, total: UnitCount
    ) -> None:
        """Takes the weights; see `Allocation`.

        Args:
            shapes: The weights' shapes.
            units: The weights' numbers of units.
            floors: For each weight the least number of units it keeps.
            seed: Seed of the random tie-breaking.
            total: How many units of all weights a step keeps.
        """
        super().__init__([[index] for index in range(len(units))], floors, seed)
        self._total = total
        self._least = np.array(floors, np.float64)
        self._most = np.array(units, np.float64)
        self._shares = np.array(
            [size * sum(shape or (1,)) / math.prod(shape) for size, shape in zip(units, shapes, strict=True)]
        )

    def kept(self, step: int | tf.Tensor) -> list[tf.Tensor]:
        """See `Allocation.kept`."""
        return tf.unstack(self._shared_out(kept_units([self._total], step)[0]))

    def _shared_out(self, total: tf.Tensor) -> tf.Tensor:
        """Shares out `total` units among the weights: an int64 number for each."""
        # Finds the largest factor that keeps too few, digit by digit among the bits of float64, which order as the
        # floats do. The next float keeps enough.
        factor = tf.zeros([], tf.int64)
        for places in range(63 - _DIGIT_BITS, -1, -_DIGIT_BITS):
            candidates = factor + tf.range(1, 1 << _DIGIT_BITS, dtype=tf.int64) * (1 << places)
            too_few = tf.reduce_sum(self._rounded(candidates), axis=1) < total
            factor += tf.math.count_nonzero(too_few) * (1 << places)
        counts, more = tf.unstack(self._rounded(tf.stack([factor, factor + 1])))
        # Several weights may be rounded up at the same factor. Only the first are, as many as the total allows.
        rounded_up = more - counts
        room = total - tf.reduce_sum(counts) - tf.cumsum(rounded_up, exclusive=True)
        return counts + tf.clip_by_value(room, 0, rounded_up)

    def _rounded(self, factor_bits: tf.Tensor) -> tf.Tensor:
        """How many units the weights keep at factors given by their bits, int64 of shape [factors, weights]."""
        ideal = tf.round(tf.bitcast(factor_bits, tf.float64)[:, None] * self._shares)
        return tf.cast(tf.clip_by_value(ideal, self._least, self._most), tf.int64)


class BySensitivity(Allocation):
    """The sparsity holds for the sum; zeros go where they were measured to cost least.

    The sum of the weights' rises of the loss is minimised under the total of zeros, each rise taken from the lower
    convex hull of what was measured. So the pieces of all hulls are taken in the order of their slopes, and no weight's
    number of zeros falls as the total rises.
    """

    def __init__(
        self,
        hulls: Sequence[Sequence[tuple[int, float]]],
        units: Sequence[int],
        floors: Sequence[int],
        seed: int,
        total: UnitCount,
    ) -> None:
        """Takes the weights; see `Allocation`. `hulls` has for each the corners of `SensitivityCurve.hull`."""
        super().__init__([[index] for index in range(len(units))], floors, seed)
        self._total = total
        self._units = np.array(units, np.int64)
        pieces = sorted(
            ((end[1] - begin[1]) / (end[0] - begin[0]), index, end[0] - begin[0])
            for index, hull in enumerate(hulls)
            for begin, end in itertools.pairwise(hull)
        )
        self._owners = np.array([index for _, index, _ in pieces], np.int64)
        self._lengths = np.array([length for *_, length in pieces], np.int64)

    def kept(self, step: int | tf.Tensor) -> list[tf.Tensor]:
        """See `Allocation.kept`."""
        zeros = self._units.sum() - kept_units([self._total], step)[0]
        taken = tf.clip_by_value(zeros - (np.cumsum(self._lengths) - self._lengths), 0, self._lengths)
        return tf.unstack(self._units - tf.math.unsorted_segment_sum(taken, self._owners, len(self._units)))


def allocation(
    hparams: PruningHParams,
    paths: Sequence[str],
    shapes: Sequence[Shape],
    units: Sequence[int],
    sparsity: SparsitySource | None = None,
) -> Allocation:
    """The allocation that `hparams` names.

    Args:
        hparams: The hyperparameters.
        paths: The weights' paths.
        shapes: The weights' shapes, in the order of `paths`.
        units: The weights' numbers of units.
        sparsity: Replaces the schedule (`schedule.ExternalSparsity`).

    Returns:
        The allocation. With `sparsity`, its `kept` and `masks` raise tf.errors.InvalidArgumentError if the sparsity is
        outside [0, 1), or so high that a part would lose all its units. Code compiled by XLA cannot raise: there the
        nearest possible number is kept.

    Raises:
        ValueError: A regex of a map matches no weight, two match one, `sensitivity_map` lacks one, a part would lose
            all its units or keep fewer than `min_layer_density` asks for, or a map is given beside `sparsity`.
    """
    if sparsity is not None:
        _check_no_maps(hparams)
    parts = _parts(hparams, paths)
    floors = [_floor(size, hparams.min_layer_density) for size in units]
    if hparams.allocation == "erk":
        floors = [max(1, floor) for floor in floors]
    if hparams.allocation == "sensitivity":
        hulls = _hulls(hparams, paths, units, floors)
        floors = [size - hull[-1][0] for size, hull in zip(units, hulls, strict=True)]
    given = None if sparsity is None else ExternalSparsity(sparsity)
    schedules = {part.target_sparsity: given or schedule_of(hparams, part.target_sparsity) for part in parts}
    counts = []
    for part in parts:
        single_weights = all(units[index] == math.prod(shapes[index]) for index in part.members)
        counts.append(
            UnitCount(
                what=f"{'weights' if single_weights else 'units'} of {', '.join(paths[i] for i in part.members)}",
                size=sum(units[index] for index in part.members),
                least=max(1, sum(floors[index] for index in part.members)),
                sparsity=schedules[part.target_sparsity],
                targets_name=part.targets_name,
                mend=_mend(hparams, part),
            )
        )
    if hparams.allocation == "erk":
        return ErdosRenyiKernel(shapes, units, floors, hparams.seed, counts[0])
    if hparams.allocation == "sensitivity":
        return BySensitivity(hulls, units, floors, hparams.seed, counts[0])
    return PartByPart([part.members for part in parts], floors, hparams.seed, counts)


@dataclasses.dataclass(frozen=True)
class _Part:
    """Weights that share a sparsity.

    Attributes:
        members: Their indices.
        target_sparsity: Their target, a fraction.
        targets_name: The hyperparameter that set it.
    """

    members: list[int]
    target_sparsity: float
    targets_name: str


def _of_one_dtype(scores: tf.Tensor | Scores, part: Sequence[int]) -> tf.Tensor | Scores:
    """The scores, float32 if they are ranked with those of other weights."""
    return scores if len(part) == 1 or isinstance(scores, Scores) else tf.cast(scores, tf.float32)


def _parts(hparams: PruningHParams, paths: Sequence[str]) -> list[_Part]:
    """The weights that share a sparsity, in the order of their first members."""
    if hparams.allocation != "uniform" or (hparams.group_pruning and not hparams.group_sparsity_map):
        return [_Part(list(range(len(paths))), hparams.target_sparsity, "target_sparsity")]
    own = path_map.matches("weight_sparsity_map", hparams.weight_sparsities, paths)
    groups = path_map.matches("group_sparsity_map", hparams.group_sparsities, paths)
    parts: dict[str | int, _Part] = {}
    for index, path in enumerate(paths):
        if index in own and index in groups:
            raise ValueError(
                f"{path} matches {groups[index][0]!r} of group_sparsity_map and {own[index][0]!r} of "
                "weight_sparsity_map. A weight has its group's sparsity or its own: let one of the two match it."
            )
        if index in groups:
            pattern, target = groups[index]
            parts.setdefault(pattern, _Part([], target, f"group_sparsity_map: {pattern}")).members.append(index)
        elif index in own:
            pattern, target = own[index]
            parts[index] = _Part([index], target, f"weight_sparsity_map: {pattern}")
        else:
            parts[index] = _Part([index], hparams.target_sparsity, "target_sparsity")
    return list(parts.values())


def _hulls(
    hparams: PruningHParams, paths: Sequence[str], units: Sequence[int], floors: Sequence[int]
) -> list[list[tuple[int, float]]]:
    """The hulls of the weights' sensitivities."""
    curves = path_map.matches("sensitivity_map", hparams.sensitivity_curves, paths)
    lacking = [path for index, path in enumerate(paths) if index not in curves]
    if lacking:
        raise ValueError(
            f"sensitivity_map says nothing of {', '.join(lacking)}. Measure all weights that are pruned, or take these "
            "out with exclude."
        )
    return [
        curves[index][1].hull(size, size - max(1, floor))
        for index, (size, floor) in enumerate(zip(units, floors, strict=True))
    ]


def _floor(units: int, min_layer_density: float) -> int:
    """How many of `units` are kept whatever the ranking says: `min_layer_density` of them, rounded up."""
    # With fractions: in floats, 0.07 * 100 is a little more than 7.
    return math.ceil(Fraction(str(min_layer_density)) * units)


def _mend(hparams: PruningHParams, part: _Part) -> str:
    if hparams.allocation == "sensitivity":
        return "Lower it, or measure the sensitivity at higher sparsities."
    if hparams.min_layer_density:
        return f"Lower it, or min_layer_density={hparams.min_layer_density}."
    if len(part.members) > 1:
        return "Lower it."
    return (
        "The layer would be dead: lower the sparsity, give the weight a lower one in weight_sparsity_map, leave it out "
        "with exclude, or use allocation='global'."
    )


def _check_no_maps(hparams: PruningHParams) -> None:
    for name in ("weight_sparsity_map", "group_sparsity_map"):
        if getattr(hparams, name):
            raise ValueError(
                f"{name}={list(getattr(hparams, name))} sets targets of the schedule, and a sparsity was given in its "
                "place. Leave out one of the two."
            )
