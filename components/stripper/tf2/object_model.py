"""Strips a SavedModel of TensorFlow 2: objects, and functions that capture them."""

import contextlib
import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.python.saved_model import fingerprinting_utils

from ... import staging
from ...saved_model import loading
from ...saved_model.function_library import drop_uncalled_functions
from ...saved_model.meta_graph import EXTRA_ASSETS, FILENAME, read_meta_graph, read_saved_model
from ...saved_model.object_graph import ObjectGraph, Path, keep_only
from ...saved_model.value_copy import ValueCopy
from ..check import verify
from ..check.acceptance import Checks
from ..masks.folded_weights import FoldedWeight, folded_weights
from ..masks.graph_rewrite import fold_masks


class ObjectModel:
    """What a stripped SavedModel of TensorFlow 2 keeps of its source.

    Attributes:
        removed: Keys of the variables that go, sorted.
        kept: Keys of the variables that stay, sorted; known once the model is written.
    """

    def __init__(self, source: str) -> None:
        """Reads the source and decides.

        Raises:
            ValueError: It cannot be stripped: it is of another kind, or has no signatures; a signature changes pruning
                variables, or uses one otherwise than to multiply its weight by a mask; no one value serves all uses of
                a weight.
        """
        self._source = source
        self._meta_graph = read_meta_graph(source)
        self._graph = ObjectGraph(self._meta_graph)
        if not self._graph.signatures:
            raise ValueError(
                f"The SavedModel at {source!r} has no signatures, so nothing says what to keep. Save it with "
                "tf.saved_model.save(model, path, signatures=...) or model.export."
            )
        self._rewritten: meta_graph_pb2.MetaGraphDef | None = None
        self._weights: tuple[FoldedWeight, ...] = ()
        self._kept = self._graph.kept()
        if any(map(self._graph.is_pruning_variable, self._kept)):
            self._rewrite()
        else:
            self._places = self._graph.places(self._kept)
        graph = self._graph
        self.removed = tuple(sorted(graph.key(node) for node in graph.variables if node not in self._kept))
        self.kept: tuple[str, ...] = ()

    def write(self, folder: str, checks: Checks) -> tuple[str, ...]:
        """Writes the stripped model to an empty folder and checks it; returns the names of the signatures checked.

        Source and stripped model are in memory with the kept variables only, which they share, or else one after the
        other.

        Raises:
            OSError: The folder cannot be written.
            ValueError: The source cannot be loaded.
            VerificationError: A signature does not answer as before, or that could not be checked.
        """
        if self._rewritten is None and (values := ValueCopy.of(self._source, folder, self._variables())):
            checked = self._write_copied(values, folder, checks)
        else:
            checked = self._write_values(folder, checks)
        stripped = ObjectGraph(read_meta_graph(folder))
        self.kept = tuple(sorted(stripped.key(node) for node in stripped.variables))
        return checked

    def _write_copied(self, values: ValueCopy, folder: str, checks: Checks) -> tuple[str, ...]:
        """Writes and checks a model whose values are those of the source."""
        with values, loading.loaded_without_values(self._source, self._reduced()) as model:
            objects = self._objects_at(model)
            self._read_resources(self._source, objects)
            for path in self._variables():
                # In place of its value, which is copied.
                _assign(objects[path], tf.constant(np.empty(0, objects[path].dtype.as_numpy_dtype)))
            self._save(model, objects, folder, values)
            stripped = loading.load_without_values(folder)
            stripped_objects = self._objects_at(stripped)
            self._read_resources(folder, stripped_objects)
            for path, value in values.tensors().items():
                _assign(objects[path], value)
                _assign(stripped_objects[path], value)
            answers = verify.answers_of(self._source, model, self._meta_graph, checks.records)
            return self._check(answers, folder, stripped, checks)

    def _write_values(self, folder: str, checks: Checks) -> tuple[str, ...]:
        """Writes and checks a model whose values TensorFlow reads and writes."""
        with self._loaded(self._reduced()) as model:
            if self._rewritten is None:
                self._save(model, self._initialized(self._objects_at(model)), folder)
            answers = verify.answers_of(self._source, model, self._meta_graph, checks.records)
            del model
        if self._rewritten is None:
            return self._check(answers, folder, tf.saved_model.load(folder), checks)
        return self._save_folded(answers, folder, checks)

    def _variables(self) -> list[Path]:
        """Where the variables hang that stay; none if one of them hangs from another object that stays."""
        kept = [node for node in self._graph.variables if node in self._kept]
        return [self._places[node] for node in kept] if self._places.keys() >= set(kept) else []

    def _read_resources(self, folder: str, objects: Mapping[Path, Any]) -> None:
        """Gives tables what the checkpoint of a SavedModel says that they hold."""
        places = {self._places[node] for node in self._places if self._graph.kind(node) == "resource"}
        if places:
            tree = _tree({path: objects[path] for path in places})
            with loading.failure_explained(folder):
                tf.train.Checkpoint(tree).read(loading.checkpoint(folder)).expect_partial()

    def _rewrite(self) -> None:
        self._rewritten = meta_graph_pb2.MetaGraphDef()
        self._rewritten.CopyFrom(self._meta_graph)
        rewrite = fold_masks(self._source, self._rewritten, self._graph)
        self._weights = tuple(folded_weights(self._source, self._graph, rewrite))
        rewritten_graph = ObjectGraph(self._rewritten)
        self._kept = rewritten_graph.kept()
        self._places: dict[int, Path] = rewritten_graph.places(self._kept)
        keep_only(self._rewritten, self._kept, self._places.values())

    def _reduced(self) -> meta_graph_pb2.MetaGraphDef:
        """The source's MetaGraph with those objects only that signatures need, masks included."""
        reduced = meta_graph_pb2.MetaGraphDef()
        reduced.CopyFrom(self._meta_graph)
        needed = self._graph.kept()
        placed = {node for node in needed if not self._graph.is_pruning_variable(node)}
        keep_only(reduced, needed, self._graph.places(placed).values())
        return reduced

    @contextlib.contextmanager
    def _loaded(self, meta_graph: meta_graph_pb2.MetaGraphDef) -> Iterator[Any]:
        """The source, loaded as if it had another MetaGraph; its memory is free when the block ends."""
        with loading.loaded_as(self._source, self._graph, meta_graph) as model:
            yield model
        del model
        # Functions hold their variables in cycles.
        gc.collect()

    def _save_folded(self, answers: Sequence[verify.SourceAnswers], folder: str, checks: Checks) -> tuple[str, ...]:
        """Saves the model with weights that take in their masks, and checks it; returns the signatures' names.

        Pruned weights become +0.0, or the exact product with the mask, -0.0, if an answer tells the one from the other.
        """

        def save_and_check(values: Mapping[int, np.ndarray]) -> tuple[str, ...]:
            with self._loaded(self._rewritten) as model:
                objects = self._initialized(self._objects_at(model))
                for node, value in values.items():
                    objects[self._places[node]].assign(value)
                self._save(model, objects, folder)
                del model, objects
            return self._check(answers, folder, tf.saved_model.load(folder), checks)

        try:
            return save_and_check({weight.node: weight.positive for weight in self._weights})
        except verify.VerificationError as error:
            if not any(weight.sign_differs for weight in self._weights):
                raise
            logging.info("Saving the signs of pruned weights, too: %s", error)
        return save_and_check({weight.node: weight.product for weight in self._weights})

    def _check(
        self, answers: Sequence[verify.SourceAnswers], folder: str, model: Any, checks: Checks
    ) -> tuple[str, ...]:
        """Sees that the stripped model, loaded from `folder`, answers as its source; returns the signatures' names."""
        meta_graph = read_meta_graph(folder)
        stripped = ObjectGraph(meta_graph)
        if len(stripped.variables) != sum(node in self._kept for node in self._graph.variables):
            raise verify.VerificationError(
                f"The stripped model of {self._source!r} has the variables "
                f"{list(map(stripped.key, stripped.variables))}, expected those that its signatures reach. Nothing was "
                "published; please report this model."
            )

        def again() -> Any:
            return loading.load(self._source, self._graph)

        signatures = verify.verify(answers, self._meta_graph, model, meta_graph, again, checks.tolerance)
        checks.run_further(folder)
        return signatures

    def _objects_at(self, model: Any) -> dict[Path, Any]:
        """The objects of a loaded model that stay, by their paths."""
        objects = {}
        for path in self._places.values():
            found = model
            for name in path:
                found = found._lookup_dependency(name)
            objects[path] = found
        return objects

    def _initialized(self, objects: dict[Path, Any]) -> dict[Path, Any]:
        for found in objects.values():
            if isinstance(found, tf.Variable) and not found.is_initialized():
                raise ValueError(
                    f"The SavedModel at {self._source!r} has no value for its variable {found.name!r}; save the model "
                    "again."
                )
        return objects

    def _save(self, model: Any, objects: Mapping[Path, Any], folder: str, values: ValueCopy | None = None) -> None:
        """Saves the signatures of `model`, `objects` at their paths and the source's extra assets, and nothing else.

        With `values`, those are saved in place of the objects' own.
        """
        options = tf.saved_model.SaveOptions(
            namespace_whitelist=sorted(_operation_namespaces(self._meta_graph)),
            experimental_custom_gradients=False,
            save_debug_info=tf.io.gfile.exists(os.path.join(self._source, loading.DEBUG_INFO)),
        )
        with staging.write_failure_explained(folder):
            with loading.no_garbage_collection():
                tf.saved_model.save(_tree(objects), folder, signatures=dict(model.signatures), options=options)
            if values is not None:
                values.finish()
            _tidy(self._meta_graph, folder)
            staging.copy_folder(os.path.join(self._source, EXTRA_ASSETS), os.path.join(folder, EXTRA_ASSETS))


