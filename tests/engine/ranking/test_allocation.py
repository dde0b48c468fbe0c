import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfx_pruning import PruningHParams
from tfx_pruning.engine.ranking.allocation import allocation

INF = float("inf")


def allocate(shapes, paths=None, units=None, sparsity=None, **fields):
    """The allocation among weights a, b, c ... of these shapes, single weights unless `units` are given."""
    paths = paths or list("abcdefgh"[: len(shapes)])
    shapes = [shape if isinstance(shape, tuple) else (shape,) for shape in shapes]
    units = units or [math.prod(shape) for shape in shapes]
    fields = {"sparsity_function": "constant", **fields}
    return allocation(PruningHParams(**fields), paths, shapes, units, sparsity)


def kept(allocated, step=100):
    counts = allocated.kept(step)
    assert all(count.dtype == tf.int64 and count.shape == [] for count in counts)
    return [int(count) for count in counts]


def masks(allocated, scores, step=100):
    """Masks as NumPy arrays, and thresholds as floats."""
    pairs = allocated.masks([tf.constant(score, tf.float32) for score in scores], tf.constant(step, tf.int64))
    for (mask, threshold), score in zip(pairs, scores, strict=True):
        assert mask.dtype == threshold.dtype == tf.float32
        assert mask.shape == np.shape(score)
        assert set(np.unique(mask)) <= {0.0, 1.0}
    return [mask.numpy() for mask, _ in pairs], [float(threshold) for _, threshold in pairs]


# Maps and groups


@pytest.mark.parametrize(("target", "begin_of_c"), [(0.0, 0.3), (0.6, 0.0)])
def test_mapped_weights_go_from_the_initial_sparsity_to_their_own_target_at_every_step(target, begin_of_c):
    sizes = [1000, 777, 50]
    allocated = allocate(
        sizes,
        initial_sparsity=0.3,
        target_sparsity=target,
        weight_sparsity_map=["^b$:0.9", "^c$:0"],
        sparsity_function="polynomial",
        sparsity_function_begin_step=10,
        sparsity_function_end_step=30,
    )
    assert allocated.parts == [[0], [1], [2]]
    for step in range(35):
        left = (1 - min(max((step - 10) / 20, 0), 1)) ** 3
        sparsities = [own + (begin - own) * left for begin, own in ((0.3, target), (0.3, 0.9), (begin_of_c, 0.0))]
        assert kept(allocated, step) == [round(size * (1 - s)) for size, s in zip(sizes, sparsities, strict=True)]
    assert kept(allocated, 0) == [700, 544, round(50 * (1 - begin_of_c))]
    assert kept(allocated, 30) == [round(1000 * (1 - target)), 78, 50]


def test_a_group_is_ranked_together_and_every_other_weight_alone():
    allocated = allocate(
        [4, (2, 2), 2, 4, 3],
        paths=["x/one", "y/two", "z", "x/three", "w"],
        group_pruning=True,
        group_sparsity_map=["^x/:0.5", "^(y|w):0"],
        weight_sparsity_map=["z:0.5"],
        target_sparsity=0.75,
    )
    assert allocated.parts == [[0, 3], [1, 4], [2]]
    assert kept(allocated) == [4, 7, 1]
    got, thresholds = masks(allocated, [[1, 2, 3, 4], [[1, 9], [1, 9]], [8, 7], [3.5, 0, 5, 6], [0, 0, 0]])
    np.testing.assert_array_equal(got[0], [0, 0, 0, 1])
    np.testing.assert_array_equal(got[3], [1, 0, 1, 1])
    np.testing.assert_array_equal(got[2], [1, 0])
    assert all(got[index].all() for index in (1, 4))
    assert thresholds == [3.5, 0, 8, 3.5, 0]


def test_weights_in_no_group_have_the_target():
    allocated = allocate([10, 10, 10, 10], group_pruning=True, group_sparsity_map=["[bd]:0.2"], target_sparsity=0.7)
    assert allocated.parts == [[0], [1, 3], [2]]
    assert kept(allocated) == [3, 16, 3]


