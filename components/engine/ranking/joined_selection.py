"""Selection from many small rankings at once: as many operations as one would take."""

from collections.abc import Sequence

import tensorflow as tf

from .position_hash import seed_words
from .radix_select import SMALL_DIGIT_BITS, joined_digit_counts, kth_largest
from .tie_breaking import RANDOM_BITS, above_or_drawn, tie_keys


def joined_masks(
    keys: tf.Tensor, sizes: Sequence[int | tf.Tensor], k: tf.Tensor, seeds: tf.Tensor, bits: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Masks of the k largest keys of each ranking.

    Args:
        keys: The keys of all rankings, end to end; flat integers, not negative and below 2^bits.
        sizes: How many keys each ranking has.
        k: How many to keep of each, int32 of shape [rankings].
        seeds: int64 of shape [rankings, 2]. Ties are broken at random by them, and by the position in the ranking.
        bits: See `keys`.

    Returns:
        The masks end to end, bool; and the k-th largest keys, of shape [rankings]: any where k is 0.
    """
    count = len(sizes)
    rankings = tf.concat([tf.fill([size], index) for index, size in enumerate(sizes)], axis=0)
    sizes = tf.stack(sizes)

    def kth_key(keys: tf.Tensor, k: tf.Tensor, bits: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        def counts(known: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
            return joined_digit_counts(keys, rankings, count, known, places)

        return kth_largest(counts, sizes, tf.maximum(k, 1), keys.dtype, bits, SMALL_DIGIT_BITS)

    kth, above, equal = kth_key(keys, k, bits)
    room = k - above
    kth_of_each = tf.gather(tf.where(k > 0, kth, kth.dtype.max), rankings)

    def some_of_the_tied() -> tf.Tensor:
        starts = tf.cumsum(sizes, exclusive=True)
        positions = tf.range(tf.size(keys)) - tf.gather(starts, rankings)
        first, second = (tf.gather(words, rankings) for words in seed_words(seeds))
        random_keys = tie_keys(keys, kth_of_each, positions, (first, second))
        last, _, _ = kth_key(random_keys, room, RANDOM_BITS)
        return above_or_drawn(keys, kth_of_each, random_keys, tf.gather(last, rankings))

    mask = tf.cond(tf.reduce_any((k > 0) & (equal > room)), some_of_the_tied, lambda: keys >= kth_of_each)
    return mask, kth
