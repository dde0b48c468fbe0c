"""KerasScopes: in which layers a Keras model's functions read its weights, which tells the names of its layers."""

import re
from collections.abc import Iterable

from tensorflow.core.protobuf import meta_graph_pb2

_NUMBER = re.compile(r"_\d+$")


class KerasScopes:
    """The name scopes in which functions of a Keras model read its weights: 'model_1/backbone_1/first_1/Cast'.

    Every layer opens a scope of its name when it is called. Keras 3 opens it twice, so that a number stands behind the
    name; with tf_keras there is one from the second call on.
    """

    def __init__(self, meta_graph: meta_graph_pb2.MetaGraphDef, functions: Iterable[str]) -> None:
        """Reads the functions.

        Args:
            meta_graph: The MetaGraph, as Keras wrote it.
            functions: Names of functions that call the model.
        """
        self._scopes: dict[int, set[tuple[str, ...]]] = {}
        library = {function.signature.name: function for function in meta_graph.graph_def.library.function}
        objects = meta_graph.object_graph_def
        for name in functions:
            if name not in library or name not in objects.concrete_functions:
                continue
            bound = list(objects.concrete_functions[name].bound_inputs)
            inputs = library[name].signature.input_arg
            variables = {each.name: node for each, node in zip(inputs[len(inputs) - len(bound) :], bound, strict=True)}
            for operation in library[name].node_def:
                scope = tuple(operation.name.split("/")[:-1])
                for read in variables.keys() & set(operation.input) if len(scope) > 1 else ():
                    self._scopes.setdefault(variables[read], set()).add(scope)

    def layers(self, weights: Iterable[int], name: str) -> set[str] | None:
        """The names of the model's layers that read a weight, each the outermost; None if its name does not tell.

        Args:
            weights: The objects that stand for the weight.
            name: The weight's name. It begins with the names of the layers that hold it, from the innermost functional
                model on: 'first/kernel' in the functional model 'backbone'.
        """
        found = {_outermost(scope, name) for weight in weights for scope in self._scopes.get(weight, ())}
        return None if None in found else _without_further_calls(found)

    def name(self, weights: Iterable[int], names: Iterable[str], numbered: bool) -> str | None:
        """The name of the layer that has all of these weights; None if it cannot be told.

        Args:
            weights: Weights of one layer of the model.
            names: Their names.
            numbered: Whether scopes have a number from the first call on, as with Keras 3.
        """
        common: set[str] | None = None
        for weight, name in zip(weights, names, strict=True):
            scopes = self._scopes.get(weight, ())
            found = {_outermost(scope, name) or _unnumbered(scope[1], numbered) for scope in scopes}
            if found:
                found = _without_further_calls(found)
                common = found if common is None else common & found
        return next(iter(common)) if common is not None and len(common) == 1 else None


def _outermost(scope: tuple[str, ...], name: str) -> str | None:
    """The outermost layer below the model in a scope, if the layers of a weight's name stand in it."""
    model, *inner = scope
    layers = name.split("/")[:-1]
    # A sequential model's own name stands before those of its layers.
    if len(layers) > 1 and _is_scope_of(model, layers[0]):
        layers = layers[1:]
    place = next((i for i, each in enumerate(inner) if layers and _is_scope_of(each, layers[0])), None)
    if place is None:
        return None
    return layers[0] if place == 0 else _unnumbered(inner[0], inner[place] != layers[0])


def _is_scope_of(scope: str, layer: str) -> bool:
    return scope == layer or (scope.startswith(layer) and bool(_NUMBER.fullmatch(scope[len(layer) :])))


def _unnumbered(scope: str, numbered: bool) -> str:
    return _NUMBER.sub("", scope) if numbered else scope


def _without_further_calls(names: set[str]) -> set[str]:
    """Without the scopes of tf_keras for the second call of a layer and later ones."""
    return {each for each in names if not any(each != other and _is_scope_of(each, other) for other in names)}
