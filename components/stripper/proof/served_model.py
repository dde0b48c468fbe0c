"""ServedModel: a SavedModel of TensorFlow 2 or 1 as a server sees it: by its signatures."""

import abc
from collections.abc import Mapping, Sequence
from typing import Protocol

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from ...saved_model import loading
from ...saved_model.function_library import FunctionLibrary
from ...saved_model.meta_graph import has_objects, read_saved_model, served_meta_graph
from ...saved_model.saved_objects import SavedObjects
from ..check.answers import Signature
from ..check.parsed_features import ParsedFeatures, parsed_features
from ..check.signature_inputs import Spec
from ..tf1.graph import Graph
from ..tf1.session_model import SessionModel
from ..tf1.signature_defs import input_specs, parsed_by, signature_defs


class LoadedModel(Protocol):
    """A model in memory. Hold it as long as its signatures are called: they do not keep its variables alive."""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """The signatures, by name."""


class ServedModel(abc.ABC):
    """A SavedModel, read but not loaded.

    Attributes:
        path: Its folder.
        signatures: The names of its signatures.
    """

    path: str
    signatures: Sequence[str]

    @staticmethod
    def read(path: str) -> "ServedModel":
        """Reads a SavedModel of either kind.

        Args:
            path: Its folder.

        Raises:
            FileNotFoundError: There is no SavedModel.
            ValueError: It is not a SavedModel, or no single MetaGraph of it is to be served.
        """
        saved_model = read_saved_model(path)
        return _ServedObjects(path) if has_objects(saved_model) else _ServedGraph(path, saved_model)

    @abc.abstractmethod
    def specs(self, signature: str) -> Mapping[str, Spec]:
        """The specs of a signature's inputs, by name, sorted by name.

        Raises:
            ValueError: An input is neither a tensor nor a sparse one.
        """

    @abc.abstractmethod
    def parsed(self, signature: str) -> ParsedFeatures:
        """What a signature parses."""

    @abc.abstractmethod
    def load(self) -> LoadedModel:
        """Loads the model.

        Raises:
            ValueError: It cannot be loaded.
        """


class _ServedObjects(ServedModel):
    """A SavedModel of TensorFlow 2."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._saved = SavedObjects.read(path)
        self.signatures = tuple(self._saved.graph.signatures)

    def specs(self, signature: str) -> Mapping[str, Spec]:
        return {
            name: tf.TensorSpec(tf.TensorShape(tensor.tensor_shape), tf.as_dtype(tensor.dtype), name)
            for name, tensor in sorted(self._saved.meta_graph.signature_def[signature].inputs.items())
        }

    def parsed(self, signature: str) -> ParsedFeatures:
        return parsed_features(self._saved, self._saved.graph.signatures[signature])

    def load(self) -> LoadedModel:
        return loading.load(self._saved)


class _ServedGraph(ServedModel):
    """A SavedModel of TensorFlow 1."""

    def __init__(self, path: str, saved_model: saved_model_pb2.SavedModel) -> None:
        self.path = path
        self._meta_graph = served_meta_graph(path, saved_model)
        self._graph = Graph(self._meta_graph.graph_def)
        self._signatures = signature_defs(self._meta_graph)
        self.signatures = tuple(self._signatures)

    def specs(self, signature: str) -> Mapping[str, Spec]:
        try:
            return input_specs(self._signatures[signature], self._graph)
        except ValueError as error:
            raise ValueError(
                f"The signature {signature!r} of the model at {self.path!r} takes no examples: {error}."
            ) from error

    def parsed(self, signature: str) -> ParsedFeatures:
        return parsed_by(self._signatures[signature], FunctionLibrary(self._meta_graph), self._graph)

    def load(self) -> LoadedModel:
        return SessionModel(self.path, self._meta_graph, self._graph)
