"""StripPlan: what becomes of a SavedModel of TensorFlow 2, decided once, before anything is written."""

import dataclasses
from collections.abc import Collection, Mapping

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from ...saved_model.checkpoint import value_bytes
from ...saved_model.object_graph import ObjectGraph, Path, keep_only
from ...saved_model.saved_objects import SavedObjects
from ..masks.folded_value import FoldedValue
from ..masks.folded_weights import folded_weights
from ..masks.graph_rewrite import fold_masks
from ..masks.pruning_objects import PruningObjects


@dataclasses.dataclass(frozen=True, eq=False)
class ReducedGraph:
    """A MetaGraph with some of the source's objects only, from which a model can be loaded.

    Attributes:
        meta_graph: The MetaGraph; objects have the source's numbers.
        graph: An object graph with its signatures and what they capture.
        kept: The objects that it has.
        places: Path from the root of each variable, resource and asset among them that is saved, by object.
    """

    meta_graph: meta_graph_pb2.MetaGraphDef
    graph: ObjectGraph
    kept: Collection[int]
    places: Mapping[int, Path]

    @classmethod
    def of(
        cls, meta_graph: meta_graph_pb2.MetaGraphDef, graph: ObjectGraph, without: Collection[int] = ()
    ) -> "ReducedGraph":
        """Cuts a MetaGraph back to what its signatures need.

        Args:
            meta_graph: Changed in place.
            graph: Its object graph, read before the change.
            without: Objects that are needed but have no place.

        Raises:
            ValueError: A variable hangs from nothing but functions.
        """
        places = graph.places(graph.kept - frozenset(without))
        keep_only(meta_graph, graph, graph.kept, places.values())
        return cls(meta_graph, graph, graph.kept, places)

    @property
    def variables(self) -> list[int]:
        """The variables that it has, in ascending order."""
        return [node for node in self.graph.variables if node in self.kept]


@dataclasses.dataclass(frozen=True, eq=False)
class StripPlan:
    """What is removed, kept and folded, and where the objects that stay hang.

    Attributes:
        source: The SavedModel.
        computing: The source's graph, cut back to what its signatures need; masks that they multiply by are there.
        stripped: The graph that the stripped model is saved from; the same as `computing` if no mask is folded.
        weights: The values of the weights that take in a mask, by object.
    """

    source: SavedObjects
    computing: ReducedGraph
    stripped: ReducedGraph
    weights: Mapping[int, FoldedValue] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, folder: str) -> "StripPlan":
        """Reads the SavedModel in a folder and decides.

        Raises:
            ValueError: It cannot be stripped: it is of another kind, or has no signatures; a signature changes pruning
                variables, or uses one other than to multiply its weight by a mask; no one value serves all uses of a
                weight.
        """
        source = SavedObjects.read(folder)
        if not source.graph.signatures:
            raise ValueError(
                f"The SavedModel at {folder!r} has no signatures, so nothing says what to keep. Save it with "
                "tf.saved_model.save(model, path, signatures=...) or model.export."
            )
        pruning = PruningObjects.of(source.graph)
        if pruning.variables.isdisjoint(source.graph.kept):
            computing = ReducedGraph.of(_copy(source.meta_graph), source.graph)
            return cls(source, computing, computing)
        rewritten = _copy(source.meta_graph)
        rewrite = fold_masks(source, pruning, rewritten)
        weights = folded_weights(source, rewrite)
        stripped = ReducedGraph.of(rewritten, ObjectGraph(rewritten))
        computing = ReducedGraph.of(_copy(source.meta_graph), source.graph, without=pruning.variables)
        return cls(source, computing, stripped, weights)

    @property
    def folds(self) -> bool:
        """Whether the functions of the stripped model are other than those of the source."""
        return self.stripped is not self.computing

    @property
    def removed(self) -> tuple[str, ...]:
        """Keys of the variables that go, sorted."""
        graph = self.source.graph
        return tuple(sorted(graph.key(node) for node in graph.variables if node not in self.stripped.kept))

    @property
    def kept_bytes(self) -> int:
        """The least that the values of the variables that stay take in a file, in bytes."""
        graph = self.stripped.graph
        return sum(
            value_bytes(each.dtype, tf.TensorShape(each.shape)) for each in map(graph.variable, self.stripped.variables)
        )

    @property
    def copied(self) -> list[Path]:
        """Paths of the variables whose values can be copied as they are.

        None can be if masks are folded, or if a variable hangs from another object that stays.
        """
        variables = self.stripped.variables
        if self.folds or not self.stripped.places.keys() >= set(variables):
            return []
        return [self.stripped.places[node] for node in variables]


def _copy(meta_graph: meta_graph_pb2.MetaGraphDef) -> meta_graph_pb2.MetaGraphDef:
    copied = meta_graph_pb2.MetaGraphDef()
    copied.CopyFrom(meta_graph)
    return copied
