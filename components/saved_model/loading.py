"""Loads a SavedModel with the variables that TensorFlow forgets, or as if it had another MetaGraph."""

import contextlib
import gc
import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from . import checkpoint
from .meta_graph import FILENAME
from .object_graph import ObjectGraph
from .saved_objects import SavedObjects

DEBUG_INFO = os.path.join("debug", "saved_model_debug_info.pb")


def load(source: SavedObjects) -> Any:
    """Loads a SavedModel, with the values of all variables that its signatures capture.

    TensorFlow alone restores no variable that only another variable holds, as weights hold their masks.

    Raises:
        ValueError: It cannot be loaded.
    """
    # A strict load would warn of each of those variables.
    with failure_explained(source.folder):
        model = tf.saved_model.load(source.folder, options=tf.saved_model.LoadOptions(allow_partial_checkpoint=True))
        _check_signatures(model)
    _restore_captured(source, source.graph, model)
    return model


@contextlib.contextmanager
def loaded_as(source: SavedObjects, meta_graph: meta_graph_pb2.MetaGraphDef, graph: ObjectGraph) -> Iterator[Any]:
    """Loads a SavedModel as if it had another MetaGraph.

    Args:
        source: The SavedModel.
        meta_graph: The other MetaGraph. Its objects have the numbers that they have in the SavedModel's own; those that
            it lacks are neither made nor read.
        graph: An object graph with the signatures of `meta_graph` and what they capture.

    Yields:
        The model. Its assets are gone when the block ends.

    Raises:
        OSError: The folder of temporary files cannot be written.
        ValueError: It cannot be loaded.
    """
    with loaded_without_values(source, meta_graph) as model:
        with failure_explained(source.folder):
            tf.train.Checkpoint(model).read(checkpoint.prefix(source.folder)).expect_partial()
        _restore_captured(source, graph, model)
        yield model


@contextlib.contextmanager
def loaded_without_values(source: SavedObjects, meta_graph: meta_graph_pb2.MetaGraphDef) -> Iterator[Any]:
    """As `loaded_as`, but variables have no values, and tables only those that the graph gives them."""
    saved_model = saved_model_pb2.SavedModel(saved_model_schema_version=1, meta_graphs=[meta_graph])
    assets = [os.path.join("assets", asset.filename) for asset in meta_graph.asset_file_def]
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            with open(os.path.join(folder, FILENAME), "wb") as stream:
                stream.write(saved_model.SerializeToString())
        except OSError as error:
            raise OSError(
                f"The folder of temporary files, {tempfile.gettempdir()!r}, cannot be written ({error.strerror}), "
                f"where the graph of {source.folder!r} goes for a while. Make room there, or name another one with "
                "TMPDIR."
            ) from error
        with failure_explained(source.folder):
            has_debug_info = tf.io.gfile.exists(os.path.join(source.folder, DEBUG_INFO))
            for file in [*assets, *([DEBUG_INFO] if has_debug_info else [])]:
                tf.io.gfile.makedirs(os.path.dirname(os.path.join(folder, file)))
                tf.io.gfile.copy(os.path.join(source.folder, file), os.path.join(folder, file), overwrite=True)
            model = load_without_values(folder)
            _check_signatures(model)
        yield model


def load_without_values(folder: str) -> Any:
    """Loads a SavedModel; its variables get no values, and its tables only those that the graph gives them."""
    with no_garbage_collection():
        return tf.saved_model.load(folder, options=tf.saved_model.LoadOptions(experimental_skip_checkpoint=True))


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Puts off garbage collection, which takes a third of a second among TensorFlow's objects and frees little."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _check_signatures(model: Any) -> None:
    if not isinstance(model.signatures, Mapping):
        raise TypeError(f"its signatures are of type {type(model.signatures).__name__}, expected a mapping")


def _restore_captured(source: SavedObjects, graph: ObjectGraph, model: Any) -> None:
    """Gives the variables that signatures capture their values, where TensorFlow did not.

    Args:
        source: The SavedModel.
        graph: The object graph of what was loaded; objects have the numbers that they have in the SavedModel.
        model: What was loaded.
    """
    for name, function in graph.signatures.items():
        captures = model.signatures[name].captured_inputs
        for node, handle in zip(graph.bound_inputs(function), captures, strict=True):
            if graph.kind(node) == "variable" and not tf.raw_ops.VarIsInitializedOp(resource=handle):
                value = source.checkpoint.variable(source.graph.key(node))
                if value is not None:
                    tf.raw_ops.AssignVariableOp(resource=handle, value=value)


@contextlib.contextmanager
def failure_explained(source: str) -> Iterator[None]:
    """Turns every error in loading the SavedModel at `source` into a ValueError that names it."""
    try:
        yield
    except Exception as error:
        # TensorFlow raises almost anything here: for an operation of a library that is not imported, lost files, ...
        raise ValueError(
            f"The SavedModel at {source!r} cannot be loaded: {error}. If it uses operations of another library, "
            "import that library first; if files are missing or damaged, save the model again."
        ) from error
