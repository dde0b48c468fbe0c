"""ObjectGraph: which objects the signatures of a SavedModel reach, and where each object hangs."""

import collections
import functools
import heapq
from collections.abc import Collection, Iterable

from tensorflow.core.framework import versions_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_object_graph_pb2

Path = tuple[str, ...]

FUNCTIONS = ("function", "bare_concrete_function", "captured_tensor")

_ROOT = 0
_SIGNATURES = "signatures"
_COLLECTIONS = ("trackable_list_wrapper", "trackable_dict_wrapper", "trackable_tuple_wrapper")


class ObjectGraph:
    """Read-only view of a SavedModel's object graph; objects are its node numbers.

    Attributes:
        signatures: Name of each signature, in the model's order, and its function's object.
        variables: The objects that are variables, in ascending order.
    """

    def __init__(self, meta_graph: meta_graph_pb2.MetaGraphDef) -> None:
        """Reads the object graph of `meta_graph`, which must have one."""
        self._proto = meta_graph.object_graph_def
        self._nodes = self._proto.nodes
        self._paths = self._shortest_paths()
        self.signatures: dict[str, int] = {}
        for child in self._nodes[_ROOT].children:
            if child.local_name == _SIGNATURES:
                self.signatures = {each.local_name: each.node_id for each in self._nodes[child.node_id].children}
        self.variables: tuple[int, ...] = tuple(
            node for node in range(len(self._nodes)) if self.kind(node) == "variable"
        )

    def kind(self, node: int) -> str:
        """The kind of an object: 'variable', 'resource', 'asset', 'user_object', 'function', ..."""
        return self._nodes[node].WhichOneof("kind") or ""

    def key(self, node: int) -> str:
        """An object's unique name: its path from the root, as a checkpoint spells it.

        A variable's key is what `tf.train.list_variables` shows, without '/.ATTRIBUTES/VARIABLE_VALUE'.
        """
        return checkpoint_key(self._paths[node])

    def path(self, node: int) -> Path:
        """An object's shortest path from the root; for a slot variable, the parts of its key."""
        return self._paths[node]

    def at(self, path: Path) -> int | None:
        """The object at a path from the root, or None if there is none."""
        node = _ROOT
        for name in path:
            children = {child.local_name: child.node_id for child in self._nodes[node].children}
            if name not in children:
                return None
            node = children[name]
        return node

    def variable(self, node: int) -> saved_object_graph_pb2.SavedVariable:
        """The declaration of a variable: its name, dtype and shape."""
        return self._nodes[node].variable

    def bound_inputs(self, function: int) -> list[int]:
        """The objects that a function captures, in the order of its concrete functions' captures."""
        return [node for name in self.concrete_functions(function) for node in self._captures(name)]

    def concrete_functions(self, function: int) -> list[str]:
        """The names, in the function library, of the traces of a function (an object of one of `FUNCTIONS`)."""
        node = self._nodes[function]
        if self.kind(function) == "function":
            return list(node.function.concrete_functions)
        if self.kind(function) == "captured_tensor":
            return [node.captured_tensor.concrete_function]
        return [node.bare_concrete_function.concrete_function_name]

    def constant_operation(self, node: int) -> str | None:
        """The operation of the main graph that holds a captured constant, or None for any other object."""
        return self._nodes[node].constant.operation if self.kind(node) == "constant" else None

    def reached(self, roots: Iterable[int]) -> set[int]:
        """The objects that some functions or resources need in order to run, themselves included.

        A function needs what it captures. A resource, such as a lookup table, needs everything that hangs from it: the
        functions that make and fill it, and the asset that it is filled from. A variable needs nothing: what hangs from
        it is state for training.

        Args:
            roots: Objects.

        Returns:
            The objects reached.
        """
        found: set[int] = set()
        queue = list(roots)
        while queue:
            node = queue.pop()
            if node in found:
                continue
            found.add(node)
            queue.extend(self._needs(node))
        return found

    @functools.cached_property
    def kept(self) -> frozenset[int]:
        """The objects that a stripped model keeps.

        They are what the signatures reach, every asset, and every other resource that needs no further variable.
        """
        found = self.reached(self.signatures.values())
        for node in range(len(self._nodes)):
            if self.kind(node) == "asset":
                found.add(node)
            elif self.kind(node) == "resource" and node not in found:
                needed = self.reached([node])
                if all(each in found for each in needed if self.kind(each) == "variable"):
                    found |= needed
        return frozenset(found)

    def places(self, kept: Collection[int]) -> dict[int, Path]:
        """Where each kept variable, resource and asset hangs in the stripped model.

        That is the shortest of its paths in this model, so that checkpoint keys stay as they are. An optimizer, too,
        leads to the weights that it trains. Therefore a path through an object that holds a variable which is removed
        (lists and dicts of variables do not count) is taken only if there is no other. What hangs from a kept resource
        is saved with it and has no place of its own.

        Args:
            kept: Objects, such as `kept`.

        Returns:
            The path from the root of each object that has a place.

        Raises:
            ValueError: A kept variable hangs from functions only.
        """
        detour = [
            node.user_object.identifier not in _COLLECTIONS
            and any(self.kind(child.node_id) == "variable" and child.node_id not in kept for child in node.children)
            for node in self._nodes
        ]
        found: dict[int, Path] = {}
        queue: list[tuple[int, int, int, int, Path]] = [(0, 0, 0, _ROOT, ())]
        pushed = 0
        while queue:
            detours, length, _, node, path = heapq.heappop(queue)
            if node in found:
                continue
            found[node] = path
            if self.kind(node) != "user_object":
                continue
            for child in self._nodes[node].children:
                pushed += 1
                entry = (detours + detour[node], length + 1, pushed, child.node_id, (*path, child.local_name))
                heapq.heappush(queue, entry)
        placed = {node for node in kept if self.kind(node) in ("variable", "resource", "asset")}
        carried = self._carried(node for node in placed if self.kind(node) == "resource")
        if homeless := sorted(self.key(node) for node in placed - carried - found.keys()):
            raise ValueError(f"The model's functions use {homeless}, which no object of the model holds.")
        return {node: found[node] for node in sorted(placed & found.keys())}

    def _needs(self, node: int) -> Iterable[int]:
        kind = self.kind(node)
        if kind in FUNCTIONS:
            return self.bound_inputs(node)
        if kind in ("resource", "user_object"):
            saved = self._nodes[node].saveable_objects.values()
            return [
                *(child.node_id for child in self._nodes[node].children),
                *(function for each in saved for function in (each.save_function, each.restore_function)),
            ]
        return ()

    def _captures(self, concrete_function: str) -> list[int]:
        proto: saved_object_graph_pb2.SavedConcreteFunction = self._proto.concrete_functions[concrete_function]
        return list(proto.bound_inputs)

    def _carried(self, resources: Iterable[int]) -> set[int]:
        found: set[int] = set()
        queue = [child.node_id for node in resources for child in self._nodes[node].children]
        while queue:
            node = queue.pop()
            if node not in found:
                found.add(node)
                queue.extend(child.node_id for child in self._nodes[node].children)
        return found

    def _shortest_paths(self) -> dict[int, Path]:
        paths: dict[int, Path] = {_ROOT: ()}
        queue = collections.deque([_ROOT])
        while queue:
            node = queue.popleft()
            for child in self._nodes[node].children:
                if child.node_id not in paths:
                    paths[child.node_id] = (*paths[node], child.local_name)
                    queue.append(child.node_id)
        # Slot variables are nobody's children.
        for optimizer, node in enumerate(self._nodes):
            for slot in node.slot_variables:
                variable = paths[slot.original_variable_node_id]
                path = (*variable, ".OPTIMIZER_SLOT", *paths[optimizer], slot.slot_name)
                paths.setdefault(slot.slot_variable_node_id, path)
        return paths


