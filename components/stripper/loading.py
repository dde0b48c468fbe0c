"""SavedModels loaded with the variables that TensorFlow forgets, and loaded from a changed MetaGraph."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from .meta_graph import FILENAME
from .object_graph import ObjectGraph

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
DEBUG_INFO = os.path.join("debug", "saved_model_debug_info.pb")


def checkpoint_of(source: str) -> str:
    """The prefix of the variables' files of the SavedModel at `source`."""
    return os.path.join(source, "variables", "variables")


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
    model = _load(source, source, tf.saved_model.LoadOptions(allow_partial_checkpoint=True))
    reader = None
    for name, function in graph.signatures.items():
        captures = model.signatures[name].captured_inputs
        for node, handle in zip(graph.bound_inputs(function), captures, strict=True):
            if graph.kind(node) == "variable" and not tf.raw_ops.VarIsInitializedOp(resource=handle):
                reader = reader or tf.train.load_checkpoint(checkpoint_of(source))
                if reader.has_tensor(key := graph.key(node) + VALUE):
                    tf.raw_ops.AssignVariableOp(resource=handle, value=reader.get_tensor(key))
    return model


@contextlib.contextmanager
def loaded_as(source: str, meta_graph: meta_graph_pb2.MetaGraphDef) -> Iterator[Any]:
    """Loads a SavedModel as if it had another MetaGraph.

    Args:
      source: Its folder.
      meta_graph: The MetaGraph; its objects have the places that they have in the SavedModel's own.

    Yields:
      The model. Its assets are gone when the block ends.

    Raises:
      ValueError: It cannot be loaded.
    """
    saved_model = saved_model_pb2.SavedModel(saved_model_schema_version=1, meta_graphs=[meta_graph])
    assets = [os.path.join("assets", asset.filename) for asset in meta_graph.asset_file_def]
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, FILENAME), "wb") as stream:
            stream.write(saved_model.SerializeToString())
        for file in [*assets, *([DEBUG_INFO] if tf.io.gfile.exists(os.path.join(source, DEBUG_INFO)) else [])]:
            tf.io.gfile.makedirs(os.path.dirname(os.path.join(folder, file)))
            tf.io.gfile.copy(os.path.join(source, file), os.path.join(folder, file), overwrite=True)
        model = _load(source, folder, tf.saved_model.LoadOptions(experimental_skip_checkpoint=True))
        tf.train.Checkpoint(model).read(checkpoint_of(source)).expect_partial()
        yield model


def _load(source: str, folder: str, options: tf.saved_model.LoadOptions) -> Any:
    try:
        return tf.saved_model.load(folder, options=options)
    except Exception as error:
        # TensorFlow raises almost anything here: for an operation of a library that is not imported, lost files, ...
        raise ValueError(
            f"The SavedModel at {source!r} cannot be loaded: {error}. If it uses operations of another library, "
            "import that library first; if files are missing or damaged, save the model again."
        ) from error
