"""The order of a function's nodes."""

from collections.abc import Sequence

from tensorflow.core.framework import function_pb2, node_def_pb2


def in_order(function: function_pb2.FunctionDef, *, controls: bool = False) -> list[node_def_pb2.NodeDef]:
    """The nodes of a function, each after those whose outputs it reads; with `controls`, after all it waits for."""
    nodes = {node.name: node for node in function.node_def}
    found: dict[str, node_def_pb2.NodeDef] = {}
    entered: set[str] = set()
    for begin in function.node_def:
        stack = [begin.name]
        while stack:
            name = stack[-1]
            if name in found or name not in nodes:
                stack.pop()
            elif name in entered:
                found[name] = nodes[name]
                stack.pop()
            else:
                entered.add(name)
                inputs = nodes[name].input if controls else (each for each in nodes[name].input if each[0] != "^")
                stack.extend(each.removeprefix("^").partition(":")[0] for each in inputs)
    return list(found.values())


def has_loop(nodes: Sequence[node_def_pb2.NodeDef]) -> bool:
    """Whether nodes in their order read a later one, as the loops of TensorFlow 1 do."""
    names = {node.name for node in nodes}
    before: set[str] = set()
    for node in nodes:
        read = {each.partition(":")[0] for each in node.input if not each.startswith("^")}
        if (read & names) - before:
            return True
        before.add(node.name)
    return False
