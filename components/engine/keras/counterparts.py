"""Which variables of a SavedModel are the weights of a pruning."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ...saved_model.saved_objects import SavedObjects
from ...saved_model.variables import SavedVariable, SavedVariables
from ..model_variables import model_variables
from ..weight_state import WeightState


def counterparts(states: Sequence[WeightState], saved: SavedVariables) -> Mapping[WeightState, SavedVariable]:
    """Finds the saved variable of each weight. No variable is that of two weights.

    First by value: a model that `fit` built, or that was cloned for saving, has other names in the file. Then by name:
    one that was loaded from a checkpoint of the training has other values, and no model's name in front. What the
    signatures use goes first: a file may hold further variables of the same names.

    Args:
        states: The states of the weights.
        saved: The SavedModel.

    Returns:
        By the state: the variable. Weights that were not found are missing.
    """
    variables = model_variables(saved)
    served = _served_keys(saved)
    pools = [
        [variable for variable in variables if variable.key.partition("/.ATTRIBUTES")[0] in served],
        [variable for variable in variables if variable.key.partition("/.ATTRIBUTES")[0] not in served],
    ]
    found: dict[WeightState, SavedVariable] = {}
    for pool in pools:
        for assign in (_by_value, _by_name):
            missing = [state for state in states if state not in found]
            taken = {variable.node for variable in found.values()}
            found.update(assign(missing, [variable for variable in pool if variable.node not in taken], saved))
    return found


def _served_keys(saved: SavedVariables) -> set[str]:
    """The keys of the variables that the signatures use; empty if the file does not tell."""
    if not saved.has_objects:
        return set()
    try:
        graph = SavedObjects.read(saved.path).graph
    except ValueError:  # of several MetaGraphs or with other tags, which this package does not write
        return set()
    reached = graph.reached(graph.signatures.values())
    return {graph.key(variable) for variable in graph.variables if variable in reached}


def _by_value(
    states: Iterable[WeightState], variables: Sequence[SavedVariable], saved: SavedVariables
) -> dict[WeightState, SavedVariable]:
    found: dict[WeightState, SavedVariable] = {}
    taken: set[int] = set()
    for state in states:
        value = state.weight.numpy()
        for variable in variables:
            same_shape = variable.shape == value.shape and variable.node not in taken
            if same_shape and np.array_equal(saved.value(variable), value):
                found[state] = variable
                taken.add(variable.node)
                break
    return found


def _by_name(
    states: Iterable[WeightState], variables: Sequence[SavedVariable], saved: SavedVariables
) -> dict[WeightState, SavedVariable]:
    groups: dict[tuple[str, tuple[int, ...]], list[WeightState]] = {}
    for state in states:
        groups.setdefault((state.path, tuple(state.weight.shape)), []).append(state)
    found: dict[WeightState, SavedVariable] = {}
    for (path, shape), group in groups.items():
        candidates = [each for each in variables if each.shape == shape and f"/{path}".endswith(f"/{each.name}")]
        # `model.export` writes each variable twice: the second must not stand for another weight of the same path.
        distinct: list[SavedVariable] = []
        for each in candidates:
            if not any(np.array_equal(saved.value(each), saved.value(other)) for other in distinct):
                distinct.append(each)
        candidates = distinct if len(distinct) >= len(group) else candidates
        found.update(zip(group, candidates, strict=False))
    return found
