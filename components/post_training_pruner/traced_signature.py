"""TracedSignature: a signature of a model in memory, with the places where its weights meet activations."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import node_def_pb2

from ..saved_model import loading
from ..saved_model.saved_objects import SavedObjects
from ..structure.flat_function import FlatFunction, TensorName
from ..structure.layer_form import LayerForm, NoLayerFormError
from ..structure.normalizations import Normalization, normalizations
from ..structure.weight_uses import WeightUse, WeightUses
from .saved_weights import SavedWeight, saved_value

_FORWARDED = ("Identity", "Reshape", "Squeeze")
_SUMS = ("BiasAdd", "Add", "AddV2")

# Gives a tensor of the signature by its name.
Lookup = Callable[[TensorName], tf.Tensor]


@dataclasses.dataclass(frozen=True, eq=False)
class TracedSignature:
    """A signature, its functions written out.

    Attributes:
        name: Its name.
        specs: Its inputs, by name, in the order in which its function takes them.
        outputs: The tensors that it returns, by name.
        uses: Where weights, named by their objects, meet activations.
        model: The model in memory.
    """

    name: str
    specs: Mapping[str, tf.TensorSpec]
    outputs: Mapping[str, TensorName]
    uses: WeightUses
    model: Any
    _source: SavedObjects
    _flat: FlatFunction
    _captures: Sequence[tf.Tensor]
    _objects: Sequence[int]

    @classmethod
    def of(cls, source: SavedObjects, name: str, weights: Sequence[SavedWeight]) -> "TracedSignature":
        """Loads a model and writes out one of its signatures.

        Args:
            source: The model.
            name: The signature.
            weights: The weights that are followed.

        Raises:
            ValueError: The model cannot be loaded, or uses operations that are not.
        """
        flat, uses = uses_in_signature(source, name, weights)
        model = loading.load(source)
        function = model.signatures[name]
        specs = function.structured_input_signature[1]
        names = sorted(function.structured_outputs)
        return cls(
            name,
            {key: specs[key] for key in sorted(specs)},
            dict(zip(names, flat.outputs, strict=True)),
            uses,
            model,
            source,
            flat,
            function.captured_inputs,
            source.graph.bound_inputs(source.graph.signatures[name]),
        )

    def value(self, weight: SavedWeight) -> np.ndarray:
        """The value of a weight, as it was saved."""
        return saved_value(self._source, weight)

    def lookup(
        self,
        inputs: Sequence[tf.Tensor],
        wanted: Sequence[TensorName],
        changed: Mapping[int, tf.Variable] | None = None,
    ) -> Lookup:
        """Adds the signature to the graph that is being built.

        Args:
            inputs: What it is given, in the order of `specs`.
            wanted: Tensors of the signature.
            changed: Variables that stand in for weights, by object.

        Returns:
            A function from these tensors' names to the tensors.
        """
        graph = tf.compat.v1.get_default_graph()
        standing_in = changed or {}
        captured = [
            graph.capture(standing_in[node].handle if node in standing_in else each)
            for node, each in zip(self._objects, self._captures, strict=True)
        ]
        tensors = self._flat.import_into_graph([*inputs, *captured], list(wanted))
        return dict(zip(wanted, tensors, strict=True)).__getitem__

    def normalizations(self, variances: Collection[int]) -> list[Normalization]:
        """Where activations are normalized by variances, which must be among the weights that are followed."""
        return normalizations(self._flat, self.uses.reads, variances)

    def node(self, tensor: TensorName) -> node_def_pb2.NodeDef:
        """The node that makes a tensor of the signature."""
        return self._flat.node(tensor)

    def bias_of(self, use: WeightUse) -> int | None:
        """The variable that is added to a product, by channel of its output; None if there is none.

        Its object is among those that are followed.
        """
        reads = {f"{read}:0": node for node, all_reads in self.uses.reads.items() for read in all_reads}
        tensor = f"{use.node.name}:0"
        while True:
            readers = [node for node in self._flat.nodes.values() if tensor in self._flat.inputs(node)]
            if len(readers) != 1:
                return None
            (reader,) = readers
            if reader.op in _SUMS:
                (other,) = [each for each in self._flat.inputs(reader) if each != tensor] or [None]
                while other is not None and self._flat.node(other).op in ("Cast", *_FORWARDED):
                    other = self._flat.node(other).input[0]
                return reads.get(other)
            if reader.op not in _FORWARDED or self._flat.inputs(reader)[0] != tensor:
                return None
            tensor = f"{reader.name}:0"


def uses_in_signature(
    source: SavedObjects, name: str, weights: Sequence[SavedWeight]
) -> tuple[FlatFunction, WeightUses]:
    """A signature with its functions written out, and where it uses weights, named by their objects.

    Args:
        source: The model; it is not loaded.
        name: The signature.
        weights: The weights that are followed.

    Raises:
        ValueError: It uses operations that are not loaded.
    """
    signature = source.graph.signatures[name]
    (concrete,) = source.graph.concrete_functions(signature)
    flat = FlatFunction.of(source.library.functions, concrete)
    objects = source.graph.bound_inputs(signature)
    captured = flat.arguments[len(flat.arguments) - len(objects) :]
    shapes = {each.node: each.shape for each in weights}
    followed = {tensor: (node, shapes[node]) for tensor, node in zip(captured, objects, strict=True) if node in shapes}
    return flat, WeightUses.of(flat, followed)


def form_of(use: WeightUse, activation: tf.Tensor) -> LayerForm | None:
    """The form of a product in the graph that is being built; None if there is no rule for it."""
    try:
        return LayerForm.of(use, activation)
    except NoLayerFormError:
        return None
