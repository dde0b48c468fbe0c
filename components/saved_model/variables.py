"""The variables of a SavedModel, read from its files without loading its graph."""

import dataclasses
import functools
import os
import re
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from ..engine import naming

_OBJECT_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VARIABLE_ATTRIBUTE = "VARIABLE_VALUE"

# The shortest path to a weight may lead through the optimizer as well, which lists what it trains. Slot variables and
# metrics are found at places of their own in models of tf_keras.
_NO_MODEL_VARIABLE = re.compile(
    r"optimizer/(?!(inner_optimizer/)?_trainable_variables/)|.*/\.OPTIMIZER_SLOT/|keras_api/metrics/"
)

ROOT = 0


@dataclasses.dataclass(frozen=True)
class SavedVariable:
    """One variable of a SavedModel.

    Attributes:
        node: Its node in the object graph.
        name: Its full name, such as 'sequential/dense/kernel'.
        key: Its key in the checkpoint.
        shape: Its shape.
    """

    node: int
    name: str
    key: str
    shape: tuple[int, ...]


class SavedVariables:
    """The object graph and the variables of a SavedModel; one of TensorFlow 1 has the variables alone."""

    def __init__(self, saved_model: str | os.PathLike[str]) -> None:
        """Opens the SavedModel in a directory.

        Raises:
            ValueError: The directory holds no SavedModel, or one whose variables cannot be read.
        """
        self.path = os.fspath(saved_model)
        if not tf.saved_model.contains_saved_model(self.path):
            raise ValueError(
                f"{self.path} holds no SavedModel (no saved_model.pb). Save one there with "
                "tf.saved_model.save(model, directory) or model.export(directory)."
            )
        try:
            self._reader = tf.train.load_checkpoint(os.path.join(self.path, "variables", "variables"))
            self._nodes = self._object_graph().nodes
        except (tf.errors.OpError, ValueError) as error:
            raise ValueError(f"The variables of the SavedModel in {self.path} cannot be read: {error}") from error

    def children(self, node: int) -> Mapping[str, int]:
        """The children of a node of the object graph: local name -> node."""
        return {child.local_name: child.node_id for child in self._nodes[node].children}

    def variable(self, node: int) -> SavedVariable | None:
        """The variable at a node, or None if the node is no variable."""
        for attribute in self._nodes[node].attributes:
            if attribute.name == _VARIABLE_ATTRIBUTE:
                shape = tuple(self._shapes[attribute.checkpoint_key])
                return SavedVariable(node, attribute.full_name, attribute.checkpoint_key, shape)
        return None

    def __iter__(self) -> Iterator[SavedVariable]:
        for node in range(len(self._nodes)):
            variable = self.variable(node)
            if variable is not None:
                yield variable

    def model_variables(self) -> list[SavedVariable]:
        """All variables but those of pruning, of a Keras optimizer and of metrics."""
        return [
            variable
            for variable in self
            if not naming.is_pruning_variable(variable.name) and not _NO_MODEL_VARIABLE.match(variable.key)
        ]

    def value(self, variable: SavedVariable) -> np.ndarray:
        """The saved value of a variable."""
        return self._reader.get_tensor(variable.key)

    def _object_graph(self) -> trackable_object_graph_pb2.TrackableObjectGraph:
        if self._reader.has_tensor(_OBJECT_GRAPH_KEY):
            return trackable_object_graph_pb2.TrackableObjectGraph.FromString(
                self._reader.get_tensor(_OBJECT_GRAPH_KEY)
            )
        # TensorFlow 1 saves no objects: each variable is one by itself.
        graph = trackable_object_graph_pb2.TrackableObjectGraph()
        graph.nodes.add()
        for key in sorted(self._shapes):
            graph.nodes.add().attributes.add(name=_VARIABLE_ATTRIBUTE, full_name=key, checkpoint_key=key)
        return graph

    @functools.cached_property
    def _shapes(self) -> Mapping[str, list[int]]:
        return self._reader.get_variable_to_shape_map()
