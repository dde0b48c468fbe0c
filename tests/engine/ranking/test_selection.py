import math

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from helpers import numpy_ranking
from tfx_pruning.engine.ranking import radix_select, selection
from tfx_pruning.engine.ranking.radix_select import PART, SMALL
from tfx_pruning.engine.ranking.selection import Scores, top_k_mask, top_k_masks

SEED = tf.constant([7, 11], tf.int64)
INF = float("inf")
NAN = float("nan")


@tf.function(reduce_retracing=True)
def _in_graph(scores, k, seed):
    return top_k_mask(scores, k, seed)


@tf.function(jit_compile=True)
def _in_xla(scores, k, seed):
    return top_k_mask(scores, k, seed)


MODES = {"eager": top_k_mask, "graph": _in_graph, "xla": _in_xla}


@pytest.fixture(params=["eager", "graph", pytest.param("xla", marks=pytest.mark.slow)])
def select(request):
    return MODES[request.param]


def _select(scores, k, seed=SEED, mode=top_k_mask):
    mask, threshold = mode(tf.constant(scores), tf.constant(k), seed)
    return mask.numpy(), threshold.numpy()


@pytest.mark.parametrize(
    ("scores", "k", "mask", "threshold"),
    [
        ([0.1, 0.7, 0.0, 0.4], 2, [0, 1, 0, 1], 0.4),
        ([0.1, 0.7, 0.0, 0.4], 0, [0, 0, 0, 0], INF),
        ([0.1, 0.7, 0.0, 0.4], 4, [1, 1, 1, 1], 0.0),
        ([3.0], 1, [1], 3.0),
        ([3.0], 0, [0], INF),
        ([0.0], 1, [1], 0.0),
        ([5.0, 5.0, 9.0, 1.0], 3, [1, 1, 1, 0], 5.0),
        ([[1.0, 2.0, 3.0], [6.0, 5.0, 4.0]], 3, [[0, 0, 0], [1, 1, 1]], 4.0),
        ([INF, 1.0, 2.0, INF], 3, [1, 0, 1, 1], 2.0),
        ([INF, 1.0, 2.0, 3.0], 1, [1, 0, 0, 0], INF),
        ([NAN, 0.5, 2.0, -NAN, -3.0], 2, [0, 1, 1, 0, 0], 0.5),
        # The smallest denormals, which float comparisons may take for zero.
        ([1e-45, 0.0, 3e-45, 1e-38], 3, [1, 0, 1, 1], 1e-45),
        # Neighbours: they differ in the last bit alone.
        (
            [1.0, np.nextafter(np.float32(1), np.float32(2)), np.nextafter(np.float32(1), np.float32(0))],
            1,
            [0, 1, 0],
            1.0000001,
        ),
        ([1e-38, 1e38, 1.0, 1e19, 1e-19], 3, [0, 1, 1, 1, 0], 1.0),
    ],
)
def test_mask_golden(select, scores, k, mask, threshold):
    got, got_threshold = _select(np.asarray(scores, np.float32), k, mode=select)
    np.testing.assert_array_equal(got, np.asarray(mask, np.float32))
    assert got.dtype == np.float32
    assert got_threshold == np.float32(threshold)
    assert got_threshold.dtype == np.float32


def test_nothing_to_select_from(select):
    mask, threshold = _select(np.zeros([0, 3], np.float32), 0, mode=select)
    assert mask.shape == (0, 3)
    assert threshold == INF


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_every_float_dtype_is_ranked_in_its_own_precision(select, dtype):
    step = float(ml_dtypes.finfo(dtype).eps)
    scores = np.array([[1 + step, 1, 2], [1 + 2 * step, 0.25, ml_dtypes.finfo(dtype).smallest_subnormal]], dtype)
    mask, threshold = _select(scores, 2, mode=select)
    np.testing.assert_array_equal(mask, [[0, 0, 1], [1, 0, 0]])
    assert threshold == np.float32(1 + 2 * step)
    assert _select(scores, 6, mode=select)[1] == np.float32(ml_dtypes.finfo(dtype).smallest_subnormal)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32, tf.float64, tf.bool, tf.int8])
