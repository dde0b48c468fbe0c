"""Removes multiplications by masks, and everything else of pruning, from the functions of a SavedModel."""

import collections
import dataclasses
from collections.abc import Collection

from tensorflow.core.framework import function_pb2, node_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from ...saved_model.function_body import (
    CALL_OPS,
    WHILE_OPS,
    FunctionBody,
    Reference,
    data_inputs,
    first_argument,
)
from ...saved_model.function_library import called_functions
from ...saved_model.object_graph import FUNCTIONS, ObjectGraph
from ...saved_model.saved_objects import SavedObjects
from .origins import Context, Origin, Origins
from .pruning_names import without_wrapper
from .pruning_objects import PruningObjects

_GRADIENT = "_gradient_op_type"
# Operations that take a variable and do not change it.
_READING_OPS = ("ReadVariableOp", "VariableShape", "VarIsInitializedOp", "ResourceGather", "ResourceGatherNd")


@dataclasses.dataclass(frozen=True)
class Fold:
    """One product of a weight and its mask, which becomes the weight's value.

    Attributes:
        weight: The weight's object.
        mask: The mask's object.
        casts: The dtypes that the weight is cast to, one after the other, before it is multiplied.
    """

    weight: int
    mask: int
    casts: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Use:
    """A place in a function where a variable is used.

    Attributes:
        function: Name of the function.
        node: Name of the node, or of the function's output.
        operation: The node's operation, or 'return'.
        changes: Whether the variable is changed there, or may be.
    """

    function: str
    node: str
    operation: str
    changes: bool

    def __str__(self) -> str:
        return f"{self.operation} {self.node!r} in the function {self.function!r}"


@dataclasses.dataclass(frozen=True)
class Rewrite:
    """What must be folded into the weights of rewritten functions.

    Attributes:
        folds: The products.
        bare_uses: By weight, where it is used without its mask, or changed. If a function first assigns the product to
            the weight, as those of tfmot's wrappers do, its later uses do not count.
    """

    folds: frozenset[Fold]
    bare_uses: dict[int, tuple[Use, ...]]


def fold_masks(source: SavedObjects, pruning: PruningObjects, meta_graph: meta_graph_pb2.MetaGraphDef) -> Rewrite:
    """Rewrites the functions that a stripped model keeps so that they use no pruning variable.

    Variables are followed from the captures of the functions through calls, branches and loops to where they are read.
    Each product of a weight and its mask is replaced by the weight, and an assignment of that product to the weight is
    removed. The reads of the mask are removed too, and its captures and arguments in every function on the way. If
    callers pass different variables to a function, and that makes a difference, the function is copied. Functions that
    are not kept are removed from the library, and so are gradients.

    Args:
        source: The SavedModel.
        pruning: Its variables of pruning.
        meta_graph: A copy of its MetaGraph. The function library and the concrete functions of the object graph are
            changed in place. The main graph is not, so that the copy can be loaded as objects only.

    Returns:
        What must be folded into the weights for the functions to answer as before.

    Raises:
        ValueError: A pruning variable is changed, or used other than to multiply its weight by a mask of the same
            shape. The message names the signature, the variable and the use.
    """
    graph = source.graph
    functions = [node for node in sorted(graph.kept) if graph.kind(node) in FUNCTIONS]
    kept = dict.fromkeys(name for node in functions for name in graph.concrete_functions(node))
    rewriter = _Rewriter(source, pruning)
    # Functions that others call come first, so that each keeps its name.
    for name in sorted(kept, key=rewriter.functions_below):
        rewriter.enter(name, f"{_in_words(name, graph)} of {source.folder!r}")
    library = meta_graph.graph_def.library
    library.Clear()
    library.function.extend(rewriter.rewritten())
    concrete_functions = meta_graph.object_graph_def.concrete_functions
    for name in [each for each in concrete_functions if each not in kept]:
        del concrete_functions[name]
    for name in kept:
        bound = concrete_functions[name].bound_inputs
        bound[:] = [node for node in bound if node not in pruning.variables]
    return rewriter.rewrite()


def _in_words(concrete_function: str, graph: ObjectGraph) -> str:
    for name, node in graph.signatures.items():
        if concrete_function in graph.concrete_functions(node):
            return f"Signature {name!r}"
    return f"The function {concrete_function!r}"