def test_without_a_map_all_weights_are_one_group():
    scores = [np.float32([1, 1, 1, 0.5]), np.float32([[1, 2], [0.25, 1]])]
    grouped = allocate([4, (2, 2)], group_pruning=True)
    as_one = allocate([4, (2, 2)], allocation="global")
    assert grouped.parts == as_one.parts == [[0, 1]]
    assert kept(grouped) == kept(as_one) == [4]
    for got, expected in zip(masks(grouped, scores)[0], masks(as_one, scores)[0], strict=True):
        np.testing.assert_array_equal(got, expected)
    assert sum(mask.sum() for mask in masks(grouped, scores)[0]) == 4


def test_counts_are_of_units_where_these_are_fewer_than_the_weights():
    assert kept(allocate([(8, 8), (16, 4)], units=[4, 16], target_sparsity=0.75)) == [1, 4]
    assert kept(allocate([(8, 8), (16, 4)], units=[4, 16], target_sparsity=0.75, allocation="global")) == [5]


# The floor under every layer


@pytest.mark.parametrize("fields", [{"allocation": "global"}, {"group_pruning": True}], ids=str)
def test_no_weight_keeps_less_than_its_floor_and_the_total_stays(fields):
    small, large = [[0.25, 0.5], [0.125, 0.0]], [1.0, 2, 3, 4, 5, 6, 7, 8]
    allocated = allocate([(2, 2), 8], target_sparsity=0.5, min_layer_density=0.25, **fields)
    got, thresholds = masks(allocated, [small, large])
    np.testing.assert_array_equal(got[0], [[0, 1], [0, 0]])
    np.testing.assert_array_equal(got[1], [0, 0, 0, 1, 1, 1, 1, 1])
    assert thresholds == [0.5, 4.0]
    without, _ = masks(allocate([(2, 2), 8], target_sparsity=0.5, **fields), [small, large])
    assert not without[0].any()
    assert without[1].sum() == 6


def test_floors_that_take_the_whole_total():
    allocated = allocate([4, 8], target_sparsity=0.75, min_layer_density=0.25, allocation="global")
    got, thresholds = masks(allocated, [[1, 2, 3, 4], [50, 60, 70, 80, 50, 60, 70, 75]])
    np.testing.assert_array_equal(got[0], [0, 0, 0, 1])
    np.testing.assert_array_equal(got[1], [0, 0, 0, 1, 0, 0, 0, 1])
    assert thresholds == [4, 75]


def test_infinite_scores_do_not_crowd_out_a_floor():
    allocated = allocate([2, 6], target_sparsity=0.5, min_layer_density=0.01, allocation="global")
    got, _ = masks(allocated, [[0.0, 1.0], [INF] * 6])
    np.testing.assert_array_equal(got[0], [0, 1])
    assert got[1].sum() == 3


@pytest.mark.parametrize(
    ("density", "size", "floor"), [(0.07, 100, 7), (0.1, 10, 1), (0.1, 11, 2), (1e-9, 50, 1), (0.29, 100, 29)]
)
def test_the_floor_is_the_fewest_that_are_the_fraction(density, size, floor):
    allocated = allocate([size, 10_000], target_sparsity=0.7, min_layer_density=density, allocation="global")
    got, _ = masks(allocated, [np.zeros(size), np.ones(10_000)])
    assert got[0].sum() == floor


