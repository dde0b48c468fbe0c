"""Which variables of a SavedModel are the weights of a pruning."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ...saved_model.saved_objects import SavedObjects
from ...saved_model.variables import ROOT, SavedVariable, SavedVariables
from ..model_variables import model_variables
from ..weight_state import WeightState

# Of every optimizer of Keras 3 and tf_keras, apart from the latter's legacy ones.
_OPTIMIZER_CHILDREN = {"_variables", "_iterations"}


def counterparts(states: Sequence[WeightState], saved: SavedVariables) -> Mapping[WeightState, SavedVariable]:
    """Finds the saved variable of each weight. No variable is that of two weights.

    First by value: a model that `fit` built, or that was cloned for saving, has other names in the file. Then by name:
    one that was loaded from a checkpoint of the training has other values, and no model's name in front. What the
    signatures use goes first: a file may hold further variables of the same names. What only an optimizer holds is no
    weight of the model any more.

    Args:
        states: The states of the weights.
        saved: The SavedModel.

    Returns:
        By the state: the variable. Weights that were not found are missing.
    """
    variables = model_variables(saved)
    served = _served_keys(saved)
    held = _held_by_the_model(saved)
    pools = [
        [variable for variable in variables if _object_key(variable) in served],
        [variable for variable in variables if _object_key(variable) not in served and variable.node in held],
    ]
    found: dict[WeightState, SavedVariable] = {}
    for pool in pools:
        for assign in (_by_value, _by_name):
            missing = [state for state in states if state not in found]
            taken = {variable.node for variable in found.values()}
            found.update(assign(missing, [variable for variable in pool if variable.node not in taken], saved))
    return found


def _object_key(variable: SavedVariable) -> str:
    """The key of the object that a variable is."""
    return variable.key.partition("/.ATTRIBUTES")[0]


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


def _held_by_the_model(saved: SavedVariables) -> set[int]:
    """The nodes that can be reached without an optimizer, which lists what it was made to train."""
    found, queue = {ROOT}, deque([ROOT])
    while queue:
        for name, child in saved.children(queue.popleft()).items():
            is_optimizer = name == "optimizer" or saved.children(child).keys() >= _OPTIMIZER_CHILDREN
            if child not in found and not is_optimizer:
                found.add(child)
                queue.append(child)
    return found


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