class _Rewriter:
    """The functions of a library, rewritten from the concrete functions down."""

    def __init__(self, source: SavedObjects, pruning: PruningObjects) -> None:
        self.graph = source.graph
        self.pruning = pruning
        self.folds: set[Fold] = set()
        self.assigned: set[int] = set()
        self._uses: dict[int, list[Use]] = collections.defaultdict(list)
        self._caller = ""
        self._concrete_functions = source.meta_graph.object_graph_def.concrete_functions
        self._library = source.library.functions
        self._versions: dict[str, list[function_pb2.FunctionDef]] = collections.defaultdict(list)
        self._names: dict[tuple[str, Context, bool], str] = {}
        self._taken = set(self._library)

    def enter(self, concrete_function: str, caller: str) -> None:
        """Rewrites a concrete function, whose last arguments are its captures, and the functions below it."""
        self._caller = caller
        captures = self._concrete_functions[concrete_function].bound_inputs
        origins = [Origin(node) if self.graph.kind(node) == "variable" else None for node in captures]
        unknown = self.unknown(concrete_function)
        self.specialized(concrete_function, (*unknown[: len(unknown) - len(origins)], *origins), keep_name=True)

    def rewritten(self) -> list[function_pb2.FunctionDef]:
        """The rewritten functions, in the order in which they were reached."""
        return [version for versions in self._versions.values() for version in versions]

    def rewrite(self) -> Rewrite:
        """What must be folded into the weights."""
        uses = {
            weight: tuple(use for use in self._uses[weight] if use.changes or weight not in self.assigned)
            for weight in {fold.weight for fold in self.folds}
        }
        return Rewrite(frozenset(self.folds), uses)

    def functions_below(self, name: str) -> int:
        """The number of functions that a function calls, directly or through others."""
        found: set[str] = set()
        queue = [name]
        while queue:
            for node in self._library[queue.pop()].node_def:
                callees = [each for each in called_functions(node) if each not in found]
                found.update(callees)
                queue.extend(callees)
        return len(found)

    def function(self, name: str) -> FunctionBody:
        """A copy of a function, before it was rewritten."""
        return FunctionBody(self._library[name])

    def unknown(self, name: str) -> Context:
        """The context of a function if nothing is known of its arguments."""
        return (None,) * len(self._library[name].signature.input_arg)

    def is_pruning(self, origin: Origin | None) -> bool:
        """Whether an origin is a pruning variable or the value of one."""
        return origin is not None and origin.variable in self.pruning.variables

    def specialized(self, name: str, context: Context, *, loop_body: bool = False, keep_name: bool = False) -> str:
        """Rewrites a function for arguments of known origins.

        Args:
            name: Name of the function.
            context: The origins of its arguments.
            loop_body: Whether the output of the same index is removed with an argument.
            keep_name: Whether the rewritten function must have its name.

        Returns:
            The name of the rewritten function.
        """
        key = (name, context, loop_body)
        if key not in self._names:
            function = _FunctionRewriting(self, name, context).run(loop_body)
            self._names[key] = self._published(name, function, keep_name)
        return self._names[key]

    def note(self, origin: Origin, use: Use) -> None:
        """Notes the use of a weight without its mask; raises a ValueError if a pruning variable is used."""
        if self.is_pruning(origin):
            raise ValueError(
                f"{self._caller} {'changes' if use.changes else 'reads'} the pruning variable "
                f"{self.graph.key(origin.variable)!r} other than to multiply its weight by a mask, as apply_mask "
                f"does: {use}. Save the model with signatures that neither prune nor report on pruning."
            )
        self._uses[origin.variable].append(use)

    def _published(self, name: str, function: function_pb2.FunctionDef, keep_name: bool) -> str:
        """Adds a rewritten function to the library unless an equal one is there; returns its name."""
        for version in self._versions[name]:
            function.signature.name = version.signature.name
            if function == version:
                return version.signature.name
        new_name = name if keep_name else without_wrapper(name)
        number = len(self._versions[name])
        while number or (new_name != name and new_name in self._taken):
            candidate = f"{new_name}_{number}"
            if candidate not in self._taken:
                new_name = candidate
                break
            number += 1
        self._taken.add(new_name)
        function.signature.name = new_name
        self._versions[name].append(function)
        return new_name


