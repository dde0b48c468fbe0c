"""The variables of a SavedModel, read from its files without loading its graph."""

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from ..places import checked_model_path
from .checkpoint import Checkpoint

_OBJECT_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VARIABLE_ATTRIBUTE = "VARIABLE_VALUE"

# An optimizer lists what it trains, so the shortest path to a weight may lead through it. tf_keras holds slot variables
# and metrics elsewhere than Keras 3.
_OPTIMIZER_OR_METRIC = re.compile(
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

    @property
    def in_training_only(self) -> bool:
        """Whether it is a variable of a Keras optimizer or of a metric."""
        return _OPTIMIZER_OR_METRIC.match(self.key) is not None


class SavedVariables:
    """The object graph and the variables of a SavedModel; one of TensorFlow 1 has the variables alone."""

    def __init__(self, saved_model: str | os.PathLike[str]) -> None:
        """Opens the SavedModel in a directory.

        Raises:
            ValueError: The directory holds no SavedModel, or one whose variables cannot be read.
        """
        self.path = checked_model_path(saved_model)
        if not tf.saved_model.contains_saved_model(self.path):
            raise ValueError(
                f"{self.path} holds no SavedModel (no saved_model.pb). Save one there with "
                "tf.saved_model.save(model, directory) or model.export(directory)."
            )
        self._checkpoint = Checkpoint(self.path)
        self._nodes = self._object_graph().nodes

    def children(self, node: int) -> Mapping[str, int]:
        """The children of a node of the object graph: local name -> node."""
        return {child.local_name: child.node_id for child in self._nodes[node].children}

    def variable(self, node: int) -> SavedVariable | None:
        """The variable at a node, or None if the node is no variable."""
        for attribute in self._nodes[node].attributes:
            if attribute.name == _VARIABLE_ATTRIBUTE:
                key = attribute.checkpoint_key
                return SavedVariable(node, attribute.full_name, key, self._checkpoint.shapes[key])
        return None

    def __iter__(self) -> Iterator[SavedVariable]:
        for node in range(len(self._nodes)):
            variable = self.variable(node)
            if variable is not None:
                yield variable

    @property
    def has_objects(self) -> bool:
        """Whether the SavedModel has an object graph, as those of TensorFlow 2 have."""
        return _OBJECT_GRAPH_KEY in self._checkpoint

    def value(self, variable: SavedVariable) -> np.ndarray:
        """The saved value of a variable.

        Raises:
            ValueError: The files are damaged.
        """
        return self._checkpoint.value(variable.key)

    def _object_graph(self) -> trackable_object_graph_pb2.TrackableObjectGraph:
        if self.has_objects:
            return trackable_object_graph_pb2.TrackableObjectGraph.FromString(
                self._checkpoint.value(_OBJECT_GRAPH_KEY).item()
            )
        # TensorFlow 1 saves no objects: each variable is one by itself.
        graph = trackable_object_graph_pb2.TrackableObjectGraph()
        graph.nodes.add()
        for key in self._checkpoint.shapes:
            graph.nodes.add().attributes.add(name=_VARIABLE_ATTRIBUTE, full_name=key, checkpoint_key=key)
        return graph
