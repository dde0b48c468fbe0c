"""Names of a model's weights for people: as the paths, but unique."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from .weight_state import Weight, path_of, tf_variable


def weight_names(weights: Sequence[Weight], model: Any = None) -> list[str]:
    """A name for each of `weights`, which no other has: what `include`, `exclude`, messages and reports use.

    A weight's path, 'sequential/dense/kernel', is its name if no other weight has it. Layers of one name in two towers
    have weights of one path. They are named by the layers of `model` that hold them: 'user/hidden/kernel' and
    'item/hidden/kernel'. Weights that no layer tells apart get a number: 'kernel', 'kernel#2'.

    Args:
        weights: Weights, each once.
        model: The Keras model, layer or `tf.Module` that holds them; None if there is none.

    Returns:
        The names, in order.
    """
    paths = [path_of(weight) for weight in weights]
    counts = Counter(paths)
    if len(counts) == len(paths):
        return paths
    places = dict(_places(model)) if model is not None else {}
    wanted = [
        path if counts[path] == 1 else places.get(id(tf_variable(weight)), path)
        for path, weight in zip(paths, weights, strict=True)
    ]
    taken = {path for path in paths if counts[path] == 1}
    names = []
    for path, place in zip(paths, wanted, strict=True):
        name, number = place, 1
        while counts[path] > 1 and name in taken:
            number += 1
            name = f"{place}#{number}"
        taken.add(name)
        names.append(name)
    return names


def _places(holder: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[int, str]]:
    """The id of each variable that a layer or module holds, and its name with those of the layers above in front.

    The place that counts is the last one: of a variable that several layers share, that of the first of them.
    """
    if hasattr(holder, "_flatten_layers"):
        inner = list(holder._flatten_layers(recursive=False, include_self=False))
        for layer in reversed(inner):
            yield from _places(layer, (*above, layer.name))
        of_inner = {id(tf_variable(weight)) for layer in inner for weight in layer.weights}
        for weight in holder.weights:
            if id(tf_variable(weight)) not in of_inner:
                yield id(tf_variable(weight)), "/".join((*above, path_of(weight).rpartition("/")[2]))
    elif isinstance(holder, tf.Module):
        found = holder._flatten(predicate=lambda each: isinstance(each, tf.Variable), with_path=True)
        for place, variable in reversed(list(found)):
            yield id(variable), "/".join(map(str, (*above, *place)))