_SCORE = st.one_of(st.floats(0, 2, width=32), st.sampled_from([0.0, 0.5, 1.0, INF]))


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    scores=st.lists(hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=5), elements=_SCORE), min_size=2),
    density=st.sampled_from([0.0, 1e-6, 0.1, 0.25, 0.5]),
    sparsity=st.floats(0, 0.999),
)
def test_floors_hold_the_total_is_exact_and_nothing_better_is_dropped(scores, density, sparsity):
    scores = scores[:6]
    sizes = [score.size for score in scores]
    floors = [max(1, math.ceil(density * size)) if density else 0 for size in sizes]
    total = round(sum(sizes) * (1 - sparsity))
    fields = {"target_sparsity": sparsity, "min_layer_density": density, "allocation": "global"}
    shapes = [score.shape for score in scores]
    if total < max(1, sum(floors)):
        with pytest.raises(ValueError, match="must stay"):
            allocate(shapes, **fields)
        return
    got, _ = masks(allocate(shapes, **fields), scores)
    assert sum(mask.sum() for mask in got) == total
    best_dropped = max([score[mask == 0].max(initial=0) for score, mask in zip(scores, got, strict=True)])
    for score, mask, floor in zip(scores, got, floors, strict=True):
        assert mask.sum() >= floor
        worst_kept = score[mask == 1].min(initial=INF)
        assert score[mask == 0].max(initial=0) <= worst_kept
        if mask.sum() > floor:
            assert best_dropped <= worst_kept


# Erdős-Rényi-kernel


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        # The sums of the dimensions are 30, 20, 12. Four times these:
        (248, [120, 80, 48]),
        # 5.5 times these are 165, 110, 66, of which the last two are more than there are.
        (329, [165, 100, 64]),
        # A tenth: 3, 2, 1.2.
        (6, [3, 2, 1]),
        # A twentieth, 1.5, 1, 0.6: the first is rounded up before the others are.
        (4, [2, 1, 1]),
        (3, [1, 1, 1]),
        (364, [200, 100, 64]),
    ],
)
def test_erk_golden(total, expected):
    shapes = [(10, 20), (10, 10), (2, 2, 4, 4)]
    allocated = allocate(shapes, allocation="erk", target_sparsity=1 - total / 364)
    assert allocated.parts == [[0], [1], [2]]
    assert kept(allocated) == expected


def test_erk_ranks_each_weight_alone():
    # Six dimensions' worth of 3 + 2 and 3 + 3 units: half of 15 is 8, of which (3, 2) has 5 / 11.
    allocated = allocate([(3, 2), (3, 3)], allocation="erk", target_sparsity=0.5)
    got, thresholds = masks(allocated, [[[1, 2], [3, 4], [5, 6]], [[70, 71, 72], [73, 74, 75], [76, 77, 78]]])
    np.testing.assert_array_equal(got[0], [[0, 0], [1, 1], [1, 1]])
    np.testing.assert_array_equal(got[1], [[0, 0, 0], [0, 0, 1], [1, 1, 1]])
    assert thresholds == [3, 75]


def test_erk_shares_out_units_by_the_weights_dimensions():
    # Units times sum over product of the dimensions: 16 * 80 / 1024 = 1.25 and 64 * 20 / 64 = 20.
    allocated = allocate([(64, 16), (16, 4)], units=[16, 64], allocation="erk", target_sparsity=0.735)
    assert kept(allocated) == [1, 20]


def test_erk_is_that_of_the_paper():
    shapes = [(3, 3, 3, 64), (3, 3, 64, 128), (1, 1, 64, 128), (3, 3, 128, 256), (256, 10), (10,)]
    sizes = [math.prod(shape) for shape in shapes]
    for sparsity in (0.5, 0.9, 0.98):
        # The algorithm as the paper describes it: what would be denser than 1 is dense, one at a time.
        raw = np.array([sum(shape) / math.prod(shape) for shape in shapes])
        dense = np.zeros(len(shapes), bool)
        while True:
            density = np.where(
                dense, 1, raw * (sum(sizes) * (1 - sparsity) - np.sum(sizes, where=dense)) / np.dot(raw * ~dense, sizes)
            )
            if density.max() <= 1:
                break
            dense |= density == density.max(where=~dense, initial=0)
        counts = kept(allocate(shapes, allocation="erk", target_sparsity=sparsity))
        assert sum(counts) == round(sum(sizes) * (1 - sparsity))
        assert dense.any()
        np.testing.assert_allclose(counts, density * sizes, atol=1)


