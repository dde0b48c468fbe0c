"""SavedObjects: a SavedModel of TensorFlow 2, read but not loaded."""

import dataclasses
import functools

from tensorflow.core.protobuf import meta_graph_pb2

from .checkpoint import Checkpoint
from .function_library import FunctionLibrary
from .meta_graph import read_meta_graph
from .object_graph import ObjectGraph


@dataclasses.dataclass(frozen=True, eq=False)
class SavedObjects:
    """What the files of a SavedModel of TensorFlow 2 say. Each view of them is made once, when it is asked for.

    Attributes:
        folder: Its folder.
        meta_graph: Its only MetaGraph, which must not be changed.
    """

    folder: str
    meta_graph: meta_graph_pb2.MetaGraphDef

    @classmethod
    def read(cls, folder: str) -> "SavedObjects":
        """Reads the SavedModel in a folder; `read_meta_graph` says what is raised."""
        return cls(folder, read_meta_graph(folder))

    @functools.cached_property
    def graph(self) -> ObjectGraph:
        """The object graph."""
        return ObjectGraph(self.meta_graph)

    @functools.cached_property
    def library(self) -> FunctionLibrary:
        """The functions."""
        return FunctionLibrary(self.meta_graph)

    @functools.cached_property
    def checkpoint(self) -> Checkpoint:
        """The values of the variables.

        Raises:
            ValueError: The files are missing or damaged.
        """
        return Checkpoint(self.folder)
