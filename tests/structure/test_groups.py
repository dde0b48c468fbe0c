"""Units that live only if two others do."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.specimen import drawn
from tfx_pruning.structure import units as units_module
from tfx_pruning.structure.groups import PINNED
from tfx_pruning.structure.live_function import trace_function
from tfx_pruning.structure.units import Units


def _alive(units, *read):
    """Whether each unit is alive if some are read."""
    groups = units.groups()
    alive = np.zeros(len(groups.label), bool)
    alive[PINNED] = True
    for axis in read:
        alive[groups.of(axis)] = True
    groups.close(alive)
    return alive[groups.label]


def test_an_index_of_a_product_stays_if_both_of_its_units_do():
    units = Units()
    heads, places = units.axis(3), units.axis(2)
    both = units.product(heads, places)
    # Head 0 at place 0 and head 2 at place 1 are read: so head 0 has a place 1.
    alive = _alive(units, both[[0, 5]])
    assert alive[heads].tolist() == [True, False, True]
    assert alive[places].tolist() == [True, True]
    assert alive[both].tolist() == [True, True, False, False, True, True]


def test_the_same_product_is_the_same_axis():
    units = Units()
    heads, places = units.axis(3), units.axis(2)
    assert units.product(heads, places).tolist() == units.product(heads, places).tolist()
    outer, inner = units.factors(units.product(heads, places).reshape(3, 2))
    assert (outer.tolist(), inner.tolist()) == (heads.tolist(), places.tolist())


def test_an_axis_becomes_a_product():
    units = Units()
    axis = units.axis(6)
    heads, places = units.factors(axis.reshape(3, 2))
    alive = _alive(units, axis[[1]])
    assert (alive[heads].tolist(), alive[places].tolist()) == ([True, False, False], [False, True])
    # Of what runs by one axis alone the other is none of its.
    assert units.factors(np.repeat(heads, 2).reshape(3, 2))[1] is None
    assert units.factors(np.tile(places, 3).reshape(3, 2))[0] is None


def test_products_that_are_tied_are_made_of_tied_units():
    units = Units()
    one, other = ((units.axis(3), units.axis(2)) for _ in range(2))
    units.tie(units.product(*one), units.product(*other))
    label = units.groups().label
    assert [label[axis].tolist() for axis in one] == [label[axis].tolist() for axis in other]


def test_a_product_that_is_pinned_pins_both():
    units = Units()
    heads, places = units.axis(3), units.axis(2)
    units.pin(units.product(heads, places)[[3]])
    groups = units.groups()
    assert groups.of(heads).tolist() == [heads[0], PINNED, heads[2]]
    assert groups.of(places).tolist() == [places[0], PINNED]
    # With a pinned head, a unit is that of its place.
    assert groups.of(units.product(heads, places)[2:4]).tolist() == [places[0], PINNED]


def test_without_products_only_the_inner_units_are_left():
    units = Units()
    heads, places = units.axis(3), units.axis(2)
    both = units.product(heads, places)
    groups = units.groups().without_products()
    assert groups.of(heads).tolist() == [PINNED] * 3
    assert groups.of(both).tolist() == groups.of(places).tolist() * 3


@pytest.mark.parametrize("size", [5, 6])
def test_a_large_axis_is_made_of_one_axis_of_units(size, monkeypatch):
    monkeypatch.setattr(units_module, "_MOST_PRODUCTS", size)
    units = Units()
    heads, places = units.axis(3), units.axis(2)
    both = units.product(heads, places)
    of_axis = units.factors(units.axis(6).reshape(3, 2))
    assert (units.groups().of(heads) == PINNED).all() == (size < 6)
    assert (len(np.unique(units.groups().of(both))) == 2) == (size < 6)
    assert (of_axis[0] is None) == (size < 6)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 20)), max_size=6), st.sets(st.integers(0, 20), max_size=4))
def test_what_is_alive_can_be_cut_to_a_whole(ties, read):
    units = Units()
    axes = [units.axis(3), units.axis(2), units.axis(4)]
    first, second = units.product(axes[0], axes[1]), units.product(axes[1], axes[2])
    plain = np.concatenate([*axes, first, second[:6]])
    for one, other in ties:
        units.tie(plain[[one]], plain[[other]])
    alive = _alive(units, plain[sorted(read)])
    label = units.groups().label
    assert alive[PINNED]
    assert alive[plain[sorted(read)]].all()
    for group in np.unique(label):
        assert len(set(alive[label == group])) == 1
    for outer, inner, both in ((axes[0], axes[1], first), (axes[1], axes[2], second)):
        assert (alive[both].reshape(len(outer), -1) == alive[outer][:, None] & alive[inner]).all()


def _pinned(call, shape, kernel):
    """Whether no axis of a kernel can be cut, of a function of it and of 8 units that a matrix makes."""
    variables = [tf.Variable(drawn(6, shape[-1])), tf.Variable(drawn(*kernel))]

    def function(x):
        return call(tf.reshape(x @ variables[0], [-1, *shape]), variables[1])

    given_to = tf.function(function).get_concrete_function(tf.TensorSpec([None, 6]))
    trace = trace_function(given_to, variables)
    axes = [axis for holder in trace.holders.values() for axis in holder.axes]
    return all(axis is None or (trace.groups.of(axis) == PINNED).all() for axis in axes)


@pytest.mark.parametrize(("made", "pinned"), [(6, False), (12, True)])
def test_a_transposed_convolution_with_groups_keeps_its_shape(made, pinned):
    def call(x, kernel):
        sizes = tf.stack([tf.shape(x)[0], 1, 1, made])
        y = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=sizes, filter=kernel, out_backprop=x, strides=[1, 1, 1, 1], padding="SAME"
        )
        return tf.reduce_sum(tf.ensure_shape(y, [None, 1, 1, made]), 3)

    assert _pinned(call, (1, 1, 8), (3, 3, 6, 8)) == pinned


def test_no_units_are_followed_through_a_reshape_of_nothing():
    assert _pinned(lambda x, kernel: tf.reshape(x[:0], [0, 16]) @ kernel, (8,), (16, 2))