def test_mask_has_the_dtype_asked_for(dtype):
    mask, _ = top_k_mask(tf.constant([3.0, 1.0, 2.0]), 2, SEED, dtype=dtype)
    assert mask.dtype == dtype
    assert tf.cast(mask, tf.int32).numpy().tolist() == [1, 0, 1]


_FLOATS = st.one_of(st.floats(min_value=0, width=32, allow_subnormal=True), st.sampled_from([0.0, 1.0, 1.5, INF]))
_SCORES = hnp.arrays(np.float32, hnp.array_shapes(min_dims=1, max_dims=4, max_side=6), elements=_FLOATS)


@settings(derandomize=True, max_examples=80, deadline=None)
@given(scores=_SCORES, data=st.data())
def test_exactly_k_are_kept_and_none_below_one_that_is_dropped(scores, data):
    k = data.draw(st.integers(0, scores.size))
    mask, threshold = _select(scores, k)
    assert mask.shape == scores.shape
    assert set(np.unique(mask)) <= {0.0, 1.0}
    assert mask.sum() == k
    kept, dropped = scores[mask == 1], scores[mask == 0]
    if k:
        assert threshold == kept.min() == np.sort(scores, axis=None)[scores.size - k]
        assert dropped.size == 0 or dropped.max() <= threshold
    else:
        assert threshold == INF


@settings(derandomize=True, max_examples=20, deadline=None)
@given(
    scores=hnp.arrays(np.float32, 97, elements=st.sampled_from(np.float32([0.0, 0.5, 0.75, 1e-45, 2.0, INF]).tolist())),
    k=st.integers(0, 97),
    seed=st.tuples(*[st.integers(-(2**31), 2**31 - 1)] * 2),
)
def test_eager_graph_and_xla_agree_ties_included(scores, k, seed):
    seed = tf.constant(seed, tf.int64)
    eager, graph, xla = (_select(scores, k, seed, mode) for mode in MODES.values())
    np.testing.assert_array_equal(eager[0], graph[0])
    np.testing.assert_array_equal(eager[0], xla[0])
    assert eager[1] == graph[1] == xla[1]


def _adversaries():
    rng = np.random.default_rng(0)
    n = 50_000
    normal = np.abs(rng.normal(size=n)).astype(np.float32)
    return {
        "all zero": np.zeros(n, np.float32),
        "all equal": np.full(n, 0.3, np.float32),
        "two values": np.where(np.arange(n) % 3, 0.5, 0.25).astype(np.float32),
        "half zero": np.where(np.arange(n) % 2, normal, 0).astype(np.float32),
        "one bin": (np.uint32(0x3F800000) + rng.integers(0, 65536, n, np.uint32)).view(np.float32),
        "every bit pattern alike": rng.integers(0, 0x7F800001, n, np.uint32).view(np.float32),
        "denormals": rng.integers(0, 0x00800000, n, np.uint32).view(np.float32),
        "sorted": np.sort(normal),
        "sorted backwards": np.sort(normal)[::-1].copy(),
        "infinities": np.where(np.arange(n) % 4, normal, np.inf).astype(np.float32),
    }


@pytest.mark.parametrize("name", _adversaries())
def test_hard_distributions(select, name):
    scores = _adversaries()[name]
    order = np.sort(scores)
    for k in (1, 777, scores.size // 2, scores.size - 1):
        mask, threshold = _select(scores, k, mode=select)
        assert mask.sum() == k
        assert threshold == order[scores.size - k]
        assert np.all(mask[scores > threshold] == 1)
        assert np.all(mask[scores < threshold] == 0)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(300, 1000), (1100, 1000)])
def test_every_path_gives_one_mask_for_a_large_weight_with_ties(shape):
    scores = np.random.default_rng(1).integers(0, 50, size=shape).astype(np.float32)
    eager, graph, xla = (_select(scores, 100_000, mode=mode)[0] for mode in MODES.values())
    np.testing.assert_array_equal(eager, graph)
    np.testing.assert_array_equal(eager, xla)
    assert eager.sum() == 100_000
    assert scores[eager == 1].min() >= scores[eager == 0].max()


def test_a_step_that_xla_compiles_goes_through_no_parts_of_a_large_weight():
    def has_loop(**compiled):
        function = tf.function(top_k_mask, **compiled)
        scores = tf.TensorSpec([radix_select.PART + 1], tf.float32)
        return "While" in str(function.get_concrete_function(scores, tf.constant(7), SEED).graph.as_graph_def())

    assert has_loop()
    assert not has_loop(jit_compile=True)