class _FunctionRewriting:
    """One function, rewritten for arguments of known origins."""

    def __init__(self, rewriter: _Rewriter, name: str, context: Context) -> None:
        self._rewriter = rewriter
        self._name = name
        self._context = context
        self._body = rewriter.function(name)
        self._origins = Origins(rewriter.graph, rewriter.pruning, self._body, context, rewriter.function)

    def run(self, loop_body: bool) -> function_pb2.FunctionDef:
        """Rewrites the function and those that it calls; pruning variables among its arguments are removed."""
        body, origins = self._body, self._origins
        dropped = [index for index, origin in enumerate(self._context) if self._rewriter.is_pruning(origin)]
        removed: set[str] = set()
        substitutes: dict[str, Reference] = {}
        calls: list[tuple[node_def_pb2.NodeDef, list[int]]] = []
        for node in body.nodes:
            if called_functions(node):
                calls.append((node, self._call(node)))
            elif self._rewriter.is_pruning(origins.of_output(node)):
                removed.add(node.name)
            elif masking := origins.masking(node):
                self._rewriter.folds.add(Fold(masking.weight.variable, masking.mask, masking.weight.casts))
                removed.add(node.name)
                substitutes[node.name] = masking.factor
            elif (weight := origins.assigned_product(node)) is not None:
                self._rewriter.assigned.add(weight)
                removed.add(node.name)
            elif origins.of_output(node) is None:
                self._note_inputs(node)
        self._note_returned(loop_body)
        reads = self._weight_reads_for(removed)
        body.remove(removed, substitutes)
        body.remove_unread(reads)
        for node, indices in calls:
            body.drop_call_arguments(node, indices)
        body.drop_arguments(dropped)
        if loop_body:
            body.drop_outputs(dropped)
        if removed or any(without_wrapper(name) != name for name in body.names):
            body.remove_unreached()
            body.rename(without_wrapper)
        for node in body.nodes:
            node.attr.pop(_GRADIENT, None)
        return body.proto

    def _call(self, node: node_def_pb2.NodeDef) -> list[int]:
        """Rewrites the functions that a node calls, for the arguments it passes; returns the arguments to remove."""
        arguments: list[Origin | None] = []
        if node.op in CALL_OPS:
            for index, reference in enumerate(data_inputs(node)[first_argument(node) :]):
                origin = self._origins.of(reference)
                if origin is not None and node.op in WHILE_OPS and not self._origins.is_invariant(node, index):
                    self._note(origin, node, changes=not origin.read)
                    origin = None
                arguments.append(None if origin is not None and origin.mask is not None else origin)
        else:
            self._note_inputs(node)
        for key, attribute in sorted(node.attr.items()):
            for function in [attribute.func] if attribute.HasField("func") else attribute.list.func:
                if not function.name:
                    continue
                known = tuple(arguments) if node.op in CALL_OPS else self._rewriter.unknown(function.name)
                loop_body = node.op in WHILE_OPS and key == "body"
                function.name = self._rewriter.specialized(function.name, known, loop_body=loop_body)
        return [index for index, origin in enumerate(arguments) if self._rewriter.is_pruning(origin)]

    def _weight_reads_for(self, removed: Collection[str]) -> list[str]:
        """The nodes that read a weight for nodes that are removed, and perhaps for others."""
        found: list[str] = []
        queue = [node for node in self._body.nodes if node.name in removed]
        while queue:
            for reference in data_inputs(queue.pop()):
                node = self._body.node(reference)
                if node is not None and node.name not in removed and node.name not in found:
                    origin = self._origins.of(reference)
                    if origin is not None and origin.read and not called_functions(node):
                        found.append(node.name)
                        queue.append(node)
        return found

    def _note_inputs(self, node: node_def_pb2.NodeDef) -> None:
        for reference in data_inputs(node):
            origin = self._origins.of(reference)
            if origin is not None:
                self._note(origin, node, changes=not origin.read and node.op not in _READING_OPS)

    def _note_returned(self, loop_body: bool) -> None:
        for index, output in enumerate(self._body.proto.signature.output_arg):
            origin = self._origins.of(self._body.returned()[index])
            passed_on = loop_body and self._body.returned_argument(index) == index
            if origin is not None and origin.mask is None and not passed_on:
                self._rewriter.note(origin, Use(self._name, output.name, "return", changes=not origin.read))

    def _note(self, origin: Origin, node: node_def_pb2.NodeDef, changes: bool) -> None:
        if origin.mask is None:
            self._rewriter.note(origin, Use(self._name, node.name, node.op, changes))
