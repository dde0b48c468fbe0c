"""Biases: where the constants go that cut units added to sums of products."""

import collections
import dataclasses
from collections.abc import Mapping

import numpy as np
from tensorflow.core.framework import function_pb2, node_def_pb2

from ...saved_model.function_body import data_inputs
from ...structure.evaluation import attribute
from ...structure.site import Site
from ...structure.tensors import Holder
from ...structure.trace import Call
from .cut import Cut
from .saved_structure import Variable

_ADDITIONS = ("Add", "AddV2", "BiasAdd")
# What a bias may pass through, on its way to where it is added, without another order of its elements.
_HANDS_ON = ("ReadVariableOp", "Identity", "Reshape", "Squeeze", "ExpandDims")


@dataclasses.dataclass(frozen=True)
class Biases:
    """What is added, and where.

    Attributes:
        variables: By the number of a variable's object: what is added to what is left of it.
        constants: The same of constants in functions, by the call and the name of the node.
        addends: What is added by nodes of their own, by what it is added to.
    """

    variables: Mapping[int, np.ndarray]
    constants: Mapping[tuple[Call, str], np.ndarray]
    addends: Mapping[Site, np.ndarray]

    @classmethod
    def of(cls, cut: Cut, functions: Mapping[str, function_pb2.FunctionDef]) -> "Biases":
        """Finds where each constant goes: into the bias that is added next, if nothing else reads that, or by itself.

        Args:
            cut: What goes.
            functions: By name.
        """
        constants: dict[tuple[Call, str], np.ndarray] = {}
        addends: dict[Site, np.ndarray] = {}
        of_variables: dict[Holder, list[tuple[Site, np.ndarray]]] = collections.defaultdict(list)
        for call in cut.trace.calls():
            readers = _Readers(functions[call.function])
            for site in call.sites:
                addend = cut.constant(site)
                if addend is None:
                    continue
                addends[site] = addend
                bias = _bias_behind(cut, call, readers, site.node, addend)
                if isinstance(bias, str):
                    constants[call, bias] = addends.pop(site).ravel()
                elif bias is not None:
                    of_variables[bias].append((site, addend.ravel()))
        variables = {}
        reads = collections.Counter(holder for call in cut.trace.calls() for _, holder in call.reads)
        for holder, found in of_variables.items():
            first = found[0][1]
            if reads[holder] == len(found) and all(np.array_equal(addend, first) for _, addend in found):
                variables[holder.name.node] = first
                for site, _ in found:
                    del addends[site]
        return cls(variables, constants, addends)


class _Readers:
    """Which nodes of a function read which."""

    def __init__(self, function: function_pb2.FunctionDef) -> None:
        self.nodes = {node.name: node for node in function.node_def}
        self._readers: dict[str, list[node_def_pb2.NodeDef]] = collections.defaultdict(list)
        self._returned = {reference.partition(":")[0] for reference in function.ret.values()}
        for node in function.node_def:
            for reference in data_inputs(node):
                self._readers[reference.partition(":")[0]].append(node)

    def only(self, name: str) -> node_def_pb2.NodeDef | None:
        """The one node that reads another; None if that is returned, or read by none or several."""
        found = self._readers[name]
        return found[0] if len(found) == 1 and name not in self._returned else None


def _bias_behind(cut: Cut, call: Call, readers: _Readers, name: str, addend: np.ndarray) -> Holder | str | None:
    """The variable, or the name of the constant, that is a bias of what a node makes, and of nothing else there."""
    addition = readers.only(name)
    if addition is None or addition.op not in _ADDITIONS or addend.size != addend.shape[-1]:
        return None
    if addition.op == "BiasAdd" and attribute(addition, "data_format") != b"NHWC":
        return None
    (reference,) = (each for each in data_inputs(addition) if each.partition(":")[0] != name)
    name = reference.partition(":")[0]
    if name not in call.tensors or any(size != 1 for size in (call.tensors[name][0].shape or (None,))[:-1]):
        return None
    while (node := readers.nodes.get(name)) is not None and readers.only(name) is not None:
        holder = call.constants.get(name) or call.tensors[name][0].holder
        if holder is not None and cut.shape(holder) == (addend.size,):
            if node.op == "Const":
                return name
            if node.op == "ReadVariableOp":
                # One that has no known value is changed, or read by what is not traced.
                return holder if isinstance(holder.name, Variable) and holder.value is not None else None
        if node.op not in _HANDS_ON or not data_inputs(node):
            return None
        name = data_inputs(node)[0].partition(":")[0]
    return None