@pytest.mark.parametrize("tied", ["everywhere", "in few parts"])
def test_a_large_weight_draws_the_ties_that_a_small_one_would(tied, monkeypatch):
    rng = np.random.default_rng(2)
    size = 3 * radix_select.PART + 1001
    scores = rng.integers(0, 9, size) if tied == "everywhere" else rng.permutation(size)
    scores = scores.astype(np.float32)
    if tied == "in few parts":
        # Near the middle of the first part, at its end, in what fills no part, and none in between.
        equal = np.array([70_000, radix_select.PART - 1, size - 900, size - 1])
        scores[equal] = size / 2 + 0.5
    k = int((scores > size / 2 + 0.5).sum()) + 2 if tied == "in few parts" else 100_000
    large, large_threshold = _select(scores, k)
    monkeypatch.setattr(selection, "_is_large", lambda flat: False)
    small, threshold = _select(scores, k)
    np.testing.assert_array_equal(small, large)
    assert threshold == large_threshold
    assert large.sum() == k
    if tied == "in few parts":
        assert large[equal].sum() == 2
        np.testing.assert_array_equal(np.delete(large, equal), np.delete(scores, equal) > threshold)


def product(weight, gradient):
    return tf.abs(tf.cast(weight, tf.float32)) * gradient


@pytest.mark.parametrize("dtypes", [("float32", "float32"), ("float16", "float32")], ids=["alike", "of two dtypes"])
def test_small_scores_that_are_large_together_are_ranked_as_if_they_had_been_computed(dtypes):
    rng = np.random.default_rng(3)
    # Each below the size of a part, above it together.
    shapes = [(300, 500), (200, 600), (7,)]
    weights = [rng.normal(size=shape).astype(dtypes[number % 2]) for number, shape in enumerate(shapes)]
    gradients = [rng.random(size=shape).astype("float32") for shape in shapes]
    inputs = [tuple(map(tf.constant, pair)) for pair in zip(weights, gradients, strict=True)]
    [(masks, threshold)] = top_k_masks([[Scores(product, pair) for pair in inputs]], [1000], SEED[None])
    expected = np.concatenate([product(*pair).numpy().ravel() for pair in inputs])
    kept = np.sort(expected)[-1000]
    assert float(threshold) == kept
    np.testing.assert_array_equal(np.concatenate([mask.numpy().ravel() for mask in masks]), expected >= kept)


@pytest.mark.parametrize("draw", ["ties", "no ties"])
def test_tensors_ranked_together_get_the_masks_of_one_tensor(draw):
    rng = np.random.default_rng(4)
    shapes = [(7,), (300, 1000), (3, 5), (11,), (262_144,), (2,)]
    sizes = [math.prod(shape) for shape in shapes]
    joined = rng.integers(0, 40, sum(sizes)) if draw == "ties" else rng.permutation(sum(sizes))
    joined = joined.astype(np.float32)
    parts = [part.reshape(shape) for part, shape in zip(np.split(joined, np.cumsum(sizes)[:-1]), shapes, strict=True)]
    mask, threshold = _select(joined, 100_001)
    for together in (top_k_masks, tf.function(top_k_masks)):
        [(masks, their_threshold)] = together([[tf.constant(part) for part in parts]], [100_001], SEED[None])
        assert [each.shape for each in masks] == shapes
        np.testing.assert_array_equal(np.concatenate([each.numpy().ravel() for each in masks]), mask)
        assert their_threshold == threshold


def _odd_scores(size, kind, dtype="float32"):
    rng = np.random.default_rng(size)
    return {
        "ties": lambda: rng.integers(0, 9, size),
        "all zero": lambda: np.zeros(size),
        "normal": lambda: np.abs(rng.normal(size=size)),
        "subnormal": lambda: rng.integers(0, 500, size) * np.float64(ml_dtypes.finfo(dtype).smallest_subnormal),
        "not ranked": lambda: rng.choice([NAN, -NAN, -3.0, -0.0, 0.0, 1.0, INF, -INF], size),
    }[kind]().astype(dtype)


