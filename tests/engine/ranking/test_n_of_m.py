import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from helpers import numpy_ranking
from tfx_pruning import Pruning, PruningHParams
from tfx_pruning.engine.ranking.n_of_m import NOfM

RNG = np.random.default_rng(0)


def pruned(shape, step=1, weight=None, end=1, **fields):
    weight = tf.Variable(RNG.normal(size=shape).astype("f") if weight is None else weight, name="kernel")
    before = weight.numpy()
    hparams = PruningHParams(sparsity_function_end_step=end, pruning_frequency=1, **fields)
    pruning = Pruning(hparams, [weight])
    pruning.conditional_mask_update(step)
    return before, pruning.masks[0].numpy(), pruning


def best_of_runs(scores, n, m):
    """Mask along the first axis, by loops."""
    mask = np.zeros_like(scores)
    for start in range(0, len(scores), m):
        run = scores[start : start + m]
        order = np.argsort(-run, axis=0)[:n]
        np.put_along_axis(mask[start : start + m], order, 1, axis=0)
    return mask


def test_two_of_four_along_the_inputs_of_a_dense_kernel():
    before, mask, pruning = pruned((8, 5), n_of_m="2:4")
    np.testing.assert_array_equal(mask, best_of_runs(abs(before), 2, 4))
    np.testing.assert_array_equal(pruning.weights[0], before * mask)
    assert [(share.kept, share.total) for share in pruning.shares_at_target()] == [(20, 40)]


def test_along_the_input_channels_of_a_convolution():
    before, mask, _ = pruned((3, 2, 8, 5), n_of_m="1:4", target_sparsity=0.75)
    for row in range(3):
        for column in range(2):
            np.testing.assert_array_equal(mask[row, column], best_of_runs(abs(before[row, column]), 1, 4))


def test_intra_block_sparsity_runs_along_the_last_axis():
    before, mask, _ = pruned((5, 8), intra_block_sparsity=True, block_width=4, target_sparsity=0.75)
    np.testing.assert_array_equal(mask, best_of_runs(abs(before).T, 1, 4).T)


@pytest.mark.parametrize(("rest", "kept"), [(1, 1), (2, 2), (3, 2)])
def test_a_short_last_run_keeps_what_a_whole_one_does_or_all(rest, kept):
    before, mask, pruning = pruned((4 + rest, 6), n_of_m="2:4")
    np.testing.assert_array_equal(mask, best_of_runs(abs(before), 2, 4))
    assert mask[4:].sum(axis=0).tolist() == [kept] * 6
    assert [share.most for share in pruning.shares_at_target()] == [6 * (2 + kept)]
    assert [(share.kept, share.total) for share in pruning.shares_at_target()] == [(6 * (2 + kept), 6 * (4 + rest))]


@pytest.mark.parametrize(("step", "zeros"), [(0, 0), (3, 0), (4, 1), (7, 1), (8, 2), (12, 3), (20, 3)])
def test_zeros_of_a_run_rise_with_the_schedule(step, zeros):
    _, mask, _ = pruned(
        (16, 3), step, end=12, n_of_m="1:4", target_sparsity=0.75, sparsity_function_exponent=1.0, begin_pruning_step=0
    )
    assert np.all(mask.reshape(4, 4, 3).sum(axis=1) == (4 - zeros if step else 4))


@pytest.mark.parametrize("target", [2 / 3, 0.6667, 0.6666, 0.666])
def test_a_third_may_be_written_in_decimals(target):
    _, mask, _ = pruned((9, 2), n_of_m="1:3", target_sparsity=target)
    assert np.all(mask.reshape(3, 3, 2).sum(axis=1) == 1)


@settings(max_examples=30, deadline=None)
@given(
    scores=hnp.arrays(np.float32, (8, 3), elements=st.sampled_from(np.float32([0, 1e-45, 0.5, 1, np.inf]).tolist())),
    kept=st.integers(1, 3),
    seed=st.integers(0, 100),
)
def test_every_run_keeps_exactly_n_and_none_below_one_that_is_dropped(scores, kept, seed):
    hparams = PruningHParams(n_of_m=f"{kept}:4", target_sparsity=1 - kept / 4, seed=seed)
    runs = NOfM(hparams, ["kernel"], [(8, 3)], lambda step: tf.constant(1 - kept / 4, tf.float64))
    [(mask, threshold)] = runs.masks([tf.constant(scores)], tf.constant(3, tf.int64))
    mask, by_run = mask.numpy().reshape(2, 4, 3), scores.reshape(2, 4, 3)
    assert np.all(mask.sum(axis=1) == kept)
    assert np.all(np.where(mask > 0, by_run, np.inf).min(axis=1) >= np.where(mask == 0, by_run, -1).max(axis=1))
    assert float(threshold) == np.where(mask > 0, by_run, np.inf).min()


