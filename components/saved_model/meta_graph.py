"""Reads the MetaGraphs in the `saved_model.pb` of a SavedModel."""

import os

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

FILENAME = "saved_model.pb"
EXTRA_ASSETS = "assets.extra"  # TensorFlow Serving looks for warm-up requests here; TensorFlow does not save it
_TAGS = frozenset((tf.saved_model.SERVING,))
_TRAINING = tf.compat.v1.saved_model.tag_constants.TRAINING


def read_meta_graph(path: str) -> meta_graph_pb2.MetaGraphDef:
    """Reads the MetaGraph of the SavedModel at `path`.

    Args:
        path: Folder of a SavedModel written by TensorFlow 2.

    Returns:
        Its only MetaGraph, with the object graph in it.

    Raises:
        FileNotFoundError: `path` does not exist, or holds no `saved_model.pb`.
        ValueError: The file is no SavedModel, has no or several MetaGraphs, or tags other than 'serve'.
    """
    saved_model = read_saved_model(path)
    if len(saved_model.meta_graphs) != 1:
        raise ValueError(
            f"The SavedModel at {path!r} has {len(saved_model.meta_graphs)} MetaGraphs, expected 1. "
            "Save the model again with tf.saved_model.save."
        )
    meta_graph = saved_model.meta_graphs[0]
    tags = frozenset(meta_graph.meta_info_def.tags)
    if tags != _TAGS:
        raise ValueError(
            f"The SavedModel at {path!r} has the tags {sorted(tags)}, expected {sorted(_TAGS)}. "
            "Save the model again with tf.saved_model.save."
        )
    return meta_graph


def has_objects(saved_model: saved_model_pb2.SavedModel) -> bool:
    """Whether a SavedModel has objects, as TensorFlow 2 writes it, or graphs alone, as TensorFlow 1 did."""
    return not saved_model.meta_graphs or any(each.object_graph_def.nodes for each in saved_model.meta_graphs)


def is_for_training(meta_graph: meta_graph_pb2.MetaGraphDef) -> bool:
    """Whether a MetaGraph of TensorFlow 1 is for training alone."""
    return _TRAINING in meta_graph.meta_info_def.tags


def served_meta_graph(path: str, saved_model: saved_model_pb2.SavedModel) -> meta_graph_pb2.MetaGraphDef:
    """The MetaGraph that a server takes from a SavedModel of TensorFlow 1.

    Args:
        path: The SavedModel's folder, for errors.
        saved_model: Its `saved_model.pb`.

    Returns:
        The only one that is not for training. If there are several, the one whose only tag is 'serve', or else the one
        with 'serve' among its tags.

    Raises:
        ValueError: There is no such MetaGraph, or more than one.
    """
    found = [each for each in saved_model.meta_graphs if not is_for_training(each)]
    if len(found) > 1:
        found = [each for each in found if _TAGS.issubset(each.meta_info_def.tags)]
        found = [each for each in found if _TAGS.issuperset(each.meta_info_def.tags)] or found
    if len(found) != 1:
        tags = [sorted(each.meta_info_def.tags) for each in saved_model.meta_graphs]
        raise ValueError(
            f"The SavedModel at {path!r} has MetaGraphs with the tags {tags}, expected one that is to be served: with "
            "the tag 'serve', or the only one without the tag 'train'. Save the model with one that has 'serve' alone."
        )
    return found[0]


def read_saved_model(path: str) -> saved_model_pb2.SavedModel:
    """Reads the `saved_model.pb` of the SavedModel at `path`.

    Args:
        path: Folder of a SavedModel.

    Returns:
        The file's content.

    Raises:
        FileNotFoundError: `path` does not exist, or holds no `saved_model.pb`.
        ValueError: The file is no SavedModel.
    """
    if not tf.io.gfile.isdir(path):
        raise FileNotFoundError(f"There is no SavedModel at {path!r}: no such folder.")
    file = os.path.join(path, FILENAME)
    if not tf.io.gfile.exists(file):
        found = ", ".join(sorted(tf.io.gfile.listdir(path))) or "nothing"
        raise FileNotFoundError(
            f"There is no SavedModel at {path!r}: expected {FILENAME} in that folder, found {found}. "
            "Save the model with tf.saved_model.save or model.export."
        )
    saved_model = saved_model_pb2.SavedModel()
    with tf.io.gfile.GFile(file, "rb") as stream:
        content = stream.read()
    try:
        saved_model.ParseFromString(content)
    except DecodeError as error:
        raise ValueError(f"{file!r} is not a SavedModel: its {len(content)} bytes cannot be parsed.") from error
    return saved_model
