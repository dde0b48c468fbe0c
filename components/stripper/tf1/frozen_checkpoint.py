"""freeze_checkpoint: a TensorFlow 1 checkpoint as a graph of constants that take in their masks."""

import dataclasses
import difflib
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2

from . import values
from .graph import CONTROL_FLOW_OPS, Graph, data_inputs, node_name

_MASKED_WEIGHT = "masked_weight"
_META_GRAPH = ".meta"
_MAX_SUGGESTIONS = 3


@dataclasses.dataclass(frozen=True)
class FrozenGraph:
    """A stripped graph without variables.

    Attributes:
        graph_def: The graph, cut back to its outputs.
        checkpoint: The path of the checkpoint that it was made from.
        sparsities: The fraction of zeros in each masked weight, by the name of its node; empty if the graph has none.
    """

    graph_def: graph_pb2.GraphDef
    checkpoint: str
    sparsities: dict[str, float]


def freeze_checkpoint(checkpoint_dir: str | os.PathLike[str], output_node_names: Sequence[str]) -> FrozenGraph:
    """Makes a graph of constants from the latest checkpoint in a folder, without masks and other state of pruning.

    Variables become constants. Each node that google-research's `model_pruning` made to multiply a weight by its mask,
    with 'masked_weight' in its name, becomes a constant of the same name, the product. Inside a loop or a branch, the
    node hands that constant on. Nodes that the outputs do not need are removed.

    Args:
        checkpoint_dir: A folder with a checkpoint that `tf.compat.v1.train.Saver` wrote, its meta graph beside it.
        output_node_names: Names of the nodes that the graph is for, such as 'softmax'; at least one.

    Returns:
        The graph.

    Raises:
        FileNotFoundError: There is no checkpoint in the folder, or no meta graph beside it.
        ValueError: No output node is named, or one that the graph lacks; the checkpoint cannot be restored; a masked
            weight depends on what the graph is fed.
    """
    if not output_node_names:
        raise ValueError("output_node_names is empty; name at least one node that the graph is for, such as 'softmax'.")
    checkpoint = _latest(os.fspath(checkpoint_dir))
    graph = Graph(_frozen(checkpoint, output_node_names))
    masked = _masked_weights(graph, checkpoint)
    products = values.values(graph, masked, {}) if masked else {}
    for name in masked:
        _hold(graph, name, products[name])
    graph.keep(graph.reached(output_node_names))
    sparsities = {name: float(np.mean(products[name] == 0)) for name in masked if name in graph}
    return FrozenGraph(graph.proto, checkpoint, sparsities)


def _latest(folder: str) -> str:
    checkpoint = tf.train.latest_checkpoint(folder)
    if checkpoint is None:
        found = (
            "no such folder" if not tf.io.gfile.isdir(folder or ".") else "found no file 'checkpoint' that names one"
        )
        raise FileNotFoundError(
            f"There is no checkpoint in {folder!r}: {found}. Give the folder that tf.compat.v1.train.Saver saved to."
        )
    if not tf.io.gfile.exists(checkpoint + _META_GRAPH):
        raise FileNotFoundError(
            f"The checkpoint {checkpoint!r} has no meta graph: there is no file {checkpoint + _META_GRAPH!r}. Save it "
            "with tf.compat.v1.train.Saver and write_meta_graph=True."
        )
    return checkpoint


def _frozen(checkpoint: str, outputs: Sequence[str]) -> graph_pb2.GraphDef:
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        try:
            saver = tf.compat.v1.train.import_meta_graph(checkpoint + _META_GRAPH, clear_devices=True)
        except Exception as error:
            # TensorFlow raises almost anything here: for lost bytes, for an operation of another library, ...
            raise ValueError(
                f"The meta graph {checkpoint + _META_GRAPH!r} cannot be loaded: {_reason(error)}. If it uses "
                "operations of another library, import that library first."
            ) from error
        graph_def = graph.as_graph_def()
        _check_outputs(outputs, graph_def, checkpoint)
        if saver is None:
            raise ValueError(f"The meta graph {checkpoint + _META_GRAPH!r} has no saver, so no variables to restore.")
        try:
            saver.restore(session, checkpoint)
            return tf.compat.v1.graph_util.convert_variables_to_constants(session, graph_def, list(outputs))
        except (tf.errors.OpError, ValueError) as error:
            raise ValueError(f"The checkpoint {checkpoint!r} cannot be restored: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    message = error.message if isinstance(error, tf.errors.OpError) else str(error)
    return (message.strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _check_outputs(outputs: Sequence[str], graph_def: graph_pb2.GraphDef, checkpoint: str) -> None:
    names = [node.name for node in graph_def.node]
    for output in outputs:
        if output in names:
            continue
        if node_name(output) in names:
            mend = f"it is a tensor's name; give the node's, {node_name(output)!r}"
        elif near := difflib.get_close_matches(output, names, _MAX_SUGGESTIONS):
            mend = f"did you mean {' or '.join(map(repr, near))}?"
        else:
            mend = f"the last of its {len(names)} nodes is {names[-1]!r}" if names else "it has no nodes"
        raise ValueError(f"The graph of {checkpoint!r} has no node {output!r}: {mend}")


def _masked_weights(graph: Graph, checkpoint: str) -> list[str]:
    """The nodes that become constants."""
    passed_on = ("Const", *CONTROL_FLOW_OPS)
    named = [name for name in graph.names if _MASKED_WEIGHT in name and graph[name].op not in passed_on]
    for function in graph.proto.library.function:
        for node in function.node_def:
            if _MASKED_WEIGHT in node.name and node.op == "Mul":
                raise ValueError(
                    f"The masked weight {node.name!r} of {checkpoint!r} is in a function, {function.signature.name!r}, "
                    "where it cannot become a constant. Build the graph under tf.compat.v1.disable_control_flow_v2()."
                )
    constant = values.constant(graph, named)
    for name in named:
        if name not in constant and graph[name].op == "Mul":
            raise ValueError(
                f"The masked weight {name!r} of {checkpoint!r} cannot become a constant: it depends on a placeholder "
                "or a loop's state."
            )
    return constant


def _hold(graph: Graph, name: str, value: np.ndarray) -> None:
    """Makes a node hold a value, in the loop or branch that it is in."""
    node = graph[name]
    entries = max((graph.control_flow(each) for each in data_inputs(node)), key=len)
    node.Clear()
    node.name = name
    if not entries:
        _make_constant(node, value)
        return
    reference = graph.add(_constant(f"{name}/value", value)).name
    for number, entry in enumerate(entries):
        copy = node_def_pb2.NodeDef()
        copy.CopyFrom(graph.maker(entry))
        copy.name = f"{name}/entry_{number}"
        copy.input[0] = reference
        reference = graph.add(copy).name + entry[len(node_name(entry)) :]
    node.op = "Identity"
    node.input.append(reference)
    node.attr["T"].type = tf.as_dtype(value.dtype).as_datatype_enum


def _constant(name: str, value: np.ndarray) -> node_def_pb2.NodeDef:
    node = node_def_pb2.NodeDef(name=name)
    _make_constant(node, value)
    return node


def _make_constant(node: node_def_pb2.NodeDef, value: np.ndarray) -> None:
    node.op = "Const"
    node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