def _check_webster(counts, shapes, sizes, floors):
    """The next unit of no weight has a better claim than the last one of another."""
    shares = [sum(shape) * size / math.prod(shape) for shape, size in zip(shapes, sizes, strict=True)]
    columns = list(zip(counts, shares, sizes, floors, strict=True))
    assert all(floor <= count <= size for count, _, size, floor in columns)
    next_claim = max((share / (count + 0.5) for count, share, size, _ in columns if count < size), default=0)
    last_claim = min((share / (count - 0.5) for count, share, _, floor in columns if count > floor), default=INF)
    assert next_claim <= last_claim * (1 + 1e-12)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(
    shapes=st.lists(
        st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple) | st.sampled_from([(300, 100), (4, 4), (5,)]),
        min_size=1,
        max_size=8,
    ),
    sparsity=st.floats(0, 0.99),
    density=st.sampled_from([0.0, 0.05]),
)
def test_erk_totals_are_exact_and_shared_out_by_webster(shapes, sparsity, density):
    sizes = [math.prod(shape) for shape in shapes]
    floors = [max(1, math.ceil(density * size)) for size in sizes]
    total = round(sum(sizes) * (1 - sparsity))
    fields = {"allocation": "erk", "target_sparsity": sparsity, "min_layer_density": density}
    if total < sum(floors):
        with pytest.raises(ValueError, match=f"and {sum(floors)} must stay"):
            allocate(shapes, **fields)
        return
    counts = kept(allocate(shapes, **fields))
    assert sum(counts) == total
    _check_webster(counts, shapes, sizes, floors)


@pytest.mark.parametrize("shapes", [[(9, 4), (3, 3), (12, 2), (6, 6)], [(5, 5)] * 3, [(1, 1), (30, 2), (2,), (4, 8)]])
def test_erk_counts_never_grow_as_the_sparsity_rises(shapes):
    sizes = [math.prod(shape) for shape in shapes]
    sparsity = tf.Variable(0.0, dtype=tf.float64)
    allocated = allocate(shapes, allocation="erk", sparsity=lambda step: sparsity)
    counts_of = tf.function(lambda: tf.stack(allocated.kept(tf.constant(0, tf.int64))))
    before = np.array(sizes)
    for total in range(sum(sizes), len(sizes) - 1, -1):
        sparsity.assign(1 - total / sum(sizes))
        counts = counts_of().numpy()
        assert counts.sum() == total
        assert (counts <= before).all()
        _check_webster(counts, shapes, sizes, [1] * len(sizes))
        before = counts
    assert before.tolist() == [1] * len(sizes)


# Over the schedule, in a graph, by XLA


@pytest.mark.parametrize(
    ("fields", "at_target"),
    [
        ({}, [12, 7, 4]),
        ({"allocation": "global", "min_layer_density": 0.05}, [23]),
        # Sums of the dimensions 26, 12 and 40, times 0.29.
        ({"allocation": "erk"}, [8, 3, 12]),
        ({"group_pruning": True, "group_sparsity_map": ["[ac]:0.8"], "min_layer_density": 0.05}, [32, 7]),
    ],
    ids=str,
)
def test_counts_fall_to_the_target_and_the_masks_have_them(fields, at_target):
    shapes, sizes = [(20, 6), (3, 3, 2, 4), (40,)], [120, 72, 40]
    allocated = allocate(
        shapes,
        **fields,
        target_sparsity=0.9,
        initial_sparsity=0.1,
        sparsity_function="polynomial",
        sparsity_function_begin_step=5,
        sparsity_function_end_step=12,
    )
    rng = np.random.default_rng(0)
    scores = [tf.constant(rng.integers(0, 5, shape), tf.float32) for shape in shapes]
    of_step = tf.function(lambda step: (tf.stack(allocated.kept(step)), allocated.masks(scores, step)))
    before = [sum(sizes[index] for index in part) for part in allocated.parts]
    for step in range(3, 14):
        counts, pairs = of_step(tf.constant(step, tf.int64))
        counts = counts.numpy().tolist()
        assert counts == kept(allocated, step)
        assert all(now <= earlier for now, earlier in zip(counts, before, strict=True))
        assert counts == [sum(np.count_nonzero(pairs[index][0]) for index in part) for part in allocated.parts]
        before = counts
    assert before == kept(allocated, 12) == at_target