def test_ties_are_broken_by_the_seed_alike_in_every_mode():
    def runs(seed):
        hparams = PruningHParams(n_of_m="2:4", seed=seed)
        made = NOfM(hparams, ["kernel"], [(64, 16)], lambda step: tf.constant(0.5, tf.float64))
        return lambda scores: made.masks([scores], tf.constant(1, tf.int64))[0][0]

    tied = tf.ones([64, 16])
    eager = runs(0)(tied).numpy()
    np.testing.assert_array_equal(tf.function(runs(0))(tied), eager)
    np.testing.assert_array_equal(tf.function(runs(0), jit_compile=True)(tied), eager)
    assert np.any(runs(1)(tied).numpy() != eager)
    # Each place of a run is kept about half the time.
    np.testing.assert_allclose(eager.reshape(16, 4, 16).mean(axis=(0, 2)), 0.5, atol=0.12)


_LARGE = (1031, 256)
_ODD = [np.nan, -np.inf, -1.0, -0.0, 0.0, 1e-45, 3e-39, 0.5, 1.0, np.inf]


@pytest.mark.parametrize("down", [True, False], ids=["down", "across"])
@pytest.mark.parametrize(
    ("shape", "length", "kept"),
    [
        ((8, 3), 4, 2),
        ((7, 6), 4, 3),
        ((5, 9), 2, 1),
        ((2, 3, 9, 5), 8, 3),
        ((33, 34), 16, 5),
        ((3, 2), 4, 3),
        (_LARGE, 4, 2),
    ],
)
@pytest.mark.parametrize("values", ["ties", "no ties"])
def test_masks_are_those_of_numpy(shape, length, kept, down, values):
    rng = np.random.default_rng(5)
    scores = rng.choice(_ODD, shape) if values == "ties" else np.abs(rng.normal(size=shape))
    scores = scores.astype(np.float32)
    fields = {"n_of_m": f"{kept}:{length}"} if down else {"intra_block_sparsity": True, "block_width": length}
    hparams = PruningHParams(target_sparsity=1 - kept / length, seed=3, **fields)
    runs = NOfM(hparams, ["kernel"], [shape], lambda step: tf.constant(1 - kept / length, tf.float64))
    [(mask, threshold)] = runs.masks([tf.constant(scores)], tf.constant(9, tf.int64), tf.bool)
    expected, lowest = numpy_ranking.best_of_runs(scores, len(shape) - (2 if down else 1), length, kept, (3, 9))
    np.testing.assert_array_equal(mask, expected)
    assert threshold == lowest


def test_nan_ranks_as_zero():
    weight = np.float32([[np.nan], [1], [2], [0.5]])
    _, mask, _ = pruned((4, 1), weight=weight, n_of_m="2:4")
    assert mask.ravel().tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("shape", [(8,), (4, 2, 2)])
def test_other_ranks_are_refused(shape):
    with pytest.raises(ValueError, match=r"rank 2 \(Dense\) and 4 \(Conv2D\); kernel has the shape .*exclude"):
        pruned(shape, n_of_m="2:4")


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"n_of_m": "4:2"}, "n_of_m must be 'n:m' with 0 < n < m"),
        ({"n_of_m": "0:4"}, "n_of_m must be 'n:m' with 0 < n < m"),
        ({"n_of_m": "half"}, "n_of_m must be 'n:m' with 0 < n < m"),
        ({"n_of_m": "2:4", "target_sparsity": 0.9}, "Set target_sparsity to 0.5"),
        ({"n_of_m": "2:4", "allocation": "global"}, "Use allocation='uniform'"),
        ({"n_of_m": "2:4", "weight_sparsity_map": ["a:0.5"]}, "leave out weight_sparsity_map"),
        ({"n_of_m": "2:4", "intra_block_sparsity": True, "block_width": 4}, "exclude each other"),
        ({"intra_block_sparsity": True}, "block_width must be at least 2"),
        ({"intra_block_sparsity": True, "block_width": 4, "block_height": 2}, "block_height 1, got 4 and 2"),
        ({"intra_block_sparsity": True, "block_width": 4, "target_sparsity": 0.6}, "a whole number of 4ths"),
    ],
)
def test_contradictions_are_refused_at_construction(fields, match):
    with pytest.raises(ValueError, match=match):
        PruningHParams(**fields)
