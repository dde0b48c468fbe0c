import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_pruning import Pruning, PruningHParams, apply_mask
from tfx_pruning.engine.ranking.granularity import granularities

RNG = np.random.default_rng(0)


def of(shape, path="layer/kernel", **fields):
    return granularities(PruningHParams(**fields), [path], [shape])[0]


def by_hand(values, block, reduce):
    """One value for each block, and the block of each cell, by loops."""
    rows, columns = (-(-size // step) for size, step in zip(values.shape, block, strict=True))
    pooled = np.zeros([rows, columns])
    for row in range(rows):
        for column in range(columns):
            top, left = row * block[0], column * block[1]
            pooled[row, column] = reduce(values[top : top + block[0], left : left + block[1]])
    return pooled, np.kron(pooled, np.ones(block))[: values.shape[0], : values.shape[1]]


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(2, 5), st.integers(2, 5)),
    st.sampled_from([("AVG", np.mean), ("MAX", np.max)]),
)
def test_blocks_pool_and_expand_as_by_hand(shape, block, pooling):
    if 1 in shape:
        shape = tuple(size + 1 for size in shape)
    values = RNG.random(shape).astype("f")
    blocks = of(shape, block_height=block[0], block_width=block[1], block_pooling_function=pooling[0])
    block = tuple(min(size, whole) for size, whole in zip(block, shape, strict=True))
    pooled, expanded = by_hand(values, block, pooling[1])
    assert blocks.units == pooled.size
    np.testing.assert_allclose(blocks.pool(tf.constant(values)), pooled, rtol=1e-6)
    np.testing.assert_array_equal(blocks.expand(tf.constant(pooled)), expanded)
    mask = (RNG.random(shape) > 0.8).astype("f")
    np.testing.assert_array_equal(blocks.any(tf.constant(mask)), by_hand(mask, block, np.max)[0])


def test_blocks_golden_with_an_edge():
    blocks = of((3, 5), block_height=2, block_width=2)
    values = tf.constant([[1.0, 3, 0, 0, 5], [1, 3, 0, 4, 7], [2, 4, 6, 0, 9]])
    assert blocks.pool(values).numpy().tolist() == [[2, 1, 6], [3, 3, 9]]
    assert blocks.expand(tf.constant([[1.0, 0, 0], [0, 1, 1]])).numpy().tolist() == [
        [1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 1, 1],
    ]


@pytest.mark.parametrize(
    ("shape", "fields", "units"),
    [
        ((6, 8), {}, 48),
        ((6, 8), {"block_height": 3, "block_width": 4}, 4),
        ((6, 8), {"block_height": -1}, 8),
        ((6, 8), {"block_width": -1}, 6),
        ((6, 8), {"block_height": 100, "block_width": 3}, 3),
        ((1, 6, 1, 8), {"block_height": 3, "block_width": 4}, 4),
        ((3, 3, 4, 8), {"block_height": 3, "block_width": 4}, 288),
        ((3, 3, 4, 8), {"block_height": 3, "block_width": 4, "block_conv": True}, 24),
        ((7,), {"block_height": 3, "block_width": 4, "block_conv": True}, 7),
    ],
)
def test_number_of_units(shape, fields, units):
    assert of(shape, **fields).units == units


def test_block_dims_map_goes_before_the_blocks_of_all():
    hparams = PruningHParams(block_height=2, block_width=2, block_dims_map=["first:3x1", "last:-1x1"])
    found = granularities(hparams, ["first/kernel", "other/kernel", "last/kernel"], [(6, 6)] * 3)
    assert [each.units for each in found] == [12, 9, 6]


@pytest.mark.parametrize("prune_option", ["weight", "first_order_gradient", "second_order_gradient"])
@pytest.mark.parametrize("fields", [{"block_height": 2, "block_width": 3}, {"block_height": -1}])
def test_the_best_units_are_kept_whole(prune_option, fields):
    weight = tf.Variable(RNG.normal(size=(6, 12)).astype("f"), name="kernel")
    gradient = RNG.normal(size=(6, 12)).astype("f")
    before = weight.numpy()
    hparams = PruningHParams(
        prune_option=prune_option,
        target_sparsity=0.75,
        pruning_frequency=1,
        sparsity_function_end_step=1,
        gradient_decay_rate=0.0,
        **fields,
    )
    pruning = Pruning(hparams, [weight])
    pruning.conditional_mask_update(1, [tf.constant(gradient)])
    score = {
        "weight": abs(before),
        "first_order_gradient": abs(before) * abs(gradient),
        "second_order_gradient": before**2 * gradient**2,
    }[prune_option]
    block = (6, 1) if fields == {"block_height": -1} else (2, 3)
    pooled, expanded = by_hand(score, block, np.mean)
    mask = expanded >= np.sort(pooled.ravel())[-round(pooled.size * 0.25)]
    np.testing.assert_array_equal(pruning.masks[0], mask)
    np.testing.assert_array_equal(weight, before * mask)
    assert mask.sum() == 18