_KINDS = ("ties", "all zero", "normal", "subnormal", "not ranked")


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([SMALL - 1, SMALL, SMALL + 1, PART - 1, PART, PART + 1], id="few"),
        pytest.param([1, 2, 100, 0, SMALL - 1, 3, SMALL + 1, PART - 1, 5, 64, PART], id="many"),
    ],
)
def test_rankings_of_all_sizes_are_those_of_numpy(sizes, mode):
    scores = [_odd_scores(size, _KINDS[index % len(_KINDS)]) for index, size in enumerate(sizes)]
    counts = [size // 3 for size in sizes]
    seeds = tf.constant([[-5, index] for index in range(len(sizes))], tf.int64)

    def select():
        return top_k_masks([[tf.constant(each)] for each in scores], counts, seeds)

    found = (select if mode == "eager" else tf.function(select))()
    for each, count, seed, ([mask], threshold) in zip(scores, counts, seeds.numpy(), found, strict=True):
        expected, kth = numpy_ranking.top_k(each, count, tuple(seed))
        np.testing.assert_array_equal(mask, expected)
        assert threshold == kth


@settings(derandomize=True, max_examples=25, deadline=None)
@given(data=st.data())
def test_many_small_rankings_at_once_are_those_of_numpy(data):
    # Some are of several tensors, and of other dtypes.
    sizes = data.draw(st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=3), min_size=1, max_size=12))
    kinds = data.draw(st.lists(st.sampled_from(_KINDS), min_size=len(sizes), max_size=len(sizes)))
    dtypes = data.draw(st.lists(st.sampled_from(["float32", "float64", "float16", ml_dtypes.bfloat16]), min_size=1))
    rankings = [
        [_odd_scores(size, kind, dtypes[index % len(dtypes)]) for size in own]
        for index, (own, kind) in enumerate(zip(sizes, kinds, strict=True))
    ]
    counts = [data.draw(st.integers(0, sum(own))) for own in sizes]
    seeds = [data.draw(st.tuples(*[st.integers(-(2**40), 2**40)] * 2)) for _ in sizes]
    found = top_k_masks([[tf.constant(each) for each in own] for own in rankings], counts, tf.constant(seeds, tf.int64))
    for own, count, seed, (masks, threshold) in zip(rankings, counts, seeds, found, strict=True):
        expected, kth = numpy_ranking.top_k(np.concatenate(own), count, seed)
        np.testing.assert_array_equal(np.concatenate(masks), expected)
        assert threshold == kth


@pytest.mark.slow
def test_code_that_xla_compiles_ranks_many_at_once_alike():
    scores = [_odd_scores(size, kind) for size, kind in zip((300, 7, 1000, 50, 2000), _KINDS, strict=True)]
    counts, seeds = [30, 3, 500, 25, 900], tf.constant([[3, index] for index in range(5)], tf.int64)
    found = tf.function(top_k_masks, jit_compile=True)([[tf.constant(each)] for each in scores], counts, seeds)
    for each, count, seed, ([mask], threshold) in zip(scores, counts, seeds.numpy(), found, strict=True):
        expected, kth = numpy_ranking.top_k(each, count, tuple(seed))
        np.testing.assert_array_equal(mask, expected)
        assert threshold == kth


