"""Loading a SavedModel, with the variables that TensorFlow forgets, or as if it had another MetaGraph."""

import contextlib
import gc
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from .meta_graph import FILENAME
from .object_graph import ObjectGraph

DEBUG_INFO = os.path.join("debug", "saved_model_debug_info.pb")

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def saved_value(source: str, key: str) -> np.ndarray | None:
    """Reads the value of one variable from the files of a SavedModel.

    Args:
        source: Its folder.
        key: The variable's key, as `ObjectGraph.key` gives it.

    Returns:
        The value; None if there is none.

    Raises:
        ValueError: The files are missing or damaged.
    """
    with failure_explained(source):
        reader = tf.train.load_checkpoint(checkpoint(source))
        return reader.get_tensor(key + _VALUE) if reader.has_tensor(key + _VALUE) else None


def load(source: str, graph: ObjectGraph) -> Any:
    """Loads a SavedModel, with the values of all variables that its signatures capture.

    TensorFlow restores no variable that hangs from nothing but another variable, as masks do.

    Args:
        source: Its folder.
        graph: Its object graph.

    Raises:
        ValueError: It cannot be loaded.
    """
    # A strict load would warn of each of those variables.
    with failure_explained(source):
        model = tf.saved_model.load(source, options=tf.saved_model.LoadOptions(allow_partial_checkpoint=True))
    _restore_captured(source, graph, graph, model)
    return model


@contextlib.contextmanager
def loaded_as(source: str, graph: ObjectGraph, meta_graph: meta_graph_pb2.MetaGraphDef) -> Iterator[Any]:
    """Loads a SavedModel as if it had another MetaGraph.

    Args:
        source: Its folder.
        graph: Its object graph.
        meta_graph: The MetaGraph; its objects have the numbers that they have in the SavedModel's own, and those that
            it lacks are neither made nor read.

    Yields:
        The model. Its assets are gone when the block ends.

    Raises:
        ValueError: It cannot be loaded.
    """
    with loaded_without_values(source, meta_graph) as model:
        with failure_explained(source):
            tf.train.Checkpoint(model).read(checkpoint(source)).expect_partial()
        _restore_captured(source, graph, ObjectGraph(meta_graph), model)
        yield model


@contextlib.contextmanager
def loaded_without_values(source: str, meta_graph: meta_graph_pb2.MetaGraphDef) -> Iterator[Any]:
    """As `loaded_as`, but variables have no values, and tables only those that the graph gives them."""
    saved_model = saved_model_pb2.SavedModel(saved_model_schema_version=1, meta_graphs=[meta_graph])
    assets = [os.path.join("assets", asset.filename) for asset in meta_graph.asset_file_def]
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, FILENAME), "wb") as stream:
            stream.write(saved_model.SerializeToString())
        with failure_explained(source):
            for file in [*assets, *([DEBUG_INFO] if tf.io.gfile.exists(os.path.join(source, DEBUG_INFO)) else [])]:
                tf.io.gfile.makedirs(os.path.dirname(os.path.join(folder, file)))
                tf.io.gfile.copy(os.path.join(source, file), os.path.join(folder, file), overwrite=True)
            model = load_without_values(folder)
        yield model


def load_without_values(folder: str) -> Any:
    """Loads a SavedModel, whose variables get no values, and whose tables only those that the graph gives them."""
    with no_garbage_collection():
        return tf.saved_model.load(folder, options=tf.saved_model.LoadOptions(experimental_skip_checkpoint=True))


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Puts off what takes a third of a second, to look at every object of TensorFlow, and finds little to free."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _restore_captured(source: str, graph: ObjectGraph, loaded: ObjectGraph, model: Any) -> None:
    """Gives the variables that signatures capture their values, where TensorFlow did not.

    Args:
        source: Folder of the SavedModel.
        graph: Its object graph.
        loaded: That of what was loaded.
        model: What was loaded.
    """
    for name, function in loaded.signatures.items():
        captures = model.signatures[name].captured_inputs
        for node, handle in zip(loaded.bound_inputs(function), captures, strict=True):
            if loaded.kind(node) == "variable" and not tf.raw_ops.VarIsInitializedOp(resource=handle):
                value = saved_value(source, graph.key(node))
                if value is not None:
                    tf.raw_ops.AssignVariableOp(resource=handle, value=value)


def checkpoint(folder: str) -> str:
    """What the names of the files begin with that hold the values of a SavedModel's variables."""
    return os.path.join(folder, "variables", "variables")


@contextlib.contextmanager
def failure_explained(source: str) -> Iterator[None]:
    """Raises whatever is raised while a SavedModel is read as a ValueError that names its folder, `source`."""
    try:
        yield
    except Exception as error:
        # TensorFlow raises almost anything here: for an operation of a library that is not imported, lost files, ...
        raise ValueError(
            f"The SavedModel at {source!r} cannot be loaded: {error}. If it uses operations of another library, "
            "import that library first; if files are missing or damaged, save the model again."
        ) from error
