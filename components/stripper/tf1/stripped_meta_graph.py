"""StrippedMetaGraph: a MetaGraph of a TensorFlow 1 SavedModel without what only training needs."""

from collections.abc import Iterable

import numpy as np
from tensorflow.core.protobuf import meta_graph_pb2

from ...saved_model.checkpoint import Checkpoint
from ...saved_model.function_library import drop_uncalled_functions
from ..masks.folded_value import FoldedValue
from . import collection_defs, values
from .graph import CONTROL_FLOW_OPS, IDENTITY_OPS, READ_OP, VARIABLE_OPS, Graph, data_inputs, node_name, renamed
from .masked_weights import MaskedWeight, is_product, masked_weights, without_product
from .saver import ASSIGN_OPS, Entry, Saver, assignments_to_others

# Operations that read a property of a variable that its mask does not change.
_SHAPE_OPS = ("Shape", "ShapeN", "Size", "Rank", "VariableShape", "VarIsInitializedOp", "IsVariableInitialized")


class StrippedMetaGraph:
    """A MetaGraph, rewritten so that its signatures use no pruning variable, and cut back to what they need.

    Signatures, the initialization of tables and variables, assets and the saver stay, with the functions that they
    call. Each product of a weight and its mask is replaced by the weight. Variables that nothing needs then are
    removed, also from the saver and the collections.

    Attributes:
        proto: The rewritten MetaGraph.
        graph: Its graph.
        tags: Its tags, sorted.
        folded: The values of weights that take in their masks, by their entries in the checkpoint.
        bare_uses: By entry in the checkpoint of a variable that is used without a mask: a node that uses it.
        keys: Names of the tensors of the checkpoint that it restores.
    """

    def __init__(self, meta_graph: meta_graph_pb2.MetaGraphDef, checkpoint: Checkpoint) -> None:
        """Rewrites a copy of `meta_graph`.

        Args:
            meta_graph: The MetaGraph.
            checkpoint: The values of its variables.

        Raises:
            ValueError: A signature uses a pruning variable other than to multiply its weight by it; a variable that it
                needs has no value; the saver is of another kind. The message is a clause, without the model's name.
        """
        self.proto = meta_graph_pb2.MetaGraphDef()
        self.proto.CopyFrom(meta_graph)
        self.tags = tuple(sorted(meta_graph.meta_info_def.tags))
        self.proto.signature_def.pop(collection_defs.TRAIN_SIGNATURE, None)
        self._checkpoint = checkpoint
        self.graph = Graph(meta_graph.graph_def)
        self._saver = Saver(self.graph, self.proto.saver_def)
        self._entries = dict(self._saver.entries)
        self._masks = self._variables_in([collection_defs.MASKS])
        self._pruning = self._masks | self._variables_in(collection_defs.pruning_states(meta_graph))
        found = masked_weights(self.graph, self.graph.reached(self._answering), self._masks)
        self._check_functions()
        self.bare_uses = self._uses_without(found)
        self.folded = self._products(found)
        self._fold(found)
        self._cut()
        self.keys = self._restored_keys()

    def _variables_in(self, collections: Iterable[str]) -> set[str]:
        nodes = [name for key in collections for name in collection_defs.nodes_of(self.proto, key)]
        return {variable for name in nodes if (variable := self.graph.variable(name)) is not None}

    @property
    def _answering(self) -> list[str]:
        """The nodes that the signatures and assets name."""
        infos = [
            info
            for name, signature in self.proto.signature_def.items()
            if name != collection_defs.INIT_SIGNATURE
            for info in (*signature.inputs.values(), *signature.outputs.values())
        ]
        infos.extend(asset.tensor_info for asset in collection_defs.assets_of(self.proto))
        return [name for info in infos for name in collection_defs.tensor_nodes(info)]

    @property
    def _initializing(self) -> list[str]:
        """The nodes that run when the model is loaded, and those that initialize tables."""
        tables = collection_defs.nodes_of(self.proto, collection_defs.TABLE_INITIALIZERS)
        return [*collection_defs.init_ops(self.proto), *tables]

    def _check_functions(self) -> None:
        for node in self.graph.called(self.graph.reached(self._answering)):
            if is_product(node):
                raise ValueError(
                    f"a weight is multiplied by its mask in a function, at {node.name!r}, where it cannot take in the "
                    "mask; build the graph under tf.compat.v1.disable_control_flow_v2()"
                )

    def _uses_without(self, found: Iterable[MaskedWeight]) -> dict[Entry, str]:
        """The variables that answers depend on without a mask; a ValueError if one is of pruning."""
        products = {each.product for each in found}
        self._pruning.update(mask for each in found for mask in each.masks)
        shapes = {name for name in self.graph.names if self.graph[name].op in _SHAPE_OPS}
        reached = self.graph.reached([*self._answering, *self._initializing], products | shapes)
        uses: dict[Entry, str] = {}
        passing = (*CONTROL_FLOW_OPS, *IDENTITY_OPS, READ_OP)
        for name in sorted(reached):
            node = self.graph[name]
            for variable in map(self.graph.variable, data_inputs(node)):
                if variable is None or node.op in passing:
                    continue
                if variable in self._pruning and name in self.graph.reached(self._answering, products | shapes):
                    raise ValueError(
                        f"a signature uses the pruning variable {variable!r} other than to multiply its weight by "
                        f"a mask: {node.op} {name!r}; save the model with signatures that neither prune nor report on "
                        "pruning"
                    )
                if variable in self._entries:
                    uses.setdefault(self._entries[variable], f"{node.op} {name!r}")
        for name in filter(self.graph.__contains__, self._answering):
            variable = self.graph.variable(name)
            if variable in self._entries and name not in products:
                uses.setdefault(self._entries[variable], f"output {name!r}")
        return uses

    def _value(self, variable: str) -> np.ndarray:
        entry = self._entries.get(variable)
        if entry is None or entry.key not in self._checkpoint:
            raise ValueError(f"its variable {variable!r} has no value; save the model again after it is initialized")
        return entry.value(self._checkpoint)

    def _products(self, found: Iterable[MaskedWeight]) -> dict[Entry, FoldedValue]:
        if not found:
            return {}
        weights = {name: self._value(name) for each in found for name in (*each.variables, *each.masks)}
        references = [reference for each in found for reference in (each.product, each.mask)]
        computed = values.values(self.graph, references, weights)
        folded: dict[Entry, FoldedValue] = {}
        for each in found:
            product, mask = computed[each.product], computed[each.mask]
            if not np.isin(mask, (0, 1)).all():
                raise ValueError(
                    f"the mask {each.masks[0]!r} has values other than 0 and 1, so its product with the weight cannot "
                    "take the weight's place; save the model with a mask of zeros and ones"
                )
            positive = np.where(np.logical_or(mask, product != 0), product, np.zeros_like(product))
            ends = np.cumsum([weights[name].shape[each.axis] for name in each.variables[:-1]], dtype=int)
            for name, *parts in zip(
                each.variables, *(np.split(array, ends, each.axis) for array in (product, positive)), strict=True
            ):
                part = FoldedValue(*parts)
                known = folded.setdefault(self._entries[name], part)
                if known.product.tobytes() != part.product.tobytes():
                    raise ValueError(
                        f"the weight {name!r} is multiplied by two masks, whose products differ, so neither can "
                        "take the weight's place; give each use a weight of its own"
                    )
        return folded

    def _fold(self, found: Iterable[MaskedWeight]) -> None:
        tensors = {}
        for each in found:
            self.graph.redirect(each.product, each.weight)
            tensors[each.product] = each.weight
        for signature in self.proto.signature_def.values():
            for info in (*signature.inputs.values(), *signature.outputs.values()):
                if info.WhichOneof("encoding") == "name" and node_name(info.name) in tensors:
                    weight = tensors[node_name(info.name)]
                    info.name = weight if ":" in weight else f"{weight}:0"

    def _cut(self) -> None:
        """Removes what neither answers nor initialization need, from the graph and from what names its nodes."""
        graph, described = self.graph, collection_defs.variables_of(self.proto)
        needed = self._variables(graph.reached(self._answering))
        while True:
            barriers = assignments_to_others(graph, graph.reached(self._initializing), needed)
            roots = [*self._answering, *self._initializing]
            for variable in needed:
                for each in described.get(variable, ()):
                    roots += map(node_name, (each.initializer_name, each.snapshot_name, each.initial_value_name))
            kept = graph.reached(roots, barriers) | needed
            if (variables := self._variables(kept)) == needed:
                break
            needed |= variables
        if left := sorted(self._pruning & needed):
            raise ValueError(
                f"it needs the pruning variable {left[0]!r} other than to multiply a weight by it; save the model "
                "with signatures that neither prune nor report on pruning"
            )
        self._saver.forget(needed)
        graph.keep(kept | graph.reached(self._saver.roots))
        self._rename()
        self.proto.graph_def.CopyFrom(graph.proto)
        collection_defs.forget_removed(self.proto, graph)
        drop_uncalled_functions(self.proto)
        self._forget_operations()

    def _variables(self, names: Iterable[str]) -> set[str]:
        return {name for name in names if self.graph[name].op in VARIABLE_OPS}

    def _rename(self) -> None:
        """Removes 'masked_weight' from the names of the nodes between a weight and its product."""
        if not self.folded:
            return
        new_names: dict[str, str] = {}
        for name in self.graph.names:
            new_name = without_product(name)
            while new_name != name and (new_name in self.graph or new_name in new_names.values()):
                new_name += "_1"
            if new_name != name:
                new_names[name] = new_name
        self.graph.rename(new_names)
        for signature in self.proto.signature_def.values():
            for info in (*signature.inputs.values(), *signature.outputs.values()):
                if info.WhichOneof("encoding") == "name":
                    info.name = renamed(info.name, new_names)

    def _forget_operations(self) -> None:
        """Removes operations from the MetaGraph's list if it no longer uses them."""
        nodes = [*self.proto.graph_def.node]
        for function in self.proto.graph_def.library.function:
            nodes.extend(function.node_def)
        used = {node.op for node in nodes}
        operations = self.proto.meta_info_def.stripped_op_list.op
        for index in reversed(range(len(operations))):
            if operations[index].name not in used:
                del operations[index]

    def _restored_keys(self) -> tuple[str, ...]:
        saver = Saver(self.graph, self.proto.saver_def)
        assigned = {
            self.graph.variable(self.graph[name].input[0])
            for name in self.graph.reached(self._initializing)
            if self.graph[name].op in ASSIGN_OPS
        }
        for variable in sorted(self._variables(self.graph.reached(self._answering))):
            if variable not in saver.entries and variable not in assigned:
                raise ValueError(
                    f"its variable {variable!r} is neither saved nor initialized when the model is loaded; save the "
                    "model with a saver that knows it"
                )
        keys = saver.other_keys | {entry.key for entry in saver.entries.values()}
        if lost := sorted(keys.difference(self._checkpoint.shapes)):
            raise ValueError(f"its variable {lost[0]!r} has no value; save the model again after it is initialized")
        return tuple(sorted(keys))
