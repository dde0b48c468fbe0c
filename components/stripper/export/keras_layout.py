"""KerasLayout: the layers of a Keras model and the order of their weights, found in its SavedModel."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence

from tensorflow.core.protobuf import meta_graph_pb2, saved_object_graph_pb2

from ..masks.pruning_names import is_pruning_name
from .keras_scopes import KerasScopes

_ROOT = 0
_KERAS_2 = "_tf_keras_"
# Every layer of Keras 3 has these; no optimizer, metric or seed generator does.
_KERAS_3_LAYER = {"_inbound_nodes", "_outbound_nodes"}
_EXPORTED_BY_KERAS_2 = "_endpoint_names"
_CONTAINERS = ("trackable_list_wrapper", "trackable_dict_wrapper", "trackable_tuple_wrapper")
_SEED_STATE = "seed_generator_state"


class KerasLayoutError(ValueError):
    """The layers of a Keras model and the order of their weights cannot be found in its SavedModel."""


@dataclasses.dataclass(frozen=True)
class KerasLayer:
    """The weights of one layer.

    Attributes:
        name: The layer's name, as far as it is known; unique in the model.
        weights: The objects of its weights and those of its sublayers: the trainable ones first, in the layer's order.
    """

    name: str
    weights: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class KerasLayout:
    """The weights of a Keras model.

    Attributes:
        layers: The layers that have weights, in the order of `model.layers`.
        own: Weights that belong to the model but to no layer, the trainable ones first.
    """

    layers: tuple[KerasLayer, ...]
    own: tuple[int, ...] = ()

    @property
    def weights(self) -> tuple[int, ...]:
        """All weights. A weight that layers share is there once for each of them."""
        return (*(weight for layer in self.layers for weight in layer.weights), *self.own)


def keras_layout(path: str, meta_graph: meta_graph_pb2.MetaGraphDef) -> KerasLayout:
    """Finds the layers of a Keras model in its SavedModel.

    Three kinds are known: a model of Keras 3 saved with `tf.saved_model.save`, one written by its `export`, and a model
    of tf_keras.

    Args:
        path: Folder of the SavedModel, for errors.
        meta_graph: Its MetaGraph, as Keras wrote it.

    Returns:
        The layout.

    Raises:
        KerasLayoutError: The SavedModel is of another kind, or the order of layers or weights cannot be found.
    """
    objects = _Objects(meta_graph)
    root = objects.children(_ROOT)
    if objects.identifier(_ROOT).startswith(_KERAS_2):
        layout = _keras_2(path, objects)
    elif root.keys() >= _KERAS_3_LAYER:
        layout = _keras_3(path, objects)
    elif root.keys() >= {"variables", "trainable_variables", "non_trainable_variables"}:
        layout = _exported(path, objects)
    else:
        raise KerasLayoutError(
            f"The SavedModel at {path!r} is not that of a Keras model, so it has no Keras weights to export. Save the "
            "model itself, with tf.saved_model.save(model, ...) or model.export, or do without 'keras_weights'."
        )
    if not layout.weights:
        raise KerasLayoutError(f"The Keras model of the SavedModel at {path!r} has no weights to export.")
    return layout


class _Objects:
    """The object graph."""

    def __init__(self, meta_graph: meta_graph_pb2.MetaGraphDef) -> None:
        self._meta_graph = meta_graph
        self._nodes = meta_graph.object_graph_def.nodes

    def children(self, node: int) -> dict[str, int]:
        return {child.local_name: child.node_id for child in self._nodes[node].children}

    def child(self, node: int, *names: str) -> int | None:
        """The object at a path."""
        found: int | None = node
        for name in names:
            found = None if found is None else self.children(found).get(name)
        return found

    def items(self, node: int | None) -> list[int]:
        """The items of a list, in its order; none if there is no list."""
        if node is None:
            return []
        numbered = {int(name): item for name, item in self.children(node).items() if name.isdigit()}
        return [numbered[index] for index in sorted(numbered)]

    def identifier(self, node: int) -> str:
        return self._nodes[node].user_object.identifier

    def is_container(self, node: int) -> bool:
        return self.identifier(node) in _CONTAINERS

    def variable(self, node: int) -> saved_object_graph_pb2.SavedVariable | None:
        return self._nodes[node].variable if self._nodes[node].WhichOneof("kind") == "variable" else None

    def is_weight(self, node: int) -> bool:
        variable = self.variable(node)
        if variable is None or is_pruning_name(variable.name):
            return False
        return not variable.name.endswith(_SEED_STATE)

    def is_keras_3_layer(self, node: int) -> bool:
        return self.children(node).keys() >= _KERAS_3_LAYER and not self.identifier(node).startswith(_KERAS_2)

    def trainable_first(self, weights: Iterable[int]) -> tuple[int, ...]:
        """In the order of `layer.trainable_weights + layer.non_trainable_weights`."""
        once = list(dict.fromkeys(weights))
        return tuple(sorted(once, key=lambda weight: not self._nodes[weight].variable.trainable))

    def name(self, weight: int) -> str:
        return self._nodes[weight].variable.name.partition(":")[0]

    def calls(self, numbered: bool) -> KerasScopes:
        """Where the function that calls the whole model reads its weights; see `KerasScopes`."""
        node = self.child(_ROOT, "_default_save_signature")
        functions: list[str] = []
        if node is not None:
            of_keras_2 = self._nodes[node].bare_concrete_function.concrete_function_name
            functions = [of_keras_2] if of_keras_2 else list(self._nodes[node].function.concrete_functions)
        return KerasScopes(self._meta_graph, functions, numbered)

    def all_calls(self, numbered: bool) -> KerasScopes:
        """Where any function reads the weights."""
        return KerasScopes(self._meta_graph, self._meta_graph.object_graph_def.concrete_functions, numbered)

    def named(self, weight: int) -> list[int]:
        """The variables of a weight's name: `model.export` writes each weight as two, and functions use either."""
        return self._by_name[self.name(weight)]

    @functools.cached_property
    def _by_name(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for node in range(len(self._nodes)):
            if self.variable(node) is not None:
                found.setdefault(self.name(node), []).append(node)
        return found


def _keras_2(path: str, objects: _Objects) -> KerasLayout:
    def weights(node: int) -> tuple[int, ...]:
        lists = [objects.child(node, "keras_api", f"{kind}_variables") for kind in ("trainable", "non_trainable")]
        return tuple(dict.fromkeys(each for found in lists for each in objects.items(found) if objects.is_weight(each)))

    layers = [weights(layer) for layer in objects.items(objects.child(_ROOT, "keras_api", "layers"))]
    held = {weight for layer in layers for weight in layer}
    own = tuple(weight for weight in weights(_ROOT) if weight not in held)
    return KerasLayout(_named(path, objects, layers, numbered=False), own)


_UNNAMED = (
    "The SavedModel at {path!r} does not tell the name of the layer that has {weight!r} and other layers' weights: no "
    "function calls the model. Call it once before it is saved, or do without 'keras_weights'."
)


def _keras_3(path: str, objects: _Objects) -> KerasLayout:
    walk = _Keras3Walk(objects)
    layers, own, certain = walk.layers(_ROOT), walk.own(_ROOT), not walk.is_subclassed(_ROOT)
    weights = [objects.trainable_first(walk.weights(layer)) for layer in layers]
    # An optimizer lists what it trains in the order of model.trainable_weights.
    trained = objects.items(objects.child(_ROOT, "optimizer", "_trainable_variables"))
    rank = {weight: index for index, weight in enumerate(trained)}
    ranked = {weight for each in (*weights, own) for weight in each if weight in rank}
    if ranked and walk.is_subclassed(_ROOT):
        weights.sort(key=lambda each: min((rank[weight] for weight in each if weight in rank), default=len(rank)))
    found = [weight for weight in dict.fromkeys([*own, *(w for each in weights for w in each)]) if weight in rank]
    if found != sorted(found, key=lambda weight: rank[weight]):
        raise KerasLayoutError(_UNTOLD.format(path=path, reason="its optimizer lists them in another order"))
    trainable = {weight for each in (*weights, own) for weight in each if objects.variable(weight).trainable}
    if trainable - ranked and not (certain and walk.certain):
        raise KerasLayoutError(_UNTOLD.format(path=path, reason="layers are held in attributes of a class of its own"))
    return KerasLayout(_named(path, objects, weights, numbered=True), objects.trainable_first(own))


_UNTOLD = (
    "The SavedModel at {path!r} does not tell the order of its Keras weights: {reason}. Compile the model before it is "
    "saved; or restore the weights from the stripped model itself, with "
    "tf.train.Checkpoint(model).read('variables/variables') in its folder."
)


class _Keras3Walk:
    """Walks layers of Keras 3 in the order in which they are listed or were made attributes.

    Attributes:
        certain: Whether this is surely their order in `layer.weights`. It may not be if some attributes are layers and
            others are lists or dicts of layers: the latter come last here, even if they were made first.
    """

    def __init__(self, objects: _Objects) -> None:
        self._objects = objects
        self.certain = True

    def is_subclassed(self, model: int) -> bool:
        return not {"_operations", "_layers"} & self._objects.children(model).keys()

    def layers(self, layer: int) -> list[int]:
        """The sublayers of a layer or model."""
        objects = self._objects
        children = objects.children(layer)
        for name in ("_operations", "_layers"):  # of functional models, and of sequential ones
            if name in children:
                return [each for each in objects.items(children[name]) if objects.is_keras_3_layer(each)]
        direct = [each for each in children.values() if objects.is_keras_3_layer(each)]
        lists = [self._layers_in(each) for each in children.values() if objects.is_container(each)]
        held = [layers for layers in (direct, *lists) if any(map(self._has_weights, layers))]
        self.certain = self.certain and len(held) < 2
        contained = [layer for layers in lists for layer in layers]
        return list(dict.fromkeys([*direct, *contained]))

    def own(self, layer: int) -> list[int]:
        """The weights of a layer, without those of its sublayers."""
        children = self._objects.children(layer).values()
        held = [each for each in (*children, *self._contained(children)) if self._objects.is_weight(each)]
        return list(self._objects.trainable_first(held))

    def weights(self, layer: int) -> list[int]:
        """All weights of a layer."""
        return [*self.own(layer), *(weight for each in self.layers(layer) for weight in self.weights(each))]

    def _has_weights(self, layer: int) -> bool:
        return bool(self.weights(layer))

    def _layers_in(self, container: int) -> list[int]:
        return [each for each in self._contained([container]) if self._objects.is_keras_3_layer(each)]

    def _contained(self, children: Iterable[int]) -> Iterator[int]:
        """The contents of lists, tuples and dicts."""
        for child in children:
            if self._objects.is_container(child):
                items = self._objects.items(child) or list(self._objects.children(child).values())
                yield from items
                yield from self._contained(items)


def _exported(path: str, objects: _Objects) -> KerasLayout:
    """The layout of what `model.export` writes: a list of variables, which functions read in the layers' scopes."""
    weights = [each for each in objects.items(objects.child(_ROOT, "variables")) if objects.is_weight(each)]
    names = [objects.name(weight) for weight in weights]
    if len(set(names)) < len(names):
        raise KerasLayoutError(_EXPORTED.format(path=path, reason="weights of several layers have the same names"))
    scopes = objects.all_calls(numbered=objects.child(_ROOT, _EXPORTED_BY_KERAS_2) is None)
    layers: dict[str, list[int]] = {}
    for weight, name in zip(weights, names, strict=True):
        holders = scopes.layers(objects.named(weight), name)
        if holders is None or len(holders) != 1:
            raise KerasLayoutError(_EXPORTED.format(path=path, reason=f"which layer has {name!r} is not clear"))
        layers.setdefault(*holders, []).append(weight)
    return KerasLayout(tuple(KerasLayer(name, objects.trainable_first(held)) for name, held in layers.items()))


_EXPORTED = (
    "The SavedModel at {path!r}, which model.export wrote, does not tell the layers of its Keras weights: {reason}. "
    "Save the model itself, with tf.saved_model.save(model, ...), or do without 'keras_weights'."
)


def _named(path: str, objects: _Objects, layers: Sequence[Sequence[int]], numbered: bool) -> tuple[KerasLayer, ...]:
    """Layers by the names of their scopes; else by the first part of their weights' names in which they differ.

    Args:
        path: Folder of the SavedModel, for errors.
        objects: The object graph.
        layers: The weights of each layer.
        numbered: See `KerasScopes`.
    """
    layers = [layer for layer in layers if layer]
    parts = [[objects.name(weight).split("/") for weight in layer] for layer in layers]
    firsts = [each for layer in parts for each in layer]
    while len(parts) > 1 and all(len(each) > 2 for each in firsts) and len({each[0] for each in firsts}) == 1:
        for each in firsts:
            del each[0]
    scopes = objects.calls(numbered)
    found: dict[str, tuple[int, ...]] = {}
    for each, layer in zip(parts, layers, strict=True):
        known = scopes.name(layer)
        if known is None and len({first for first, *_ in each}) > 1:
            raise KerasLayoutError(_UNNAMED.format(path=path, weight=objects.name(layer[0])))
        known = known or each[0][0]
        name, number = known, 0
        while name in found:
            number += 1
            name = f"{known}_{number}"
        found[name] = tuple(layer)
    return tuple(KerasLayer(name, layer) for name, layer in found.items())
