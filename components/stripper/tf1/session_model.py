"""SessionModel: a TensorFlow 1 SavedModel, loaded into a session as TensorFlow Serving loads it."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from ...saved_model.loading import failure_explained
from ..check.signature_inputs import Spec
from . import collection_defs
from .collection_defs import tensor_nodes
from .graph import Graph
from .signature_defs import input_specs, output_nodes, signature_defs

# Operations that change a variable have these names, except for those that only make a tensor.
_CHANGING = ("Assign", "Scatter", "ResourceScatter", "Apply", "ResourceApply", "SparseApply", "ResourceSparseApply")
_NOT_CHANGING = ("ScatterNd",)


class SessionSignature:
    """A signature that is called with keyword tensors, as those of `tf.saved_model.load` are.

    Outputs that change variables, such as updates of metrics, are computed after all others, one by one, so that the
    answers do not depend on their order.

    Attributes:
        structured_input_signature: No positional arguments, and the specs of the keyword arguments.
    """

    def __init__(self, session: tf.compat.v1.Session, graph: Graph, signature: meta_graph_pb2.SignatureDef) -> None:
        """Finds the tensors of `signature` in the graph of `session`, which was made of `graph`.

        Raises:
            ValueError: An input is neither a tensor nor a sparse tensor.
        """
        self._session = session
        specs = input_specs(signature, graph)
        self._feeds = {name: _element(session.graph, signature.inputs[name]) for name in specs}
        self._outputs = {name: _element(session.graph, info) for name, info in sorted(signature.outputs.items())}
        changing = [name for name in self._outputs if changes_variables(graph, tensor_nodes(signature.outputs[name]))]
        self._steps = [[name for name in self._outputs if name not in changing], *([name] for name in changing)]
        self.structured_input_signature: tuple[tuple[()], Mapping[str, Spec]] = (
            (),
            {name: _known(spec, self._feeds[name]) for name, spec in specs.items()},
        )

    def __call__(self, **inputs: Any) -> dict[str, Any]:
        """Computes the outputs as numpy arrays; raises what the session raises on inputs that it refuses."""
        feeds = {self._feeds[name]: _fed(value) for name, value in inputs.items()}
        found: dict[str, Any] = {}
        for names in self._steps:
            answered = self._session.run({name: self._outputs[name] for name in names}, feeds) if names else {}
            # Copies: an array may share its memory with a variable that a later run changes.
            found |= {name: tf.nest.map_structure(_copied, value) for name, value in answered.items()}
        return found


class SessionModel:
    """One MetaGraph of a SavedModel in a session. The session ends with `close`, or with the object.

    Attributes:
        signatures: Its signatures by name, without those in which TensorFlow keeps operations.
    """

    def __init__(self, folder: str, meta_graph: meta_graph_pb2.MetaGraphDef, graph: Graph) -> None:
        """Loads the MetaGraph.

        Args:
            folder: Folder of the SavedModel.
            meta_graph: The MetaGraph.
            graph: Its graph.

        Raises:
            ValueError: It cannot be loaded.
        """
        signatures = signature_defs(meta_graph)
        config = tf.compat.v1.ConfigProto()
        if changes_variables(graph, [node for each in signatures.values() for node in output_nodes(each)]):
            # Otherwise TensorFlow optimizes the graph again for each of many outputs, which takes seconds.
            config.graph_options.rewrite_options.disable_meta_optimizer = True
        # TensorFlow closes a session that nobody holds.
        self._session = session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        with failure_explained(folder), session.graph.as_default():
            tf.compat.v1.saved_model.load(session, list(meta_graph.meta_info_def.tags), folder)
            if not collection_defs.init_ops(meta_graph):
                # As readers of such models do themselves; a Transform graph is one.
                assets = {
                    each.tensor_info.name: os.path.join(folder, "assets", each.filename)
                    for each in collection_defs.assets_of(meta_graph)
                }
                session.run(tf.compat.v1.tables_initializer(), assets)
            self.signatures = {name: SessionSignature(session, graph, each) for name, each in signatures.items()}

    def close(self) -> None:
        """Ends the session, and frees its memory."""
        self._session.close()


def _element(graph: tf.Graph, info: meta_graph_pb2.TensorInfo) -> Any:
    encoding = info.WhichOneof("encoding")
    if encoding == "name":
        return graph.as_graph_element(info.name)
    if encoding == "coo_sparse":
        sparse = info.coo_sparse
        names = (sparse.indices_tensor_name, sparse.values_tensor_name, sparse.dense_shape_tensor_name)
        return tf.SparseTensor(*map(graph.as_graph_element, names))
    return [_element(graph, part) for part in info.composite_tensor.components]


def _known(spec: Spec, fed: tf.Tensor | tf.SparseTensor) -> Spec:
    """A spec with the shape in the graph, if none is declared."""
    if isinstance(spec, tf.TensorSpec) and spec.shape.rank is None:
        return tf.TensorSpec(fed.shape, spec.dtype)
    return spec


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
