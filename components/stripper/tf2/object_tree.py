"""Objects of a loaded SavedModel by their paths, and a tree to save them from."""

from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from ...saved_model.object_graph import Path


def objects_at(model: Any, paths: Iterable[Path]) -> dict[Path, Any]:
    """The objects of a loaded model at some paths from its root."""
    objects = {}
    for path in paths:
        found = model
        for name in path:
            found = found._lookup_dependency(name)
        objects[path] = found
    return objects


def object_tree(objects: Mapping[Path, Any]) -> tf.Module:
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