@pytest.mark.slow
@pytest.mark.parametrize("name", ["global", "erk"])
def test_xla_gives_the_masks_of_the_eager_run(name):
    allocated = allocate(
        [(20, 6), (3, 3, 2, 4), 40],
        allocation=name,
        min_layer_density=0.1,
        target_sparsity=0.8,
        sparsity_function="cosine",
    )
    rng = np.random.default_rng(0)
    scores = [tf.constant(rng.integers(0, 3, shape), tf.float32) for shape in [(20, 6), (3, 3, 2, 4), (40,)]]
    compiled = tf.function(allocated.masks, jit_compile=True)
    for step in (30, 100):
        step = tf.constant(step, tf.int64)
        for eager, xla in zip(allocated.masks(scores, step), compiled(scores, step), strict=True):
            np.testing.assert_array_equal(eager[0], xla[0])
            assert float(eager[1]) == float(xla[1])


# Ties


@pytest.mark.parametrize(
    "fields",
    [{}, {"allocation": "global"}, {"allocation": "global", "min_layer_density": 0.2}, {"allocation": "erk"}],
    ids=str,
)
def test_ties_are_broken_by_seed_and_step(fields):
    scores = [np.ones((20, 10)), np.ones(200)]

    def drawn(seed, step):
        allocated = allocate([(20, 10), 200], seed=seed, **fields)
        got, _ = masks(allocated, scores, step)
        assert sum(mask.sum() for mask in got) == 200
        return np.concatenate([mask.ravel() for mask in got])

    once = drawn(3, 100)
    np.testing.assert_array_equal(once, drawn(3, 100))
    assert (once != drawn(3, 101)).any()
    assert (once != drawn(50, 100)).any()
    if not fields:
        # Ties are broken in each weight by itself.
        assert (once[:200] != once[200:]).any()


# Sparsity from outside


@pytest.mark.parametrize(
    "fields", [{}, {"allocation": "global"}, {"group_pruning": True}, {"allocation": "erk"}], ids=str
)
def test_a_sparsity_from_outside_takes_the_place_of_the_schedule(fields):
    outside = tf.Variable(0.25, dtype=tf.float64)
    allocated = allocate([(4, 5), (2, 10)], sparsity=lambda step: outside, target_sparsity=0.999, **fields)
    for value, total in [(0.25, 30), (0.9, 4), (0.5, 20), (0.0, 40)]:
        outside.assign(value)
        assert sum(kept(allocated)) == total
        assert sum(mask.sum() for mask in masks(allocated, [np.ones((4, 5)), np.ones((2, 10))])[0]) == total


def test_a_sparsity_from_outside_is_asked_for_at_the_step():
    def sparsity(step):
        assert step.dtype == tf.int64
        return tf.cast(step, tf.float32) / 100

    allocated = allocate([50], sparsity=sparsity)
    assert [kept(allocated, step) for step in (0, 10, 90, 98)] == [[50], [45], [5], [1]]


