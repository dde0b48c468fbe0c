"""KerasScopes: in which layers a Keras model's functions read its weights, which tells the names of its layers."""

import re
from collections.abc import Iterable

from tensorflow.core.protobuf import meta_graph_pb2

_NUMBER = re.compile(r"_\d+$")


class KerasScopes:
    """The name scopes in which functions of a Keras model read its weights: 'model_1/backbone_1/first_1/Cast'.

    Every layer opens a scope of its name when it is called. Keras 3 opens two, so that a number stands behind the name
    in the second, where the weights are read. tf_keras opens the same one for each call.
    """

    def __init__(self, meta_graph: meta_graph_pb2.MetaGraphDef, functions: Iterable[str], numbered: bool) -> None:
        """Reads the functions.

        Args:
            meta_graph: The MetaGraph, as Keras wrote it.
            functions: Names of functions that call the model.
            numbered: Whether scopes have a number, as with Keras 3.
        """
        self._numbered = numbered
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
        found = {self._outermost(scope, name) for weight in weights for scope in self._scopes.get(weight, ())}
        return None if None in found else found

    def name(self, weights: Iterable[int]) -> str | None:
        """The name of the layer of the model that has all of these weights; None if it cannot be told."""
        read = [self._scopes[weight] for weight in weights if weight in self._scopes]
        names = [{self._unnumbered(scope[1]) for scope in scopes} for scopes in read]
        common = set.intersection(*names) if names else set()
        return common.pop() if len(common) == 1 else None

    def _outermost(self, scope: tuple[str, ...], name: str) -> str | None:
        """The outermost layer below the model in a scope, if the layers of a weight's name stand in it."""
        model, *inner = map(self._unnumbered, scope)
        layers = name.split("/")[:-1]
        # A sequential model's own name stands before those of its layers.
        layers = layers[1:] if len(layers) > 1 and model == layers[0] else layers
        return inner[0] if layers and layers[0] in inner else None

    def _unnumbered(self, scope: str) -> str:
        return _NUMBER.sub("", scope) if self._numbered else scope
