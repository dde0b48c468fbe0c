"""warm_start: loads the weights and the pruning state of an earlier model."""

import re
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from ...saved_model.checkpoint import VALUE_SUFFIX
from ...saved_model.variables import ROOT, SavedVariable, SavedVariables
from ...structure.kept_indices import KeptIndices, KeptVariable
from .. import naming
from ..choices import CHANNEL
from ..hparams import PruningHParams
from ..model_variables import model_variables
from ..pruning import variables_of
from ..weight_choice import prunable_weights
from ..weight_state import Trackable, Weight, WeightState, path_of
from .scope import active_scope
from .version import Model

# Children of a Keras model that are not part of the network.
_NO_PART_OF_THE_NETWORK = frozenset(("optimizer", "signatures", naming.MODEL_STATE, naming.STATES))


def warm_start(model: Model, fn_args: Any) -> bool:
    """Loads the weights of `fn_args.base_model` into a Keras model.

    For the `run_fn` of a TFX Trainer or PruningTrainer: call `tfx_pruning.warm_start(model, fn_args)` after the model
    is built. Inside PruningTrainer the pruning state of the earlier model is loaded too, if it has one: weights that
    were pruned stay zero until the schedule asks for a lower sparsity. The gradient state is loaded if it was made with
    the same criterion and estimator. The optimizer starts anew.

    Weights are matched by their paths if both models have the same; else by their place in the model; in a model that
    `model.export` wrote, by their order; and in a stripped model by their names, which Keras numbers in order.
    A model that Stripper shrank is loaded into the full architecture: what was cut starts at zero.

    Args:
        model: A built model of Keras 3 or tf_keras.
        fn_args: TFX's `FnArgs`, or any object whose `base_model` is the path of a SavedModel or None.

    Returns:
        Whether there was a base model.

    Raises:
        ValueError: The base model is missing or unreadable, lacks a weight, or has it in another shape. No weight of
            `model` is changed then.
    """
    path = getattr(fn_args, "base_model", None)
    if not path:
        return False
    if not model.built:
        raise ValueError(
            f"Build the model {model.name!r} before warm_start: it has no weights yet. Call model.build(input_shape), "
            "or the model itself on a batch."
        )
    saved = SavedVariables(path)
    kept = KeptIndices.read(saved.path)
    found = _matches(model, saved, kept)
    values = {id(weight): _full_value(saved, found[id(weight)], kept) for weight in model.weights}
    for weight in model.weights:
        weight.assign(values[id(weight)])
    scope = active_scope()
    if scope is not None:
        kinds = _kinds_to_load(scope.hparams, saved)
        # Channels run through any weight.
        of_all = scope.hparams.granularity == CHANNEL
        trainable = model.trainable_variables
        for weight in trainable if of_all else prunable_weights(trainable, scope.hparams, model).values():
            _load_state(weight, found[id(weight)], saved, kinds)
    return True


def _matches(model: Model, saved: SavedVariables, kept: KeptIndices) -> dict[int, SavedVariable]:
    """The saved variable of each weight of `model`, by the weight's id."""
    for match in (_by_path, _by_place, _by_order, _by_name):
        found = match(model, saved)
        missing = [path_of(weight) for weight in model.weights if id(weight) not in found]
        if not missing:
            break
    if missing:
        raise ValueError(
            f"The base model in {saved.path} has no weights for {', '.join(missing)}. It must be a model of the same "
            f"architecture; it holds {', '.join(sorted({v.name for v in model_variables(saved)})) or 'none'}."
        )
    for weight in model.weights:
        variable = found[id(weight)]
        cut = _cut(variable, kept)
        shape = variable.shape if cut is None else cut.shape
        if tuple(weight.shape) != shape:
            raise ValueError(
                f"{path_of(weight)} has shape {tuple(weight.shape)}, but {shape} in the base model in "
                f"{saved.path}. Warm start needs the same architecture."
            )
    return found


def _cut(variable: SavedVariable, kept: KeptIndices) -> KeptVariable | None:
    """What was kept of a variable, if it was cut."""
    return kept.variables.get(variable.key.removesuffix(VALUE_SUFFIX))


def _full_value(saved: SavedVariables, variable: SavedVariable, kept: KeptIndices) -> np.ndarray:
    """A variable's value in the shape that it had before the model was shrunk."""
    cut, value = _cut(variable, kept), saved.value(variable)
    return value if cut is None else cut.expanded(value)


def _by_path(model: Model, saved: SavedVariables) -> dict[int, SavedVariable]:
    """Matches by paths, if these are unique and the same in both models."""
    variables = _named(saved)
    paths = [path_of(weight) for weight in model.weights]
    if sorted(paths) != sorted(variables):
        return {}
    return {id(weight): variables[path_of(weight)] for weight in model.weights}


