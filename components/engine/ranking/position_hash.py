"""Pseudo-random numbers for positions: fast, the same wherever they are computed, and no two equal.

The hash applies the finaliser of MurmurHash3 twice, with words of the seed in between. Each step is invertible, so
different positions have different numbers. A random generator would take longer than all that is done with them.
"""

import tensorflow as tf

SeedWords = tuple[tf.Tensor, tf.Tensor]


def seed_words(seed: tf.Tensor) -> SeedWords:
    """Two uint32 tensors of shape [...] from seeds, int64 of shape [..., 2]. The second depends on all of a seed."""
    words = tf.reshape(tf.bitcast(seed, tf.uint32), [*seed.shape[:-1], 4])
    first, second, third, fourth = tf.unstack(words, axis=-1)
    early = _mixed(_mixed(first) + second)
    return early, _mixed(_mixed(early + third) + fourth)


def hashed(positions: tf.Tensor, words: SeedWords) -> tf.Tensor:
    """The numbers of positions, uint32 of any shape, under a seed, or one for each; uint32 of the same shape."""
    return _mixed(_mixed(positions + words[0]) + words[1])


def _mixed(words: tf.Tensor) -> tf.Tensor:
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        words = tf.bitwise.bitwise_xor(words, tf.bitwise.right_shift(words, tf.constant(shift, tf.uint32)))
        words *= tf.constant(factor, tf.uint32)
    return words