def test_weight_delta_pools_weight_and_state_each_by_itself():
    weight = tf.Variable([[1.0, 0.0, 3.0, 3.0]], name="kernel")
    old = tf.Variable([[4.0, 4.0, 0.1, 0.1]], name="row")
    stacked = tf.Variable(tf.concat([weight, old], 0))
    hparams = PruningHParams(
        prune_option="first_order_gradient",
        gradient_estimator="weight_delta",
        target_sparsity=0.5,
        pruning_frequency=1,
        sparsity_function_end_step=1,
        gradient_decay_rate=0.0,
        block_width=2,
    )
    pruning = Pruning(hparams, [stacked])
    pruning.conditional_mask_update(1)
    # Old weights start at zero: the state is |w|, normalised; pooled one by one the means are .5, 3, 4, .1.
    assert pruning.masks[0].numpy().tolist() == [[0, 0, 1, 1], [1, 1, 0, 0]]


def test_blocks_under_apply_mask_keep_their_values():
    weight = tf.Variable(RNG.normal(size=(4, 4)).astype("f"))
    before = weight.numpy()
    apply_mask(weight)
    hparams = PruningHParams(target_sparsity=0.5, sparsity_function_end_step=1, pruning_frequency=1, block_width=2)
    pruning = Pruning(hparams, [weight])
    pruning.conditional_mask_update(1)
    np.testing.assert_array_equal(weight, before)
    pairs = abs(before).reshape(8, 2).mean(1)
    kept = pairs >= np.sort(pairs)[-4]
    np.testing.assert_array_equal(apply_mask(weight), before * kept.repeat(2).reshape(4, 4))


def test_sparsity_of_blocks_counts_blocks():
    weight = tf.Variable(tf.reshape(tf.range(1.0, 16.0), [3, 5]))
    hparams = PruningHParams(
        target_sparsity=0.5, sparsity_function_end_step=1, pruning_frequency=1, block_height=2, block_width=2
    )
    pruning = Pruning(hparams, [weight])
    assert [(share.kept, share.total) for share in pruning.shares_at_target()] == [(6, 6)]
    pruning.finish(1)
    assert [(share.kept, share.total) for share in pruning.shares_at_target()] == [(3, 6)]
    assert [share.most for share in pruning.shares_at_target()] == [3]
    # The three of the last row, of two cells, two and one.
    assert pruning.masks[0].numpy().tolist() == [[0] * 5, [0] * 5, [1] * 5]
    assert pruning.sparsity() == pytest.approx(10 / 15)


def test_global_allocation_ranks_the_units_of_all_weights_together():
    small, large = tf.Variable(tf.ones([4, 4])), tf.Variable(2 * tf.ones([4, 8]))
    hparams = PruningHParams(
        target_sparsity=1 / 3,
        sparsity_function_end_step=1,
        pruning_frequency=1,
        allocation="global",
        block_height=-1,
    )
    pruning = Pruning(hparams, [small, large])
    pruning.conditional_mask_update(1)
    assert not np.any(small)
    assert np.all(large.numpy() == 2)


def test_a_block_map_that_matches_nothing_is_refused():
    with pytest.raises(ValueError, match="block_dims_map holds 'dense', which matches none"):
        Pruning(PruningHParams(block_dims_map=["dense:2x2"]), [tf.Variable(tf.ones([4, 4]), name="kernel")])


def test_a_weight_that_two_block_patterns_match_is_refused():
    with pytest.raises(ValueError, match="kernel matches 2 patterns of block_dims_map: 'ker', 'nel'"):
        Pruning(PruningHParams(block_dims_map=["ker:2x2", "nel:1x2"]), [tf.Variable(tf.ones([4, 4]), name="kernel")])


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"block_height": 0}, "block_height must be a number of weights, or -1"),
        ({"block_width": -2}, "block_width must be a number of weights, or -1"),
        ({"block_dims_map": ["a:2"]}, "block_dims_map items are 'regex:HxW'"),
        ({"block_dims_map": ["a:0x2"]}, "block_dims_map items are 'regex:HxW'"),
        ({"block_dims_map": ["2x2"]}, "block_dims_map items are 'regex:HxW'"),
        ({"block_dims_map": ["*a:2x2"]}, "not a regular expression"),
        ({"granularity": "layer"}, "Unknown granularity 'layer'. There are element, channel."),
        ({"granularity": "channel", "block_width": 2}, "exclude each other"),
        ({"granularity": "channel", "n_of_m": "2:4"}, "exclude each other"),
        ({"block_width": 2, "n_of_m": "2:4"}, "exclude each other"),
        ({"block_dims_map": ["a:2x2"], "n_of_m": "2:4"}, "exclude each other"),
    ],
)
def test_wrong_fields_are_refused_at_construction(fields, match):
    with pytest.raises(ValueError, match=match):
        PruningHParams(**fields)


def test_units_of_a_large_weight_are_exact():
    shape = (301, 517)
    blocks = of(shape, block_height=16, block_width=16)
    assert blocks.units == math.ceil(301 / 16) * math.ceil(517 / 16)
    assert float(tf.reduce_sum(blocks.expand(tf.ones([19, 33])))) == 301 * 517