def test_rankings_in_several_batches_are_those_of_numpy(monkeypatch):
    monkeypatch.setattr(selection, "_BATCH_SCORES", 1000)
    monkeypatch.setattr(selection, "_BATCH", 3)
    sizes = [900, 200, 5, 5, 5, 5, 1500, 100, 30]
    scores = [_odd_scores(size, "ties") for size in sizes]
    counts, seeds = [size // 2 for size in sizes], tf.constant([[index, 1] for index in range(len(sizes))], tf.int64)
    found = top_k_masks([[tf.constant(each)] for each in scores], counts, seeds)
    for each, count, seed, ([mask], threshold) in zip(scores, counts, seeds.numpy(), found, strict=True):
        expected, kth = numpy_ranking.top_k(each, count, tuple(seed))
        np.testing.assert_array_equal(mask, expected)
        assert threshold == kth


def test_many_weights_need_few_operations():
    def operations(weights):
        seeds = tf.zeros([weights, 2], tf.int64)
        selected = tf.function(lambda *scores: top_k_masks([[each] for each in scores], [5] * weights, seeds))
        graph = selected.get_concrete_function(*[tf.TensorSpec([9], tf.float32)] * weights).graph
        return len(graph.get_operations())

    assert operations(60) - operations(20) < 40 * 12


def test_a_large_weight_without_ties():
    scores = np.abs(np.random.default_rng(3).normal(size=[1024, 1025])).astype(np.float32)
    scores[0, 0] = np.nan
    mask, threshold = _select(scores, 12_345, mode=_in_graph)
    expected = np.sort(np.nan_to_num(scores), axis=None)[-12_345]
    assert threshold == expected
    np.testing.assert_array_equal(mask, scores >= expected)


def test_same_seed_same_ties_other_seed_other_ties():
    scores = np.ones([40, 5], np.float32)
    first, again = (_select(scores, 60, tf.constant([3, 4]))[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    for other in ([3, 5], [4, 4]):
        assert (first != _select(scores, 60, tf.constant(other))[0]).any()


def test_int32_and_int64_seeds_draw_alike():
    scores = np.ones(64, np.float32)
    np.testing.assert_array_equal(
        _select(scores, 20, tf.constant([3, 4], tf.int32))[0], _select(scores, 20, tf.constant([3, 4], tf.int64))[0]
    )


@pytest.mark.slow
def test_ties_are_broken_uniformly():
    scores = np.array([9.0] * 3 + [2.0] * 20 + [1.0] * 4, np.float32)
    room, draws = 5, 1000
    masks = np.stack(
        [_in_graph(tf.constant(scores), tf.constant(3 + room), tf.constant([s, 1]))[0] for s in range(draws)]
    )
    assert np.all(masks[:, :3] == 1)
    assert np.all(masks[:, 23:] == 0)
    tied = masks[:, 3:23]
    assert np.all(tied.sum(axis=1) == room)
    # Each of the 20 is kept in 1/4 of the draws, each pair of them in 1/19; chi-square bounds at about 1e-4.
    expected = draws * room / 20
    assert ((tied.sum(axis=0) - expected) ** 2 / (expected * 15 / 19)).sum() < 51
    pairs = (tied.T @ tied)[np.triu_indices(20, 1)]
    assert ((pairs - draws / 19) ** 2 / (draws / 19)).sum() < 270


def test_k_may_be_a_tensor_of_any_integer_dtype():
    for dtype in (tf.int32, tf.int64):
        mask, _ = _in_graph(tf.constant([1.0, 3.0, 2.0]), tf.constant(2, dtype), SEED)
        assert mask.numpy().tolist() == [0.0, 1.0, 1.0]


def test_unknown_shape_in_a_graph():
    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32), tf.TensorSpec([], tf.int32)])
    def of_any_shape(scores, k):
        return top_k_mask(scores, k, SEED)

    for scores, k in ((np.ones([3, 4], np.float32), 5), (np.arange(6, dtype=np.float32), 2)):
        np.testing.assert_array_equal(of_any_shape(scores, k)[0], _select(scores, k)[0])


@pytest.mark.parametrize("k", [-1, 4])
def test_k_out_of_range_is_refused_at_once(k):
    with pytest.raises(ValueError, match=rf"k must lie between 0 and the number of scores, 3, got {k}"):
        top_k_mask(tf.constant([1.0, 2.0, 3.0]), k, SEED)


@pytest.mark.parametrize("k", [-1, 4])
def test_k_out_of_range_is_refused_when_the_graph_runs(k):
    with pytest.raises(tf.errors.InvalidArgumentError, match="k must lie between 0 and the number of scores"):
        _in_graph(tf.constant([1.0, 2.0, 3.0]), tf.constant(k), SEED)


@pytest.mark.parametrize(
    ("scores", "k", "error", "message"),
    [
        ([1, 2, 3], 1, TypeError, "ranks floating scores, got int32"),
        ([1.0, 2.0], 1.0, TypeError, "k is a number of weights and must be an integer, got float32"),
        ([1.0, 2.0], [1, 1], ValueError, r"k must be a scalar, got shape \(2,\)"),
    ],
)
def test_bad_arguments(scores, k, error, message):
    with pytest.raises(error, match=message):
        top_k_mask(tf.constant(scores), k, SEED)