def _tidy(meta_graph: meta_graph_pb2.MetaGraphDef, folder: str) -> None:
    """Mends what loading and saving again gets wrong: uncalled functions, and defaults of signature inputs lost."""
    saved_model = read_saved_model(folder)
    stripped = saved_model.meta_graphs[0]
    drop_uncalled_functions(stripped)
    for name, signature in meta_graph.signature_def.items():
        for key, value in signature.defaults.items():
            stripped.signature_def[name].defaults[key].CopyFrom(value)
    with tf.io.gfile.GFile(os.path.join(folder, FILENAME), "wb") as stream:
        stream.write(saved_model.SerializeToString(deterministic=True))
    fingerprinting_utils.write_fingerprint(folder)


def _assign(variable: tf.Variable, value: tf.Tensor) -> None:
    # Not `assign`, which would refuse a placeholder's shape, and copy the value.
    tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)


def _tree(objects: Mapping[Path, Any]) -> tf.Module:
    """An object from which others hang at their paths."""
    holders = {(): tf.Module()}
    for path, found in objects.items():
        for depth in range(1, len(path)):
            if path[:depth] not in holders:
                holders[path[:depth]] = _hang(holders[path[: depth - 1]], path[depth - 1], tf.Module())
        _hang(holders[path[:-1]], path[-1], found)
    return holders[()]


def _hang(holder: tf.Module, name: str, child: Any) -> Any:
    # Not setattr: a tf.Module has properties, such as `variables`, of the names that objects of a Keras export have.
    holder._track_trackable(child, name)
    return child


def _operation_namespaces(meta_graph: meta_graph_pb2.MetaGraphDef) -> set[str]:
    """Namespaces of custom operations, as in 'Addons>Gelu', which TensorFlow saves only when told so."""
    nodes = [meta_graph.graph_def.node, *(each.node_def for each in meta_graph.graph_def.library.function)]
    return {node.op.partition(">")[0] for each in nodes for node in each if ">" in node.op}
