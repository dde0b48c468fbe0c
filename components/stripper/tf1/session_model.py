"""A TensorFlow 1 SavedModel that is loaded into a session, as TensorFlow Serving loads it."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from ..loading import failure_explained
from ..signature_inputs import Spec
from . import collection_defs
from .collection_defs import INIT_SIGNATURE, TRAIN_SIGNATURE, tensor_nodes
from .graph import Graph

# Operations that change a variable have these names, except for those that only make a tensor.
_CHANGING = ("Assign", "Scatter", "ResourceScatter", "Apply", "ResourceApply", "SparseApply", "ResourceSparseApply")
_NOT_CHANGING = ("ScatterNd",)


class SessionSignature:
    """A signature, to be called with keyword tensors as those of `tf.saved_model.load` are.

    Inputs that the graph computes of other inputs, as those of an EvalSavedModel, are left to it. Outputs that change
    variables, as updates of metrics do, are computed after all others and one after the other, so that answers do not
    depend on which comes first.

    Attributes:
      structured_input_signature: No positional arguments, and the specs of the keyword arguments.
    """

    def __init__(self, session: tf.compat.v1.Session, graph: Graph, signature: meta_graph_pb2.SignatureDef) -> None:
        """Finds the tensors of `signature` in the graph of `session`, which was made of `graph`.

        Raises:
          ValueError: An input is neither a tensor nor a sparse one.
        """
        self._session = session
        inputs = {name: signature.inputs[name] for name in _free_inputs(signature, graph)}
        self._feeds = {name: _element(session.graph, info) for name, info in inputs.items()}
        self._outputs = {name: _element(session.graph, info) for name, info in sorted(signature.outputs.items())}
        if others := [name for name, fed in self._feeds.items() if not isinstance(fed, (tf.Tensor, tf.SparseTensor))]:
            raise ValueError(
                f"the input {others[0]!r} is neither a tensor nor a sparse tensor, so that no input can be drawn for it"
            )
        changing = [name for name in self._outputs if changes_variables(graph, tensor_nodes(signature.outputs[name]))]
        self._steps = [[name for name in self._outputs if name not in changing], *([name] for name in changing)]
        self.structured_input_signature: tuple[tuple[()], Mapping[str, Spec]] = (
            (),
            {name: _spec(self._feeds[name], info) for name, info in inputs.items()},
        )

    def __call__(self, **inputs: Any) -> dict[str, Any]:
        """Computes the outputs as numpy arrays; raises what the session raises on inputs that it does not take."""
        feeds = {self._feeds[name]: _fed(value) for name, value in inputs.items()}
        found: dict[str, Any] = {}
        for names in self._steps:
            answered = self._session.run({name: self._outputs[name] for name in names}, feeds) if names else {}
            # Copies, for an array may share its memory with a variable that later runs change.
            found |= {name: tf.nest.map_structure(_copied, value) for name, value in answered.items()}
        return found


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
    signatures = {
        name: each for name, each in meta_graph.signature_def.items() if name not in (INIT_SIGNATURE, TRAIN_SIGNATURE)
    }
    config = tf.compat.v1.ConfigProto()
    graph = Graph(meta_graph.graph_def)
    outputs = [info for each in signatures.values() for info in each.outputs.values()]
    if changes_variables(graph, [node for info in outputs for node in tensor_nodes(info)]):
        # The graph would be optimized anew for each of many outputs, which takes seconds each time.
        config.graph_options.rewrite_options.disable_meta_optimizer = True
    with contextlib.closing(tf.compat.v1.Session(graph=tf.Graph(), config=config)) as session:
        with failure_explained(folder), session.graph.as_default():
            tf.compat.v1.saved_model.load(session, list(meta_graph.meta_info_def.tags), folder)
            if not collection_defs.init_ops(meta_graph):
                # As readers of such models do themselves; a Transform graph is one.
                assets = {
                    each.tensor_info.name: os.path.join(folder, "assets", each.filename)
                    for each in collection_defs.assets_of(meta_graph)
                }
                session.run(tf.compat.v1.tables_initializer(), assets)
            found = {name: SessionSignature(session, graph, each) for name, each in signatures.items()}
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


def _copied(value: np.ndarray | bytes) -> np.ndarray:
    # A scalar of bytes would lose trailing zeros in an array of numpy's own strings.
    return np.array(value, dtype=object if isinstance(value, bytes) else None)


def changes_variables(graph: Graph, roots: list[str]) -> bool:
    """Whether some nodes, or what they need, change variables."""
    names = graph.reached(roots)
    return any(
        node.op.startswith(_CHANGING) and node.op not in _NOT_CHANGING
        for node in (*map(graph.__getitem__, names), *graph.called(names))
    )
