"""Which units are alive: those that an answer of the model may depend on."""

import numpy as np

from .groups import PINNED
from .products import any_nonzero
from .site import Factor, Site
from .trace import Place, Trace

# What an operation more has to save: a share of the rows, and weights, each of which is a multiply-add an example.
_LEAST_SHARE = 0.1
_LEAST_WEIGHTS = 1 << 13


def live_units(trace: Trace) -> np.ndarray:
    """Whether each unit is alive.

    A unit is dead if no answer depends on it but by a number that does not change: each sum of products that it goes
    into multiplies it by zero, or by weights of dead units alone, or its value there does not depend on the input, so
    that it may go into a bias. Units that are tied are alive if one of them is. An axis of which all units are dead
    keeps those that are tied to its first.

    Args:
        trace: Of the model.

    Returns:
        A bool by unit; [units].
    """
    groups = trace.groups
    label = groups.label
    alive = np.zeros(len(label), bool)  # by group
    alive[PINNED] = True
    sites = [site for call in trace.calls() for site in call.sites]
    while True:
        # From the last site on, for what is behind it says what is read there.
        grown = [_read(site, label, alive) for site in reversed(sites)]
        if not any(grown):
            break
        groups.close(alive)
    for axis in trace.axes():
        if not alive[label[axis]].any():
            alive[label[axis[0]]] = True
            groups.close(alive)
    return alive[label]


def gatherable(trace: Trace, alive: np.ndarray) -> set[Place]:
    """The matrix products whose weights have enough dead rows that it pays to leave these out.

    Args:
        trace: Of the model.
        alive: Whether each unit is alive, as `live_units` gives it.

    Returns:
        Those whose first factor cannot be cut itself, for it is the model's input, or an operation behind a barrier.
    """
    found = set()
    for call in trace.calls():
        for site in call.sites:
            one, other = site.factors
            if site.operation != "MatMul" or other.value is None or len(site.pairs) != 1:
                continue
            ((left, right),) = site.pairs
            units = one.axes[left]
            if left != 1 or (units is not None and (trace.groups.of(units) != PINNED).any()):
                continue
            rows = np.arange(other.value.shape[right])
            dead = len(rows) - np.count_nonzero(_weighted(site, right, rows, np.arange(len(alive)), alive))
            columns = other.value.size // len(rows)
            if dead >= _LEAST_SHARE * len(rows) and dead * columns >= _LEAST_WEIGHTS:
                found.add((call.function, site.node))
    return found


def _read(site: Site, label: np.ndarray, alive: np.ndarray) -> bool:
    """Marks the groups that a site reads as alive; returns whether there is a new one."""
    one, other = site.factors
    grown = False
    for axis in site.output:
        if axis is not None and not alive[label[axis]].any():
            return False
    for left, right in site.pairs:
        units = one.axes[left]
        if units is None:
            continue
        groups = label[units]
        asked = np.flatnonzero(~alive[groups] & ~_constant(one, left, other, right))
        if not len(asked):
            continue
        if other.value is not None:
            asked = asked[_weighted(site, right, asked, label, alive)]
        if len(asked):
            alive[groups[asked]] = True
            grown = True
    return grown


def _constant(one: Factor, left: int, other: Factor, right: int) -> np.ndarray:
    """Which indices of a summed axis need not be read, for what they stand for is known."""
    found = np.zeros(len(one.axes[left]), bool)
    if left in one.constants:
        constants = one.constants[left]
        # What is multiplied by numbers that are not known may go only if it is zero.
        found |= constants.mask if other.value is not None else constants.mask & (constants.vector == 0)
    if right in other.constants:
        constants = other.constants[right]
        found |= constants.mask & (constants.vector == 0)
    return found


def _weighted(site: Site, axis: int, asked: np.ndarray, label: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """Whether weights that count are not zero, for some indices of a summed axis of the weights."""
    one, other = site.factors
    rows = np.moveaxis(other.value.array, axis, 0)
    if len(asked) < len(rows):
        rows = rows[asked]
    lefts = {right: left for left, right in site.pairs}
    for at, number in enumerate((number for number in range(len(other.axes)) if number != axis), start=1):
        units = other.axes[number]
        if number in site.output_of and units is not None:
            # What goes into dead units alone does not count.
            counts = alive[label[units]]
        elif lefts.get(number) in one.constants:
            # Nor does what is multiplied by zero, whatever its index is along the axis that is asked for.
            constants = one.constants[lefts[number]]
            counts = ~(constants.mask & (constants.vector == 0))
        else:
            continue
        if not counts.all():
            rows = np.compress(counts, rows, axis=at)
    return any_nonzero(rows, [0])
