"""The signatures of a TensorFlow 1 MetaGraph, as it declares them."""

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from ...saved_model.function_library import FunctionLibrary
from ..check.parsed_features import ParsedFeatures, parsed_features_of
from ..check.signature_inputs import Spec
from .collection_defs import INIT_SIGNATURE, TRAIN_SIGNATURE, tensor_nodes
from .graph import Graph


def signature_defs(meta_graph: meta_graph_pb2.MetaGraphDef) -> dict[str, meta_graph_pb2.SignatureDef]:
    """The signatures by name, without those in which TensorFlow keeps operations."""
    return {
        name: each for name, each in meta_graph.signature_def.items() if name not in (INIT_SIGNATURE, TRAIN_SIGNATURE)
    }


def output_nodes(signature: meta_graph_pb2.SignatureDef) -> list[str]:
    """The names of the nodes that make the outputs of a signature."""
    return [node for info in signature.outputs.values() for node in tensor_nodes(info)]


def input_specs(signature: meta_graph_pb2.SignatureDef, graph: Graph) -> dict[str, Spec]:
    """The specs of a signature's inputs, by name, sorted by name.

    Inputs that the graph computes from other inputs, as in an EvalSavedModel, are left out.

    Args:
        signature: The signature.
        graph: The MetaGraph's graph.

    Raises:
        ValueError: An input is neither a tensor nor a sparse tensor.
    """
    return {name: _spec(name, signature.inputs[name]) for name in _free_inputs(signature, graph)}


def parsed_by(signature: meta_graph_pb2.SignatureDef, library: FunctionLibrary, graph: Graph) -> ParsedFeatures:
    """What the nodes that a signature needs, and the functions that these call, parse.

    Args:
        signature: The signature.
        library: The functions of its MetaGraph.
        graph: The MetaGraph's graph.
    """
    return parsed_features_of(library, [graph[each] for each in sorted(graph.reached(output_nodes(signature)))])


def _free_inputs(signature: meta_graph_pb2.SignatureDef, graph: Graph) -> list[str]:
    """The inputs that do not depend on another input."""
    nodes = {name: set(tensor_nodes(info)) for name, info in signature.inputs.items()}
    free = []
    for name in sorted(nodes):
        needed = graph.reached(nodes[name]) - nodes[name]
        if not any(needed & nodes[other] for other in nodes if other != name):
            free.append(name)
    return free


def _spec(name: str, info: meta_graph_pb2.TensorInfo) -> Spec:
    kind = {"name": tf.TensorSpec, "coo_sparse": tf.SparseTensorSpec}.get(info.WhichOneof("encoding"))
    if kind is None:
        raise ValueError(f"the input {name!r} is neither a tensor nor a sparse tensor, so no input can be made for it")
    return kind(tf.TensorShape(info.tensor_shape), tf.as_dtype(info.dtype).base_dtype)
