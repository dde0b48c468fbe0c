"""KerasLayout: the layers of a Keras model and the order of their weights, found in its SavedModel."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from tensorflow.core.protobuf import meta_graph_pb2, saved_object_graph_pb2

from ..masks.pruning_names import is_pruning_name

_ROOT = 0
_KERAS_2 = "_tf_keras_"
# Every layer of Keras 3 has these; no optimizer, metric or seed generator does.
_KERAS_3_LAYER = {"_inbound_nodes", "_outbound_nodes"}
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
        layout = _keras_2(objects)
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
        return self._nodes[weight].variable.name


def _keras_2(objects: _Objects) -> KerasLayout:
    def weights(node: int) -> tuple[int, ...]:
        lists = [objects.child(node, "keras_api", f"{kind}_variables") for kind in ("trainable", "non_trainable")]
        return tuple(dict.fromkeys(each for found in lists for each in objects.items(found) if objects.is_weight(each)))

    layers = [weights(layer) for layer in objects.items(objects.child(_ROOT, "keras_api", "layers"))]
    held = {weight for layer in layers for weight in layer}
    return KerasLayout(_named(objects, layers), tuple(weight for weight in weights(_ROOT) if weight not in held))


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
    return KerasLayout(_named(objects, weights), objects.trainable_first(own))


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
    """The layout of what `model.export` writes: a list of variables whose names begin with those of the layers."""
    weights = [each for each in objects.items(objects.child(_ROOT, "variables")) if objects.is_weight(each)]
    names = [objects.name(weight) for weight in weights]
    if len(set(names)) < len(names) or not all("/" in name for name in names):
        raise KerasLayoutError(_UNTOLD.format(path=path, reason="their names do not tell which layer they are of"))
    # A sequential model's own name stands before those of its layers.
    parts = [name.split("/") for name in names]
    if len({each[0] for each in parts}) == 1 and all(len(each) > 2 for each in parts):
        parts = [each[1:] for each in parts]
    layers: dict[str, list[int]] = {}
    for each, weight in zip(parts, weights, strict=True):
        layers.setdefault(each[0], []).append(weight)
    return KerasLayout(tuple(KerasLayer(name, objects.trainable_first(held)) for name, held in layers.items()))


def _named(objects: _Objects, layers: Sequence[Sequence[int]]) -> tuple[KerasLayer, ...]:
    """Layers, named by the first part of their weights' names in which they differ."""
    layers = [layer for layer in layers if layer]
    parts = [objects.name(layer[0]).split("/") for layer in layers]
    while len(parts) > 1 and all(len(each) > 2 for each in parts) and len({each[0] for each in parts}) == 1:
        parts = [each[1:] for each in parts]
    found: dict[str, tuple[int, ...]] = {}
    for each, layer in zip(parts, layers, strict=True):
        name, number = each[0], 0
        while name in found:
            number += 1
            name = f"{each[0]}_{number}"
        found[name] = tuple(layer)
    return tuple(KerasLayer(name, layer) for name, layer in found.items())