def _by_place(model: Model, saved: SavedVariables) -> dict[int, SavedVariable]:
    found: dict[int, SavedVariable] = {}
    seen = set()
    queue: deque[tuple[Any, int]] = deque([(model, ROOT)])
    while queue:
        live, node = queue.popleft()
        if id(live) in seen:
            continue
        seen.add(id(live))
        variable = saved.variable(node)
        if isinstance(live, (keras.Variable, tf.Variable)) and variable is not None:
            found[id(live)] = variable
            continue
        children = saved.children(node)
        for name, child in _live_children(live).items():
            if name in children and name not in _NO_PART_OF_THE_NETWORK:
                queue.append((child, children[name]))
    return found


def _live_children(live: Any) -> Mapping[str, Any]:
    """The children of a live object, by the names under which they would be saved."""
    if isinstance(live, Mapping):
        return {str(key): child for key, child in live.items()}
    if isinstance(live, (list, tuple)):
        return {str(index): child for index, child in enumerate(live)}
    if isinstance(live, tf_keras.layers.Layer):  # a model too
        return live._trackable_children()
    # Keras 3 lists the collections of layers only for this type of file.
    return live._trackable_children("savedmodel") if isinstance(live, Trackable) else {}


def _by_order(model: Model, saved: SavedVariables) -> dict[int, SavedVariable]:
    """Matches by order: `model.export` saves no layers, but lists of the variables in the model's order."""
    found = {}
    for name in ("trainable_variables", "non_trainable_variables"):
        live = getattr(model, name)
        listed = saved.children(saved.children(ROOT)[name]) if name in saved.children(ROOT) else {}
        if len(listed) == len(live):
            found.update({id(weight): saved.variable(listed[str(index)]) for index, weight in enumerate(live)})
    return found


def _by_name(model: Model, saved: SavedVariables) -> dict[int, SavedVariable]:
    saved_by_kind: dict[str, dict[str, SavedVariable]] = defaultdict(dict)
    for name, variable in _named(saved).items():
        saved_by_kind[_kind(name)][name] = variable
    live_by_kind: dict[str, list[Weight]] = defaultdict(list)
    for weight in model.weights:
        live_by_kind[_kind(path_of(weight))].append(weight)
    found = {}
    for kind, weights in live_by_kind.items():
        variables = sorted(saved_by_kind[kind].values(), key=lambda variable: _numbers(variable.name))
        if len(variables) == len(weights):
            weights = sorted(weights, key=lambda weight: _numbers(path_of(weight)))
            found.update({id(weight): variable for weight, variable in zip(weights, variables, strict=True)})
    return found


def _named(saved: SavedVariables) -> dict[str, SavedVariable]:
    """The variables by their names; empty if variables of one name hold different values.

    An exported model holds each variable twice, with the same name. Towers with layers of one name do not.
    """
    found: dict[str, SavedVariable] = {}
    for variable in model_variables(saved):
        other = found.setdefault(variable.name, variable)
        if other is not variable and not np.array_equal(saved.value(other), saved.value(variable)):
            return {}
    return found


def _kind(name: str) -> str:
    """The name without the numbers that Keras appends to make it unique: 'dense_3/kernel' -> 'dense/kernel'."""
    return "/".join(re.sub(r"_\d+$", "", part) for part in name.split("/"))


def _numbers(name: str) -> tuple[int, ...]:
    matches = (re.search(r"_(\d+)$", part) for part in name.split("/"))
    return tuple(int(match[1]) if match else 0 for match in matches)


def _kinds_to_load(hparams: PruningHParams, saved: SavedVariables) -> tuple[str, ...]:
    """The pruning variables that mean the same in the saved model as under `hparams`."""
    node = saved.children(ROOT).get(naming.MODEL_STATE)
    variable = None if node is None else saved.variable(saved.children(node).get(naming.HPARAMS, ROOT))
    if variable is not None and hparams.has_the_criterion_of(saved.value(variable).item().decode()):
        return variables_of(hparams)
    return naming.MASK, naming.THRESHOLD


def _load_state(weight: Weight, variable: SavedVariable, saved: SavedVariables, kinds: tuple[str, ...]) -> None:
    node = saved.children(variable.node).get(naming.STATE)
    if node is None:
        return
    children = saved.children(node)
    state = WeightState.of(weight)
    for kind in kinds:
        if kind in children:
            getattr(state, kind).assign(saved.value(saved.variable(children[kind])))
    state.apply_mask()
