"""FunctionLibrary: the functions of a SavedModel's graph; and which of them are called."""

from collections.abc import Iterable, Mapping

from tensorflow.core.framework import function_pb2, node_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2


class FunctionLibrary:
    """The functions of a MetaGraph and the nodes of its main graph, by name.

    Attributes:
        functions: The functions.
        main: The nodes of the main graph.
    """

    def __init__(self, meta_graph: meta_graph_pb2.MetaGraphDef) -> None:
        """Indexes `meta_graph`, which must not be changed as long as the library is in use."""
        graph_def = meta_graph.graph_def
        self.functions: Mapping[str, function_pb2.FunctionDef] = {
            each.signature.name: each for each in graph_def.library.function
        }
        self.main: Mapping[str, node_def_pb2.NodeDef] = {node.name: node for node in graph_def.node}


def called_functions(node: node_def_pb2.NodeDef) -> list[str]:
    """Names of the functions that a node may call, in the order of its attributes' names."""
    names = []
    for _, attribute in sorted(node.attr.items()):
        if attribute.WhichOneof("value") == "func":
            names.append(attribute.func.name)
        elif attribute.WhichOneof("value") == "list":
            names.extend(each.name for each in attribute.list.func)
    return [name for name in names if name]


def drop_uncalled_functions(meta_graph: meta_graph_pb2.MetaGraphDef) -> list[str]:
    """Removes the functions that neither the main graph nor an object's function calls, directly or through others.

    TensorFlow saves the gradient functions of a loaded model again, though nothing refers to them.

    Args:
        meta_graph: Changed in place.

    Returns:
        The names of the functions removed.
    """
    library = meta_graph.graph_def.library
    bodies = {function.signature.name: function.node_def for function in library.function}
    called: set[str] = set()
    queue = [*meta_graph.object_graph_def.concrete_functions, *_calls(meta_graph.graph_def.node)]
    while queue:
        name = queue.pop()
        if name in bodies and name not in called:
            called.add(name)
            queue.extend(_calls(bodies[name]))
    uncalled = [name for name in bodies if name not in called]
    kept = [function for function in library.function if function.signature.name in called]
    del library.function[:]
    library.function.extend(kept)
    return uncalled


def _calls(nodes: Iterable[node_def_pb2.NodeDef]) -> list[str]:
    # A function of TensorFlow 1 is called by a node that has its name for an operation.
    return [name for node in nodes for name in (node.op, *called_functions(node))]