def checkpoint_key(path: Path) -> str:
    """`path` as a checkpoint spells it: joined by slashes; slashes inside a name are escaped."""
    return "/".join(name if name == ".OPTIMIZER_SLOT" else name.replace(".", "..").replace("/", ".S") for name in path)


def keep_only(
    meta_graph: meta_graph_pb2.MetaGraphDef, graph: ObjectGraph, kept: Collection[int], places: Iterable[Path]
) -> None:
    """Empties all other objects, and drops their functions, so that loading makes none of them.

    Args:
        meta_graph: Changed in place; its objects keep their numbers.
        graph: Its object graph, read before the change.
        kept: The objects that stay, signatures among them.
        places: Paths from the root. The objects on them stay, too.
    """
    concrete_functions = meta_graph.object_graph_def.concrete_functions
    needed = {name for node in kept if graph.kind(node) in FUNCTIONS for name in graph.concrete_functions(node)}
    for name in concrete_functions.keys() - needed:
        del concrete_functions[name]
    nodes = meta_graph.object_graph_def.nodes
    whole = {*kept, *(child.node_id for child in nodes[_ROOT].children if child.local_name == _SIGNATURES)}
    staying = {_ROOT, *whole}
    for path in places:
        node = _ROOT
        for name in path:
            node = next(child.node_id for child in nodes[node].children if child.local_name == name)
            staying.add(node)
    for number, node in enumerate(nodes):
        if number not in staying:
            node.Clear()
        for references in (node.children, node.dependencies):
            for index in reversed(range(len(references))):
                if references[index].node_id not in staying:
                    del references[index]
        del node.slot_variables[:]
        if number not in whole:
            node.user_object.Clear()
            node.user_object.identifier = "_generic_user_object"
            node.user_object.version.CopyFrom(versions_pb2.VersionDef(producer=1, min_consumer=1))
            node.saveable_objects.clear()
