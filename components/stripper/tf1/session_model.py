"""A TensorFlow 1 SavedModel that is loaded into a session, as TensorFlow Serving loads it."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import node_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from ..function_library import called_functions
from ..loading import failure_explained
from ..signature_inputs import Spec
from .collection_defs import tensor_nodes
from .graph import Graph
from .stripped_meta_graph import INIT_SIGNATURE, TRAIN_SIGNATURE

# Operations that change a variable have these names, except for those that only make a tensor.
_CHANGING = ("Assign", "Scatter", "ResourceScatter", "Apply", "ResourceApply", "SparseApply", "ResourceSparseApply")
_NOT_CHANGING = ("ScatterNd",)


class SessionSignature:
    """A signature, to be called with keyword tensors as those of `tf.saved_model.load` are.

    Inputs that the graph computes of other inputs, as those of an EvalSavedModel, are left to it. Where the signature
    changes variables, as metrics do, each output is computed on its own, one after the other, so that answers do not
    depend on which comes first.

    Attributes:
      structured_input_signature: No positional arguments, and the specs of the keyword arguments.
    """

    def __init__(self, session: tf.compat.v1.Session, signature: meta_graph_pb2.SignatureDef) -> None:
        """Finds the tensors of `signature` in the graph of `session`.

        Raises:
          ValueError: An input is neither a tensor nor a sparse one.
        """
        self._session = session
        graph_def = session.graph.as_graph_def()
        graph = Graph(graph_def)
        inputs = {name: signature.inputs[name] for name in _free_inputs(signature, graph)}
        self._feeds = {name: _element(session.graph, info) for name, info in inputs.items()}
        self._outputs = {name: _element(session.graph, info) for name, info in sorted(signature.outputs.items())}
        if others := [name for name, fed in self._feeds.items() if not isinstance(fed, (tf.Tensor, tf.SparseTensor))]:
            raise ValueError(
                f"the input {others[0]!r} is neither a tensor nor a sparse tensor, so that no input can be drawn for it"
            )
        roots = [node for info in signature.outputs.values() for node in tensor_nodes(info)]
        self._one_by_one = _changes_variables(graph, roots)
        self.structured_input_signature: tuple[tuple[()], Mapping[str, Spec]] = (
            (),
            {name: _spec(self._feeds[name], info) for name, info in inputs.items()},
        )

    def __call__(self, **inputs: Any) -> dict[str, Any]:
        """Computes the outputs; raises what the session raises on inputs that it does not take."""
        feeds = {self._feeds[name]: _fed(value) for name, value in inputs.items()}
        if self._one_by_one:
            found = {name: self._session.run(tensor, feeds) for name, tensor in self._outputs.items()}
        else:
            found = self._session.run(self._outputs, feeds)
        return {name: tf.nest.map_structure(_eager, value, expand_composites=True) for name, value in found.items()}


@contextlib.contextmanager
def session_signatures(folder: str, meta_graph: meta_graph_pb2.MetaGraphDef) -> Iterator[dict[str, SessionSignature]]:
    """Loads one MetaGraph of a SavedModel into a session, which ends with the block.

    Args:
      folder: Of the SavedModel.
      meta_graph: The MetaGraph.

    Yields:
      Its signatures, those apart that TensorFlow keeps operations in.

    Raises:
      ValueError: It cannot be loaded.
    """
    with contextlib.closing(tf.compat.v1.Session(graph=tf.Graph())) as session:
        with failure_explained(folder), session.graph.as_default():
            tf.compat.v1.saved_model.load(session, list(meta_graph.meta_info_def.tags), folder)
            found = {
                name: SessionSignature(session, signature)
                for name, signature in meta_graph.signature_def.items()
                if name not in (INIT_SIGNATURE, TRAIN_SIGNATURE)
            }
        yield found


def _free_inputs(signature: meta_graph_pb2.SignatureDef, graph: Graph) -> list[str]:
    """The inputs that no other input is needed for."""
    nodes = {name: set(tensor_nodes(info)) for name, info in signature.inputs.items()}
    free = []
    for name in sorted(nodes):
        needed = graph.reached(nodes[name]) - nodes[name]
        if not any(needed & nodes[other] for other in nodes if other != name):
            free.append(name)
    return free


def _element(graph: tf.Graph, info: meta_graph_pb2.TensorInfo) -> Any:
    encoding = info.WhichOneof("encoding")
    if encoding == "name":
        return graph.as_graph_element(info.name)
    if encoding == "coo_sparse":
        sparse = info.coo_sparse
        names = (sparse.indices_tensor_name, sparse.values_tensor_name, sparse.dense_shape_tensor_name)
        return tf.SparseTensor(*map(graph.as_graph_element, names))
    return [_element(graph, part) for part in info.composite_tensor.components]


def _spec(fed: tf.Tensor | tf.SparseTensor, info: meta_graph_pb2.TensorInfo) -> Spec:
    declared = tf.TensorShape(info.tensor_shape)
    if isinstance(fed, tf.SparseTensor):
        return tf.SparseTensorSpec(declared, fed.dtype)
    return tf.TensorSpec(fed.shape if declared.rank is None else declared, fed.dtype)


def _fed(value: tf.Tensor | tf.SparseTensor) -> Any:
    if isinstance(value, tf.SparseTensor):
        return tf.compat.v1.SparseTensorValue(*map(_fed, (value.indices, value.values, value.dense_shape)))
    return np.asarray(value.numpy(), dtype=object if value.dtype == tf.string else None)


def _eager(value: Any) -> tf.Tensor:
    return tf.constant(value)


def _changes_variables(graph: Graph, roots: list[str]) -> bool:
    functions = {function.signature.name: function for function in graph.proto.library.function}
    queue: list[node_def_pb2.NodeDef] = [graph[name] for name in graph.reached(roots)]
    seen: set[str] = set()
    while queue:
        node = queue.pop()
        if node.op.startswith(_CHANGING) and node.op not in _NOT_CHANGING:
            return True
        for name in (node.op, *called_functions(node)):
            if name in functions and name not in seen:
                seen.add(name)
                queue.extend(functions[name].node_def)
    return False
