"""LayerRepair: makes a layer's outputs as near as possible with the weights that a mask keeps."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..structure.weight_uses import WeightUse
from .calibration import Calibration
from .layer_statistics import LayerStatistics
from .reconstruction import Reconstruction
from .saved_weights import SavedWeight
from .traced_signature import TracedSignature

# Convolutions see far more places than a least-squares problem needs.
_SAMPLES_AN_INPUT = 50
# A matrix of inputs times inputs in float64 takes 128 MB, and the repairs of a layer some ten seconds.
_MOST_INPUTS = 4096
_MOST_MULTIPLY_ADDS = 5e11


@dataclasses.dataclass(frozen=True, eq=False)
class LayerRepair:
    """The least-squares problem of one layer, whose inputs are those of the dense model.

    Attributes:
        weight: The weight that is pruned.
        bias: The bias of the layer, and its value; None if it has none to itself.
    """

    weight: SavedWeight
    bias: tuple[SavedWeight, np.ndarray] | None
    _problem: Reconstruction

    @classmethod
    def of(
        cls,
        signature: TracedSignature,
        calibration: Calibration,
        weight: SavedWeight,
        biases: Mapping[int, SavedWeight],
        damping: float,
        sparsities: Sequence[float],
    ) -> "LayerRepair | None":
        """Runs examples; None if inputs are not seen, the weight is used in several ways, or the layer is too large.

        Args:
            signature: The signature.
            calibration: The examples.
            weight: The weight.
            biases: The weights that may be biases, by object.
            damping: See `Reconstruction`.
            sparsities: Those at which it will be repaired.
        """
        if not _is_affordable(weight.shape, sparsities):
            return None
        uses = [use for use in signature.uses.products if use.weight == weight.node]
        found = [LayerStatistics.of(signature, calibration, use, {}, _SAMPLES_AN_INPUT) for use in uses]
        if not found or weight.node in signature.uses.inside or any(each is None for each in found):
            return None
        statistics = LayerStatistics.joined(found)
        if statistics is None:
            return None
        bias = bias_of_layer(signature, uses, statistics, biases)
        problem = Reconstruction(signature.value(weight).astype(np.float64), statistics, bias is not None, damping)
        return cls(weight, None if bias is None else (bias, signature.value(bias)), problem)

    def values(self, mask: np.ndarray) -> dict[int, np.ndarray]:
        """The values of weight and bias, by object, with a mask of the weight's shape."""
        repaired = self._problem.repaired(mask)
        found = {self.weight.node: repaired.astype(self.weight.dtype.as_numpy_dtype)}
        if self.bias is not None:
            bias, value = self.bias
            found[bias.node] = (value + self._problem.bias_change(repaired)).astype(value.dtype)
        return found


def _is_affordable(shape: Sequence[int], sparsities: Sequence[float]) -> bool:
    """Whether a layer of the usual layout can be repaired in a bearable time; each of its columns is solved alone."""
    inputs, outputs = math.prod(shape[:-1]), shape[-1]
    cost = sum(outputs * ((1.0 - sparsity) * inputs) ** 3 / 3 for sparsity in sparsities)
    return inputs <= _MOST_INPUTS and cost <= _MOST_MULTIPLY_ADDS


def bias_of_layer(
    signature: TracedSignature,
    uses: Sequence[WeightUse],
    statistics: LayerStatistics,
    biases: Mapping[int, SavedWeight],
) -> SavedWeight | None:
    """The bias of a layer that uses its weight once and has it to itself.

    Args:
        signature: The signature.
        uses: Where the weight is used.
        statistics: Of these.
        biases: The weights that may be biases, by object.
    """
    if len(uses) != 1:
        return None
    node = signature.bias_of(uses[0])
    bias = biases.get(node)
    groups, _, outputs = statistics.elements.shape
    if bias is None or bias.shape != (groups * outputs,) or len(signature.uses.reads[node]) != 1:
        return None
    return bias
