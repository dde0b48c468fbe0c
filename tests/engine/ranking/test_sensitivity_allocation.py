"""allocation='sensitivity'."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning import PruningHParams
from tfx_pruning.engine.ranking.allocation import allocation

CURVES = ("^a$:0.5=0.1;0.9=1", "^b$:0.5=0.2;0.9=0.3", "c:0.8=0")
UNITS = [100, 40, 10]


def _allocate(target=0.5, curves=CURVES, units=UNITS, sparsity=None, **fields):
    hparams = PruningHParams(allocation="sensitivity", sensitivity_map=curves, target_sparsity=target, **fields)
    return allocation(hparams, ["a", "b", "c"], [(size,) for size in units], units, sparsity)


def _kept(allocated, step=100):
    return [int(each) for each in allocated.kept(step)]


@pytest.mark.parametrize(
    ("zeros", "expected"),
    [
        (5, [100, 40, 5]),  # c costs nothing,
        (30, [78, 40, 2]),  # then half of a at 0.002 a weight,
        (58, [50, 40, 2]),
        (78, [50, 20, 2]),  # then all of b at 0.3 / 36,
        (94, [50, 4, 2]),
        (104, [40, 4, 2]),  # then the rest of a.
        (134, [10, 4, 2]),
    ],
)
def test_zeros_go_where_they_cost_least(zeros, expected):
    assert _kept(_allocate(zeros / 150)) == expected


def test_no_other_shares_cost_less():
    curves = {"a": (0.5, 0.1, 0.9, 1.0), "b": (0.5, 0.2, 0.9, 0.6)}
    hparams_curves = [f"^{name}$:{one}={rise};{two}={more}" for name, (one, rise, two, more) in curves.items()]
    units = [20, 10]

    def cost(name, zeros, size):
        one, rise, two, more = curves[name]
        return np.interp(zeros / size, [0, one, two], [0, rise, more])

    for zeros in range(1, 28):
        hparams = PruningHParams(allocation="sensitivity", sensitivity_map=hparams_curves, target_sparsity=zeros / 30)
        kept = _kept(allocation(hparams, ["a", "b"], [(20,), (10,)], units))
        assert sum(kept) == 30 - zeros
        of_kept = cost("a", 20 - kept[0], 20) + cost("b", 10 - kept[1], 10)
        all_costs = [
            cost("a", one, 20) + cost("b", two, 10)
            for one, two in itertools.product(range(19), range(10))
            if one + two == zeros
        ]
        assert of_kept == pytest.approx(min(all_costs))


def test_no_weight_gets_units_back_as_the_sparsity_rises():
    sparsity = tf.Variable(0.0, dtype=tf.float64)
    allocated = _allocate(sparsity=lambda step: sparsity)
    counts_of = tf.function(lambda: tf.stack(allocated.kept(tf.constant(0, tf.int64))))
    before = np.array(UNITS)
    for zeros in range(135):
        sparsity.assign(zeros / 150)
        counts = counts_of().numpy()
        assert counts.sum() == 150 - zeros
        assert (counts <= before).all()
        before = counts
    assert before.tolist() == [10, 4, 2]


def test_each_weight_is_ranked_alone():
    allocated = _allocate(134 / 150)
    assert allocated.parts == [[0], [1], [2]]
    scores = [tf.random.stateless_uniform([size], [1, 2]) for size in UNITS]
    masks = [mask.numpy() for mask, _ in allocated.masks(scores, tf.constant(100, tf.int64))]
    for mask, score, kept in zip(masks, scores, [10, 4, 2], strict=True):
        assert set(np.flatnonzero(mask)) == set(np.argsort(score)[-kept:])


def test_a_layers_density_stays_above_the_least():
    assert _kept(_allocate(0.5, min_layer_density=0.5)) == [50, 20, 5]


def test_what_was_not_measured_is_refused():
    with pytest.raises(ValueError, match=r"would leave 14 of the 150 .*measure the sensitivity at higher sparsities"):
        _allocate(136 / 150)
    with pytest.raises(ValueError, match="sensitivity_map says nothing of c"):
        _allocate(curves=CURVES[:2])
    with pytest.raises(ValueError, match=r"sensitivity_map holds 'd', which matches none"):
        _allocate(curves=(*CURVES, "d:0.5=1"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"allocation": "sensitivity"}, "needs sensitivity_map"),
        ({"sensitivity_map": CURVES}, "is for allocation='sensitivity' alone"),
        ({"sensitivity_map": ["a"], "allocation": "sensitivity"}, "items are 'regex:sparsity=rise;sparsity=rise'"),
        ({"sensitivity_map": ["a:0.5"], "allocation": "sensitivity"}, "sensitivity_map holds 'a:0.5'"),
        ({"sensitivity_map": CURVES, "allocation": "sensitivity", "granularity": "channel"}, "does not go with"),
        ({"sensitivity_map": CURVES, "allocation": "sensitivity", "weight_sparsity_map": ["a:0.5"]}, "cannot hold"),
    ],
)
def test_contradictions_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        PruningHParams(**fields)


def test_curves_survive_string_and_json():
    hparams = PruningHParams(allocation="sensitivity", sensitivity_map=CURVES)
    assert PruningHParams.parse(hparams.to_string()) == PruningHParams.from_json(hparams.to_json()) == hparams
