"""The values of nodes that depend on variables and constants alone."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from .graph import READ_OP, VARIABLE_OPS, Graph, Reference, node_name

_VARYING_OPS = ("Placeholder", "PlaceholderV2", "PlaceholderWithDefault", "Merge", "RefMerge", "NextIteration")


def constant(graph: Graph, names: Iterable[str]) -> list[str]:
    """Those of some nodes whose values depend neither on placeholders nor on the state of a loop."""
    straightened = Graph(graph.straightened())
    return [
        name
        for name in names
        if all(straightened[each].op not in _VARYING_OPS for each in straightened.reached([name]))
    ]


def values(
    graph: Graph, references: Sequence[Reference], variables: Mapping[str, np.ndarray]
) -> dict[Reference, np.ndarray]:
    """Computes constant values, also inside loops and branches.

    Args:
        graph: The graph.
        references: The values to compute.
        variables: The value of every variable that they depend on, by its node.

    Returns:
        The values, bit for bit as a session gives them.
    """
    proto = graph.straightened()
    straightened = Graph(proto)
    feeds: dict[str, np.ndarray] = {}
    for node in straightened.proto.node:
        variable = _variable_read(straightened, node.name)
        if variable in variables:
            dtype = node.attr["dtype"].type
            feeds[f"{node.name}:0"] = variables[variable]
            node.Clear()
            node.op = "Placeholder"
            node.name = next(reversed(feeds)).removesuffix(":0")
            node.attr["dtype"].type = dtype
    sources = {reference: graph.before_control_flow(reference) for reference in references}
    straightened.keep(straightened.reached(map(node_name, sources.values())))
    with tf.Graph().as_default() as scratch:
        tf.graph_util.import_graph_def(straightened.proto, name="")
        names = {reference: each if ":" in each else f"{each}:0" for reference, each in sources.items()}
        present = {name: value for name, value in feeds.items() if node_name(name) in straightened}
        with tf.compat.v1.Session(graph=scratch) as session:
            return session.run(names, present)


def _variable_read(graph: Graph, name: str) -> str | None:
    """The variable that a node is, or reads directly."""
    node = graph[name]
    if node.op == READ_OP:
        return graph.variable(name)
    return name if node.op in VARIABLE_OPS and node.op != "VarHandleOp" else None
