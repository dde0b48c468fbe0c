"""Normalization: a place where activations are divided by the square root of a variance that a variable holds."""

import dataclasses
from collections.abc import Collection, Hashable, Mapping

from .flat_function import FlatFunction, TensorName

_FUSED = frozenset(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"))
_PRODUCTS = frozenset(("Mul", "RealDiv", "Div"))


@dataclasses.dataclass(frozen=True)
class Normalization:
    """A normalization of activations, for inference.

    Attributes:
        variance: Names the variable that holds the variance.
        activation: What is normalized.
        factor: What it is multiplied by, as a tensor that tells by its shape along which axis; None if the last.
        channels_first: Whether channels are the axis 1, for a normalization that is one operation.
    """

    variance: Hashable
    activation: TensorName
    factor: TensorName | None
    channels_first: bool = False


def normalizations(
    function: FlatFunction, reads: Mapping[Hashable, tuple[str, ...]], variances: Collection[Hashable]
) -> list[Normalization]:
    """The normalizations of a function, each after those on which its activations may depend.

    Args:
        function: The function.
        reads: The nodes that read each variable.
        variances: Names of variables that hold variances.

    Returns:
        Those of the variances that are used as they are by one product, or by one operation for normalization.
    """
    # What depends on the arguments that are no variables, and so on the examples.
    held = {name for all_reads in reads.values() for name in all_reads}
    active: set[str] = set()
    origin: dict[str, Hashable] = {f"{node}:0": each for each in variances for node in reads.get(each, ())}
    found: list[Normalization] = []
    for node in function.nodes.values():
        inputs = function.inputs(node)
        if node.name in held:
            continue
        if node.op == "Placeholder" or any(each.partition(":")[0] in active for each in inputs):
            active.add(node.name)
        derived = [each for each in inputs if each in origin]
        if not derived:
            continue
        others = [each for each in inputs if each.partition(":")[0] in active]
        if node.op in _FUSED and inputs[4] in origin and others == [inputs[0]]:
            first = node.attr["data_format"].s.startswith(b"NC")
            found.append(Normalization(origin[inputs[4]], inputs[0], None, first))
        elif node.op in _PRODUCTS and len(others) == 1 and len(derived) == 1:
            found.append(Normalization(origin[derived[0]], others[0], derived[0]))
        elif not others:
            origin[f"{node.name}:0"] = origin[derived[0]]
    counts = {each.variance: sum(other.variance == each.variance for other in found) for each in found}
    return [each for each in found if counts[each.variance] == 1]
