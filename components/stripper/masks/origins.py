"""Origins: which variables a function's arguments and node outputs are, or are the values of."""

import dataclasses
from collections.abc import Callable, Mapping

from tensorflow.core.framework import node_def_pb2

from ...saved_model.function_body import IDENTITY_OPS, WHILE_OPS, FunctionBody, Reference, data_inputs
from ...saved_model.object_graph import ObjectGraph
from .pruning_objects import PruningObjects

_READ_OP = "ReadVariableOp"
_ASSIGN_OP = "AssignVariableOp"
_MULTIPLY_OP = "Mul"
_CAST_OP = "Cast"


@dataclasses.dataclass(frozen=True)
class Origin:
    """The variable that a tensor is, or whose value it is.

    Attributes:
        variable: The variable's object.
        read: Whether it is the variable's value.
        casts: The dtypes that the value was cast to, in order.
        mask: The object of the mask that the value was multiplied by, if any.
    """

    variable: int
    read: bool = False
    casts: tuple[int, ...] = ()
    mask: int | None = None


@dataclasses.dataclass(frozen=True)
class Masking:
    """A multiplication of a weight by its mask.

    Attributes:
        factor: The input that is the weight.
        weight: The origin of that input.
        mask: The mask's object.
    """

    factor: Reference
    weight: Origin
    mask: int


Context = tuple[Origin | None, ...]


class Origins:
    """The origins of the arguments and node outputs of one function."""

    def __init__(
        self,
        graph: ObjectGraph,
        pruning: PruningObjects,
        body: FunctionBody,
        context: Context,
        function: Callable[[str], FunctionBody],
    ) -> None:
        """Looks at nothing yet.

        Args:
            graph: The model's object graph.
            pruning: Its variables of pruning.
            body: The function, before it is changed.
            context: The origin of each of its arguments; None if it has none or it is not known.
            function: Gives a function of the library by its name.
        """
        self._graph = graph
        self._pruning = pruning
        self._body = body
        self._context = context
        # By the loops' names: the functions that they call are renamed while this one is rewritten.
        self._loop_bodies: Mapping[str, FunctionBody] = {
            node.name: function(node.attr["body"].func.name) for node in body.nodes if node.op in WHILE_OPS
        }
        self._known: dict[Reference, Origin | None] = {}

    def of(self, reference: Reference) -> Origin | None:
        """The origin of an argument or of a node's output."""
        if reference not in self._known:
            argument = self._body.argument(reference)
            node = self._body.node(reference)
            if argument is not None:
                self._known[reference] = self._context[argument]
            elif node.op in WHILE_OPS:
                index = int(reference.rpartition(":")[2])
                self._known[reference] = self.of(node.input[index]) if self.is_invariant(node, index) else None
            else:
                self._known[reference] = self.of_output(node)
        return self._known[reference]

    def of_output(self, node: node_def_pb2.NodeDef) -> Origin | None:
        """The origin of the only output of a node that calls nothing."""
        if masking := self.masking(node):
            return dataclasses.replace(masking.weight, mask=masking.mask)
        if node.op not in (_READ_OP, _CAST_OP, *IDENTITY_OPS):
            return None
        origin = self.of(node.input[0])
        if origin is None or node.op in IDENTITY_OPS:
            return origin
        if node.op == _READ_OP:
            return dataclasses.replace(origin, read=True)
        dtype = node.attr["DstT"].type
        if origin.mask is None:
            return dataclasses.replace(origin, casts=(*origin.casts, dtype))
        # A product is a masked weight in the dtype that it was made in, or in the weight's, as an assignment needs it.
        return origin if dtype == self._graph.variable(origin.variable).dtype else None

    def masking(self, node: node_def_pb2.NodeDef) -> Masking | None:
        """What a node multiplies, if it multiplies a weight by a mask of the same shape; else None."""
        if node.op != _MULTIPLY_OP:
            return None
        first, second = data_inputs(node)
        for factor, other in ((first, second), (second, first)):
            weight, mask = self.of(factor), self.of(other)
            if weight is None or mask is None or not weight.read or weight.variable in self._pruning.variables:
                continue
            if weight.mask not in (None, mask.variable) or mask.variable not in self._pruning.masks:
                continue
            if self._graph.variable(weight.variable).shape == self._graph.variable(mask.variable).shape:
                return Masking(factor, weight, mask.variable)
        return None

    def assigned_product(self, node: node_def_pb2.NodeDef) -> int | None:
        """The weight that a node sets to its product with its mask, if it does so."""
        if node.op != _ASSIGN_OP:
            return None
        weight, value = map(self.of, data_inputs(node))
        if weight is None or value is None or value.mask is None or value.variable != weight.variable:
            return None
        return weight.variable

    def is_invariant(self, loop: node_def_pb2.NodeDef, index: int) -> bool:
        """Whether a loop hands the argument `index` on unchanged from pass to pass."""
        return self._loop_bodies[loop.name].returned_argument(index) == index