@pytest.mark.parametrize(
    ("value", "fields", "words"),
    [
        (1.0, {}, ["[0, 1)"]),
        (-0.1, {}, ["[0, 1)"]),
        (math.nan, {}, ["[0, 1)"]),
        (0.96, {}, ["too few of the 10 weights of a, and 1 must stay"]),
        (0.96, {"allocation": "erk"}, ["too few of the 40 weights of a, b, and 3 must stay"]),
        (0.95, {"allocation": "global", "min_layer_density": 0.1}, ["and 4 must stay", "min_layer_density=0.1"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("wrap", [lambda function: function, tf.function], ids=["eager", "graph"])
def test_a_sparsity_from_outside_that_leaves_too_little_fails_when_it_is_met(value, fields, words, wrap):
    shapes = [10, 30] if fields.get("allocation") != "erk" else [10, 29, 1]
    outside = tf.Variable(0.1, dtype=tf.float64)
    allocated = allocate(shapes, sparsity=lambda step: outside, **fields)
    counts_of = wrap(lambda: allocated.kept(tf.constant(1, tf.int64)))
    counts_of()
    outside.assign(value)
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        counts_of()
    for word in words:
        assert word.replace("a, b", "a, b, c") in str(caught.value)


@pytest.mark.parametrize("value", [1, [0.5], np.float32([0.1, 0.2])], ids=str)
def test_what_is_no_floating_scalar_is_no_sparsity(value):
    allocated = allocate([10], sparsity=lambda step: tf.constant(value))
    with pytest.raises(ValueError, match=r"floating scalar, a fraction in \[0, 1\)"):
        allocated.kept(1)


# Refused


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"weight_sparsity_map": ["x:0.1"]}, ["weight_sparsity_map", "'x'", "none of the pruned weights", "'a', 'b'"]),
        ({"weight_sparsity_map": ["a:0.1", "[ab]:0.2"]}, ["a matches 2 patterns of weight_sparsity_map", "'[ab]'"]),
        ({"group_pruning": True, "group_sparsity_map": ["x:0.1"]}, ["group_sparsity_map", "'x'", "none of the pruned"]),
        (
            {"group_pruning": True, "group_sparsity_map": ["a:0.1", "[ab]:0.2"]},
            ["a matches 2 patterns of group_sparsity_map", "'a', '[ab]'"],
        ),
        (
            {"group_pruning": True, "group_sparsity_map": ["[ab]:0.1"], "weight_sparsity_map": ["b:0.2"]},
            ["b matches '[ab]' of group_sparsity_map and 'b' of weight_sparsity_map"],
        ),
        ({"target_sparsity": 0.96}, ["target_sparsity=0.96 would leave none of the 10 weights of a", "exclude"]),
        ({"initial_sparsity": 0.96}, ["initial_sparsity=0.96 would leave none of the 10 weights of a"]),
        (
            {"weight_sparsity_map": ["^a:0.96"]},
            ["weight_sparsity_map: ^a=0.96 would leave none of the 10 weights of a"],
        ),
        (
            {"group_pruning": True, "group_sparsity_map": ["a|b:0.99"]},
            ["group_sparsity_map: a|b=0.99 would leave none of the 40 weights of a, b"],
        ),
        (
            {"allocation": "global", "target_sparsity": 0.99},
            ["target_sparsity=0.99 would leave none of the 40 weights"],
        ),
        (
            {"allocation": "erk", "target_sparsity": 0.98},
            ["target_sparsity=0.98 would leave 1 of the 40 weights of a, b, and 2 must stay. Lower it"],
        ),
        (
            {"allocation": "global", "target_sparsity": 0.9, "min_layer_density": 0.11},
            ["would leave 4 of the 40 weights of a, b, and 6 must stay", "min_layer_density=0.11"],
        ),
        (
            {"group_pruning": True, "group_sparsity_map": ["a:0.5"], "target_sparsity": 0.9, "min_layer_density": 0.2},
            ["target_sparsity=0.9 would leave 3 of the 30 weights of b, and 6 must stay"],
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_fits_no_weight_or_leaves_too_little_is_refused(fields, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        allocate([10, 30], **fields)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "fields", [{"weight_sparsity_map": ["a:0.1"]}, {"group_pruning": True, "group_sparsity_map": ["a:0.1"]}], ids=str
)
def test_a_map_beside_a_sparsity_from_outside_is_refused(fields):
    with pytest.raises(ValueError, match=r"sparsity_map=\['a:0.1'\] sets targets of the schedule"):
        allocate([10], sparsity=lambda step: 0.5, **fields)
