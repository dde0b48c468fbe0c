"""SavedWeight: a weight of a SavedModel that may be pruned, and which of them are."""

import dataclasses
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import tensorflow as tf

from ..engine import naming
from ..engine.hparams import PruningHParams
from ..engine.name_pattern import name_pattern
from ..engine.weight_choice import is_embedding, is_kernel, is_of_lora
from ..saved_model.saved_objects import SavedObjects


@dataclasses.dataclass(frozen=True)
class SavedWeight:
    """A variable that the signatures of a SavedModel reach.

    Attributes:
        node: Its object.
        name: Its name, which no other has.
        shape: Its shape.
        dtype: Its dtype.
        keys: Its keys in the checkpoint: its own, and those of copies that no signature reaches.
    """

    node: int
    name: str
    shape: tuple[int, ...]
    dtype: tf.DType
    keys: tuple[str, ...]


def saved_weights(source: SavedObjects) -> tuple[list[SavedWeight], list[SavedWeight]]:
    """The floating variables that signatures reach, each once, in the order of the objects.

    Args:
        source: The SavedModel.

    Returns:
        Those that are trained, or all if none is said to be; and the others.

    Raises:
        ValueError: It holds masks or other state of pruning, or no such variable.
    """
    graph = source.graph
    names = {node: graph.variable(node).name for node in graph.variables}
    masks = [
        graph.key(node) for node, name in names.items() if any(map(naming.is_pruning_variable, (name, graph.key(node))))
    ]
    if masks:
        raise ValueError(
            f"The SavedModel at {source.folder!r} holds variables of pruning, such as {masks[0]!r}, which new "
            "zeros would contradict. Strip it first: tfx_pruning.strip_saved_model, or Stripper."
        )
    reached = graph.reached(graph.signatures.values())
    used = [node for node in graph.variables if node in reached and tf.as_dtype(graph.variable(node).dtype).is_floating]
    nodes = [node for node in used if graph.variable(node).trainable] or used
    known = [node for node in used if tf.TensorShape(graph.variable(node).shape).is_fully_defined()]
    trained = set(nodes)
    if not trained.intersection(known):
        raise ValueError(f"The signatures of the SavedModel at {source.folder!r} use no floating variable to prune.")
    copies = [node for node in graph.variables if node not in reached]
    found = [
        SavedWeight(
            node,
            name,
            tuple(graph.variable(node).shape.dim[axis].size for axis in range(len(graph.variable(node).shape.dim))),
            tf.as_dtype(graph.variable(node).dtype),
            tuple(map(graph.key, [node, *_copies(source, node, copies)])),
        )
        for node, name in zip(known, _unique([names[node] for node in known]), strict=True)
    ]
    return [each for each in found if each.node in trained], [each for each in found if each.node not in trained]


def chosen_weights(
    weights: Sequence[SavedWeight], multiplied: Collection[int], hparams: PruningHParams
) -> list[SavedWeight]:
    """The weights that hyperparameters ask to prune.

    Args:
        weights: All weights.
        multiplied: The objects of those by which a function multiplies activations.
        hparams: With `include`, those whose names it matches. Else the kernels by name, and all others of two
            dimensions and more, embeddings and LoRA's matrices apart, that activations are multiplied by. In both cases
            without those that `exclude` matches.

    Raises:
        ValueError: A regex matches nothing, or no weight is left.
    """
    names = [each.name for each in weights]
    for option in ("include", "exclude"):
        for pattern in getattr(hparams, option):
            if not any(name_pattern(pattern).search(name) for name in names):
                raise ValueError(
                    f"{option} holds {pattern!r}, which matches none of the variables {names}. Mend or remove it."
                )

    def matches(patterns: Sequence[str], name: str) -> bool:
        return any(name_pattern(pattern).search(name) for pattern in patterns)

    def by_default(each: SavedWeight) -> bool:
        if len(each.shape) < 2 or is_of_lora(each.name):
            return False
        return is_kernel(each.name) or (each.node in multiplied and not is_embedding(each.name))

    found = [each for each in weights if (matches(hparams.include, each.name) if hparams.include else by_default(each))]
    found = [each for each in found if not matches(hparams.exclude, each.name)]
    if not found:
        rule = f"include={list(hparams.include)}" if hparams.include else "the default (kernels)"
        raise ValueError(
            f"No weight to prune: {rule} with exclude={list(hparams.exclude)} leaves none of the variables {names}. "
            "Name the weights with include=[regex,...]."
        )
    return found


def saved_value(source: SavedObjects, weight: SavedWeight) -> np.ndarray:
    """The value of a weight.

    Raises:
        ValueError: There is none.
    """
    value = source.checkpoint.variable(weight.keys[0])
    if value is None:
        raise ValueError(
            f"The SavedModel at {source.folder!r} has no value for its variable {weight.keys[0]!r}; save the model "
            "again."
        )
    return value


def _copies(source: SavedObjects, node: int, others: Sequence[int]) -> list[int]:
    """The variables among others that are the same: Keras's `export` writes every variable twice."""
    graph = source.graph
    declared = graph.variable(node)
    alike = [
        other
        for other in others
        if (graph.variable(other).name, graph.variable(other).dtype) == (declared.name, declared.dtype)
        and graph.variable(other).shape == declared.shape
    ]
    if not alike:
        return []
    value = source.checkpoint.variable(graph.key(node))
    values = {other: source.checkpoint.variable(graph.key(other)) for other in alike}
    return [other for other, found in values.items() if found is not None and np.array_equal(value, found)]


def _unique(names: Sequence[str]) -> list[str]:
    counts = Counter(names)
    taken: Mapping[str, int] = Counter()
    found = []
    for name in names:
        taken[name] += 1
        found.append(name if counts[name] == 1 or taken[name] == 1 else f"{name}#{taken[name]}")
    return found
