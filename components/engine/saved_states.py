"""Lets TensorFlow itself restore the pruning states that a SavedModel holds."""

import functools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.saved_model import save
from tensorflow.python.trackable import base

from . import naming

_View = save._AugmentedGraphView
_MARK = "_tfx_pruning"  # on the function that stands in for TensorFlow's


def hang_states_from_roots(kind: type) -> None:
    """Makes `tf.saved_model.save` hang the pruning states below an object from that object, too, from now on.

    `tf.saved_model.load` restores no variable that only another variable holds, as a weight holds its mask: it stays
    empty, silently. The states hang from an object that is the root's child `naming.STATES`. That is seen in the file
    only: the object that is saved stays as it is. Models without such states are saved as ever.

    Args:
        kind: The class of the states.
    """
    if not hasattr(_View.list_children, _MARK):
        _View.list_children = _with_states(_View.list_children, kind)


def _with_states(list_children: Callable[..., Iterator[Any]], kind: type) -> Callable[..., Iterator[Any]]:
    @functools.wraps(list_children)
    def listed(view: Any, obj: Any) -> Iterator[Any]:
        is_new = obj not in view._children_cache
        found = list(list_children(view, obj))
        if is_new and obj is view.root:
            states = _states_of_variables(view, kind)
            if states:
                holder = tf.__internal__.tracking.AutoTrackable()
                for index, state in enumerate(states):
                    holder._track_trackable(state, f"weight_{index}")
                view._children_cache[obj][naming.STATES] = holder
                found.append(base.TrackableReference(naming.STATES, holder))
        yield from found

    setattr(listed, _MARK, True)
    return listed


def _states_of_variables(view: Any, kind: type) -> list[Any]:
    """The states that hang from nothing but variables in what is saved, in the order of a breadth-first search."""
    seen = {id(view.root): view.root}
    of_variables: dict[int, Any] = {}
    queue = deque([view.root])
    while queue:
        parent = queue.popleft()
        for _, child in view.list_children(parent):
            if isinstance(parent, (tf.Variable, keras.Variable)):
                if isinstance(child, kind):
                    of_variables.setdefault(id(child), child)
            elif id(child) not in seen:
                seen[id(child)] = child
                queue.append(child)
    return [state for key, state in of_variables.items() if key not in seen]
