"""ChannelSelection: which channels stay at a sparsity, exactly, whatever tensors they run through."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import tensorflow as tf

from ...structure.channels import AxisSize, Channels, Product
from .schedule import ExternalSparsity, Schedule, kept_count


class ChannelSelection:
    """Ranks the channels of a model and keeps as many as a sparsity asks for.

    What a channel holds depends on the channels that are left: a weight goes with its input or its output. So channels
    go one by one, the least first, until what has gone is at least what is asked for. The least are those with the
    lowest score for each weight, or multiply-add, that would go with them: a small channel must not be spared for its
    size, nor a large one.

    Channels of one family go in lots, so that a multiple of some number is left. The least lot of a family comes first,
    with what its size is over a multiple; all others are of that number.

    Attributes:
        total: What there is to go: weights, or multiply-adds.
    """

    def __init__(
        self,
        channels: Channels,
        counted: Sequence[Product],
        sparsity: Schedule | ExternalSparsity,
        *,
        same_share: bool,
        min_density: float,
        multiple: int,
        seed: int,
    ) -> None:
        """Takes the channels.

        Args:
            channels: The channels.
            counted: What the sparsity is a fraction of: `channels.parameters` or `channels.multiply_adds`.
            sparsity: The sparsity at a step.
            same_share: Whether each family keeps the same share of its channels, rather than all are ranked together.
            min_density: Fraction of each family's channels that stays whatever the ranking says, at least one.
            multiple: What the number of channels that stay in a family is a multiple of, unless all stay.
            seed: Seed of the random tie-breaking.
        """
        self.total = channels.total(counted)
        self._channels = channels
        self._counted = counted
        self._sparsity = sparsity
        self._same_share = same_share
        self._seed = seed
        # With fractions: in floats, 0.07 * 100 is a little more than 7.
        density = Fraction(str(min_density))
        sizes = channels.family_sizes
        floors = np.array([max(1, math.ceil(density * int(size))) for size in sizes], np.int64)
        self._multiple = multiple
        self._floors = np.minimum(-(-floors // multiple) * multiple, sizes)
        self._lots = -(-sizes // multiple)
        self._removable = int((self._lots - -(-self._floors // multiple)).sum())

    @property
    def most(self) -> int:
        """The most that can go."""
        return self.total - self._channels.total(self._counted, self._floors)

    def asked(self, step: int | tf.Tensor) -> tf.Tensor:
        """How much has to go at a step, int64 scalar."""
        return self.total - kept_count(self.total, self._sparsity(step))

    def gone(self, alive: np.ndarray) -> int:
        """How much has gone when some channels are left, bool [channels]."""
        return self.total - self._channels.total(self._counted, self._kept_of(alive))

    def largest_step(self, alive: np.ndarray) -> int:
        """By how much the return of the largest lot that has gone would change `gone`; 0 if none has.

        Args:
            alive: Which channels are left, bool [channels].
        """
        kept = self._kept_of(alive)
        now = self._channels.total(self._counted, kept)
        steps = [0]
        sizes = self._channels.family_sizes
        for family in np.flatnonzero(kept < sizes):
            back = kept.copy()
            back[family] = min(kept[family] + self._multiple, sizes[family])
            steps.append(self._channels.total(self._counted, back) - now)
        return max(steps)

    def keep(self, scores: tf.Tensor, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Which channels stay at a step.

        Args:
            scores: One for each channel, float32 [channels]. NaN and what is negative count as zero.
            step: int64 scalar.

        Returns:
            Bool [channels], and the least score of those that stay, float32 scalar.
        """
        scores = tf.where(scores > 0, scores, 0.0)
        place = self._places(scores, step)
        asked = self.asked(step)
        low, high = tf.constant(0, tf.int64), tf.constant(self._removable, tf.int64)

        def halve(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            middle = (low + high) // 2
            enough = self._left(place >= middle) <= self.total - asked
            return tf.where(enough, low, middle + 1), tf.where(enough, middle, high)

        removed, _ = tf.while_loop(lambda low, high: low < high, halve, (low, high))
        alive = place >= removed
        return alive, tf.reduce_min(tf.where(alive, scores, math.inf))

    def _places(self, scores: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """How many lots go before the lot of each channel, int64 [channels]; the floors of all families come last."""
        seed = tf.stack([tf.constant(self._seed, tf.int64), tf.cast(step, tf.int64)])
        ascending = tf.argsort(tf.random.stateless_uniform(scores.shape, seed))
        family, sizes = tf.constant(self._channels.family), self._channels.family_sizes
        one = tf.gather(self._held(scores > 0, np.ones_like(sizes)), family)
        ranks = scores / tf.cast(tf.maximum(one, 1), tf.float32)
        # Of those that have gone before, the ones that hold most come last. So all of them go again unless less is
        # asked for: the last that went, without which too little had gone, holds no more than the last one here.
        kept = self._kept(scores > 0)
        held = tf.gather(self._held(scores > 0, tf.minimum(kept + self._multiple, sizes) - kept), family)
        for key in (tf.where(scores > 0, tf.constant(0, tf.int64), held), ranks):
            ascending = tf.gather(ascending, tf.argsort(tf.gather(key, ascending), stable=True))
        by_family = tf.gather(ascending, tf.argsort(tf.gather(family, ascending), stable=True))
        # The place of each channel in its family, 0 for the least.
        place = _inverse(by_family) - tf.gather(tf.constant(np.cumsum(sizes) - sizes), family)
        size = tf.gather(tf.constant(sizes), family)
        lot = tf.gather(tf.constant(np.cumsum(self._lots) - self._lots), family)
        lot += (place + (-size) % self._multiple) // self._multiple
        lots = int(self._lots.sum())
        key = ranks
        if self._same_share:
            key = tf.cast((tf.cast(place, tf.float64) + 0.5) / tf.cast(size, tf.float64), tf.float32)
        stays = place >= size - tf.gather(tf.constant(self._floors), family)
        # Above all others, even infinite ones.
        key = tf.minimum(tf.math.unsorted_segment_mean(key, lot, lots), tf.float32.max)
        key = tf.where(tf.math.unsorted_segment_max(tf.cast(stays, tf.int32), lot, lots) > 0, math.inf, key)
        first = tf.argsort(tf.math.unsorted_segment_min(_inverse(ascending), lot, lots))
        order = tf.gather(first, tf.argsort(tf.gather(key, first), stable=True))
        return tf.gather(_inverse(order), lot)

    def _left(self, alive: tf.Tensor) -> tf.Tensor:
        """How much is left with some channels, int64 scalar."""
        return self._total(self._sizes(alive))

    def _held(self, alive: tf.Tensor, number: np.ndarray | tf.Tensor) -> tf.Tensor:
        """How much more would be left with some more channels of a family, int64 [families], as `number` is."""
        families = len(self._floors)
        more = np.zeros([families, len(self._channels.sizes) + 1], np.int64)
        for axis, size in enumerate(self._channels.sizes):
            more[size.families, axis] = size.counts
        sizes = self._sizes(alive)
        return self._total(sizes + more * number[:, None]) - self._total(sizes)

    def _sizes(self, alive: tf.Tensor) -> tf.Tensor:
        """The sizes of all axes, and 1, int64 [axes + 1]."""
        of: tuple[AxisSize, ...] = self._channels.sizes
        kept = self._kept(alive)
        number = np.repeat(np.arange(len(of)), [len(each.families) for each in of])
        families, counts = (np.concatenate([getattr(each, name) for each in of]) for name in ("families", "counts"))
        cut = tf.math.unsorted_segment_sum(tf.gather(kept, families) * counts, number, len(of))
        fixed = np.array([each.fixed for each in of], np.int64)
        return tf.concat([cut + fixed, tf.ones([1], tf.int64)], 0)

    def _total(self, sizes: tf.Tensor) -> tf.Tensor:
        """The sum of the products of sizes, which stand along the last axis; int64, of the other axes."""
        # Products of fewer axes are filled up with the size 1 that comes last.
        width = max(len(each.axes) for each in self._counted)
        axes = [[*each.axes, *[len(self._channels.sizes)] * (width - len(each.axes))] for each in self._counted]
        factors = tf.constant([each.factor for each in self._counted], tf.int64)
        return tf.reduce_sum(factors * tf.reduce_prod(tf.gather(sizes, np.array(axes), axis=-1), axis=-1), axis=-1)

    def _kept(self, alive: tf.Tensor) -> tf.Tensor:
        """How many channels of each family are left, int64 [families]."""
        return tf.math.unsorted_segment_sum(tf.cast(alive, tf.int64), self._channels.family, len(self._floors))

    def _kept_of(self, alive: np.ndarray) -> np.ndarray:
        return np.bincount(self._channels.family[alive], minlength=len(self._floors))


def _inverse(order: tf.Tensor) -> tf.Tensor:
    """The place of each number in an order of them, int64."""
    return tf.cast(tf.math.invert_permutation(order), tf.int64)
