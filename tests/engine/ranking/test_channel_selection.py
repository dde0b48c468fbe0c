"""ChannelSelection, compared with removing channel after channel in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_pruning.engine.ranking.channel_selection import ChannelSelection
from tfx_pruning.structure.channels import channels_of
from tfx_pruning.structure.live_function import trace_function


def chain(*widths):
    """The channels of Dense layers, one behind the other."""
    x = keras.Input((widths[0],))
    y = x
    for width in widths[1:]:
        y = keras.layers.Dense(width)(y)
    model = keras.Model(x, y)
    forward = tf.function(lambda batch: model(batch)).get_concrete_function(tf.TensorSpec([None, widths[0]]))
    weights = [weight.value for weight in model.weights]
    places = range(len(weights))
    return channels_of(trace_function(forward, weights), places, made_by=places)


CHAIN = chain(6, 8, 5, 7, 3)


def selection(sparsity, channels=CHAIN, counted=None, same_share=False, min_density=0.0, multiple=1, seed=0):
    return ChannelSelection(
        channels,
        channels.parameters if counted is None else counted,
        lambda step: tf.constant(sparsity, tf.float64),
        same_share=same_share,
        min_density=min_density,
        multiple=multiple,
        seed=seed,
    )


def by_hand(scores, sparsity, counted, floor):
    """Removes the least channel that may go until enough has gone."""
    total = CHAIN.total(counted)
    wanted = total - round(total * (1 - sparsity))
    alive = np.ones(CHAIN.count, bool)
    sizes = CHAIN.family_sizes
    held = np.array([total - CHAIN.total(counted, sizes - np.eye(3, dtype=int)[family]) for family in range(3)])
    with_one_more = np.array(
        [CHAIN.total(counted, sizes + np.eye(3, dtype=int)[family]) - total for family in range(3)]
    )
    assert held.tolist() == with_one_more.tolist()  # a product is linear in each of its sizes
    for channel in np.argsort(scores / held[CHAIN.family].astype("f"), kind="stable"):
        kept = np.bincount(CHAIN.family[alive], minlength=3)
        if total - CHAIN.total(counted, kept) >= wanted:
            break
        family = CHAIN.family[channel]
        members = np.flatnonzero(CHAIN.family == family)
        best = members[np.argsort(-scores[members])][: floor(len(members))]
        alive[channel] = channel in best
    return alive


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 1000),
    st.floats(0.0, 0.85),
    st.sampled_from(["parameters", "multiply_adds"]),
    st.sampled_from([0.0, 0.25]),
)
def test_channels_go_one_by_one_until_enough_has_gone(seed, sparsity, counted, min_density):
    counted = getattr(CHAIN, counted)
    scores = np.random.default_rng(seed).random(CHAIN.count).astype("f") + 0.01
    found = selection(sparsity, counted=counted, min_density=min_density)
    if min_density and sparsity > found.most / found.total:
        return
    alive, threshold = found.keep(tf.constant(scores), tf.constant(1, tf.int64))
    expected = by_hand(scores, sparsity, counted, lambda size: max(1, int(np.ceil(min_density * size))))
    np.testing.assert_array_equal(alive, expected)
    assert float(threshold) == scores[expected].min()


@pytest.mark.parametrize("scores", [np.zeros, lambda size: np.full(size, np.nan), lambda size: np.full(size, np.inf)])
def test_ties_are_broken_by_seed_and_step(scores):
    def drawn(seed, step):
        alive, _ = selection(0.6, seed=seed).keep(
            tf.constant(scores(CHAIN.count), tf.float32), tf.constant(step, tf.int64)
        )
        return alive.numpy().tolist()

    assert drawn(0, 1) == drawn(0, 1)
    assert len({tuple(drawn(seed, step)) for seed in range(3) for step in range(3)}) == 9


CHAINS = [CHAIN, chain(4, 9, 2, 3), chain(4, 6, 3), chain(3, 4, 8, 4, 2)]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CHAINS), st.integers(1, 5), st.integers(0, 1000), st.floats(0.0, 0.9), st.booleans())
def test_lots_go_one_by_one_until_enough_has_gone(channels, multiple, seed, sparsity, same_share):
    sizes, family = channels.family_sizes, channels.family
    found = selection(sparsity, channels, multiple=multiple, same_share=same_share)
    assert found.most == channels.total(channels.parameters) - channels.total(
        channels.parameters, np.minimum(sizes, multiple)
    )
    if sparsity > found.most / found.total:
        return
    scores = np.random.default_rng(seed).random(channels.count).astype("f") + 0.01
    alive = found.keep(tf.constant(scores), tf.constant(1, tf.int64))[0].numpy()
    # All lots that may go: their place in the ranking, and their channels.
    lots = []
    for number, size in enumerate(sizes):
        members = np.flatnonzero(family == number)
        members = members[np.argsort(scores[members], kind="stable")]
        more = channels.total(channels.parameters, sizes + np.eye(len(sizes), dtype=int)[number]) - found.total
        begin = 0
        for end in range(size % multiple or multiple, size, multiple):
            lot = members[begin:end]
            place = (begin + end) / 2 / size if same_share else (scores[lot] / np.float32(max(more, 1))).mean()
            lots.append((float(place), lot))
            begin = end
    expected = np.ones(channels.count, bool)
    for _, lot in sorted(lots, key=lambda each: each[0]):
        if found.gone(expected) >= int(found.asked(1)):
            break
        expected[lot] = False
    if len({place for place, _ in lots}) == len(lots):
        np.testing.assert_array_equal(alive, expected)
    kept = np.bincount(family[alive], minlength=len(sizes))
    assert np.all((kept % multiple == 0) | (kept == sizes))


@pytest.mark.parametrize("multiple", [1, 3])
def test_what_has_gone_is_within_one_channel(multiple):
    for sparsity in np.linspace(0, 0.55, 30):
        found = selection(sparsity, multiple=multiple)
        alive, _ = found.keep(tf.random.uniform([CHAIN.count]), tf.constant(1, tf.int64))
        gone, asked = found.gone(alive.numpy()), int(found.asked(1))
        assert asked <= gone
        assert sparsity == 0 or gone - asked < found.largest_step(alive.numpy())


def test_every_layer_keeps_its_share():
    channels = chain(6, 40, 20, 30, 3)
    found = selection(0.75, channels, same_share=True)
    # Scores that would empty the first layer under one ranking.
    scores = np.where(channels.family == 0, 0.001, 1.0) * np.random.default_rng(0).random(len(channels.family))
    alive, _ = found.keep(tf.constant(scores, tf.float32), tf.constant(1, tf.int64))
    kept = np.bincount(channels.family[alive.numpy()]) / channels.family_sizes
    assert np.ptp(kept) <= 1 / 20
    for family in range(3):
        of = channels.family == family
        assert scores[of & alive.numpy()].min() > scores[of & ~alive.numpy()].max()


def test_the_best_of_each_layer_stays():
    found = selection(0.0)
    floors = np.array([1, 1, 1])
    assert found.most == CHAIN.total(CHAIN.parameters) - CHAIN.total(CHAIN.parameters, floors)
    found = selection(found.most / found.total)
    scores = np.arange(CHAIN.count, dtype="f")
    alive, _ = found.keep(tf.constant(scores), tf.constant(1, tf.int64))
    assert np.flatnonzero(alive).tolist() == [7, 12, 19]


@pytest.mark.parametrize("multiple", [1, 2])
def test_in_a_graph_it_is_as_outside(multiple):
    found = selection(0.7, multiple=multiple)
    scores = tf.random.uniform([CHAIN.count])
    outside, _ = found.keep(scores, tf.constant(3, tf.int64))
    inside, _ = tf.function(found.keep)(scores, tf.constant(3, tf.int64))
    compiled, _ = tf.function(found.keep, jit_compile=True)(scores, tf.constant(3, tf.int64))
    np.testing.assert_array_equal(inside, outside)
    np.testing.assert_array_equal(compiled, outside)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 1000),
    st.floats(0.1, 0.85),
    st.sampled_from(["parameters", "multiply_adds"]),
    st.booleans(),
    st.integers(1, 4),
)
def test_what_has_gone_does_not_come_back_while_no_less_is_asked_for(seed, sparsity, counted, same_share, multiple):
    rng = np.random.default_rng(seed)
    found = selection(sparsity, counted=getattr(CHAIN, counted), same_share=same_share, multiple=multiple, seed=seed)
    if sparsity > found.most / found.total:
        return
    alive = np.ones(CHAIN.count, bool)
    for step in range(1, 4):
        scores = np.where(alive, rng.random(CHAIN.count) + 0.01, 0.0)
        after = found.keep(tf.constant(scores, tf.float32), tf.constant(step, tf.int64))[0].numpy()
        if step > 1:
            np.testing.assert_array_equal(after, alive)
        alive = after
