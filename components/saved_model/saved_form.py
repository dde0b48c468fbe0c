"""What other tools need of a SavedModel that was loaded and saved again.

TensorFlow writes a tf.lookup.StaticHashTable back as a resource of no class. It wraps every signature, and every
function that makes a resource, in one more function, behind which converters find no table.
"""

import collections
import math
from collections.abc import Mapping

from tensorflow.core.framework import function_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from .function_body import FunctionBody
from .function_library import called_functions
from .object_graph import ObjectGraph, Path

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_OWN_FUNCTIONS = ("_create_resource", "_initialize", "_destroy_resource")


def restore_saved_form(
    meta_graph: meta_graph_pb2.MetaGraphDef, source: meta_graph_pb2.MetaGraphDef, places: Mapping[int, Path]
) -> None:
    """Gives resources the registered classes that they had, and functions that only call others their bodies.

    These functions are those of the signatures, and those that make, fill and destroy resources. A signature goes on
    calling a function that others call as well.

    Args:
        meta_graph: The MetaGraph of a SavedModel that was loaded and saved again; changed in place.
        source: The MetaGraph that was loaded.
        places: The path in `meta_graph` of objects of `source`.
    """
    graph = ObjectGraph(meta_graph)
    nodes, source_nodes = meta_graph.object_graph_def.nodes, source.object_graph_def.nodes
    of_resources: list[int] = []
    queue = [(node, graph.at(path)) for node, path in places.items()]
    seen: set[int] = set()
    while queue:
        old, new = queue.pop()
        if new is None or new in seen or graph.kind(new) != "resource":
            continue
        seen.add(new)
        if source_nodes[old].registered_name and not nodes[new].registered_name:
            nodes[new].registered_name = source_nodes[old].registered_name
            nodes[new].serialized_user_proto.CopyFrom(source_nodes[old].serialized_user_proto)
        children = {child.local_name: child.node_id for child in nodes[new].children}
        queue.extend(
            (child.node_id, children[child.local_name])
            for child in source_nodes[old].children
            if child.local_name in children
        )
        of_resources.extend(children[name] for name in _OWN_FUNCTIONS if name in children)
    functions = {each.signature.name: each for each in meta_graph.graph_def.library.function}
    calls = collections.Counter(
        name for each in functions.values() for node in each.node_def for name in called_functions(node)
    )
    # One copy of each body is saved: what several functions call stays called. A resource's functions are small.
    for nodes_of, most_calls in ((of_resources, math.inf), (graph.signatures.values(), 1)):
        for name in (name for function in nodes_of for name in graph.concrete_functions(function)):
            outer = functions[name]
            while (called := _forwards_to(outer)) is not None and calls[called] <= most_calls:
                outer.CopyFrom(functions[called])
                outer.signature.name = name


def _forwards_to(function: function_pb2.FunctionDef) -> str | None:
    """The function that a function calls with its own arguments, whose answers are its own; None if it does more."""
    body = FunctionBody(function)
    calls = [node for node in body.nodes if node.op in _CALLS]
    if len(calls) != 1 or any(node.op not in (*_CALLS, "Identity", "NoOp") for node in body.nodes):
        return None
    call = calls[0]
    arguments = [each.name for each in function.signature.input_arg]
    outputs = [f"{call.name}:output:{index}" for index in range(len(call.attr["Tout"].list.type))]
    returned = [_behind_identities(body, each) for each in body.returned()]
    given = [each for each in call.input if not each.startswith("^")]
    return call.attr["f"].func.name if (given, returned) == (arguments, outputs) else None


def _behind_identities(body: FunctionBody, reference: str) -> str:
    node = body.node(reference)
    while node is not None and node.op == "Identity":
        reference = node.input[0]
        node = body.node(reference)
    return reference
