"""Removes all that only training needs from a SavedModel."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.python.saved_model import fingerprinting_utils

from ..engine import sizes
from . import loading, staging, verify
from .folded_weights import FoldedWeight, folded_weights
from .function_library import drop_uncalled_functions
from .graph_rewrite import fold_masks
from .meta_graph import FILENAME, read_meta_graph, read_saved_model
from .object_graph import ObjectGraph, Path, keep_only
from .records import checked_records

_EXTRA_ASSETS = "assets.extra"


@dataclasses.dataclass(frozen=True)
class StripReport:
    """What `strip_saved_model` did.

    Attributes:
      variables_removed: Keys of the source's variables that the stripped model lacks, sorted. A key is what
        `tf.train.list_variables` shows, less '/.ATTRIBUTES/VARIABLE_VALUE', as in 'dense/_kernel/pruning/mask'.
      variables_kept: Keys of the stripped model's variables, sorted.
      signatures_checked: Names of the signatures, all of which answered bit for bit as the source's.
      source_bytes: All files of the source, in bytes.
      stripped_bytes: All files of the stripped model, in bytes.
      gzipped_bytes: The stripped model as one .tar.gz, in bytes.
    """

    variables_removed: tuple[str, ...]
    variables_kept: tuple[str, ...]
    signatures_checked: tuple[str, ...]
    source_bytes: int
    stripped_bytes: int
    gzipped_bytes: int


def strip_saved_model(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    examples: Iterable[bytes] | None = None,
    overwrite: bool = False,
) -> StripReport:
    """Writes a copy of a SavedModel without masks, thresholds, gradients, old weights, optimizer and slot variables.

    Where a function multiplies a weight by its mask, as `apply_mask` and tfmot's wrappers do, the weight takes in the
    mask, and the multiplication goes.

    The copy has the source's signatures, and of its variables those that a signature reaches, under the same names
    and, unless those lead through an optimizer, the same checkpoint keys; its lookup tables, its assets and its
    `assets.extra` are kept. Other callables of the source, such as `__call__` or the `serve` of a Keras export, are
    not: the signatures are the contract.

    Before the copy appears at `destination`, every signature is called on the same inputs in both models, and every
    bit of every output must agree. The source is only read.

    Args:
      source: Folder of a SavedModel written by TensorFlow 2, pruned or not.
      destination: Where the stripped SavedModel goes: nothing or an empty folder must be there, unless `overwrite`.
      examples: Serialized records, such as tf.Examples, on which signatures that parse such are checked, besides drawn
        inputs; all are held in memory.
      overwrite: Whether a folder at `destination` is replaced, with all that is in it; until the stripped model is
        checked it stays as it is.

    Returns:
      What was removed, kept, checked and saved.

    Raises:
      FileNotFoundError: There is no SavedModel at `source`.
      FileExistsError: There is something at `destination`, and `overwrite` is False or it is a file.
      OSError: `destination` cannot be written.
      TypeError: `examples` is not an iterable of bytes.
      ValueError: `source` is not a SavedModel of TensorFlow 2 with signatures, or cannot be loaded; a signature changes
        pruning variables, or uses one otherwise than to multiply its weight by a mask; no one value serves all uses of
        a weight; `destination` and `source` lie one within the other; `examples` is empty.
      VerificationError: A signature of the stripped model does not answer as the source, or none of the inputs tried
        is one that it takes.
    """
    source, destination = os.fspath(source), os.fspath(destination)
    records = checked_records(examples)
    plan = _plan(source, destination, overwrite)
    graph = plan.graph
    with staging.staged(destination, overwrite) as folder:
        if plan.rewritten is None:
            model = loading.load(source, graph)
            _save(plan, model, _objects_at(plan, model), folder)
            checked = _check(plan, model, folder, records)
        else:
            with loading.loaded_as(source, plan.rewritten) as model:
                checked = _save_folded(plan, model, folder, records)
        stripped = ObjectGraph(read_meta_graph(folder))
        report = StripReport(
            variables_removed=tuple(sorted(graph.key(node) for node in graph.variables if node not in plan.kept)),
            variables_kept=tuple(sorted(stripped.key(node) for node in stripped.variables)),
            signatures_checked=checked,
            source_bytes=sizes.directory_bytes(source),
            stripped_bytes=sizes.directory_bytes(folder),
            gzipped_bytes=sizes.gzipped_bytes(folder),
        )
    logging.info(
        "Stripped %s to %s: %d of %d variables removed, %d bytes became %d, signatures checked: %s.",
        source,
        destination,
        len(report.variables_removed),
        len(report.variables_removed) + len(report.variables_kept),
        report.source_bytes,
        report.stripped_bytes,
        ", ".join(report.signatures_checked),
    )
    return report


def refuse_overlap(source: str, destination: str) -> None:
    """Raises a ValueError if a destination would change the source, or be lost with it."""
    outer, inner = os.path.join(os.path.realpath(source), ""), os.path.join(os.path.realpath(destination), "")
    if inner.startswith(outer):
        where = "is the source" if inner == outer else f"lies within the source {source!r}"
    elif outer.startswith(inner):
        where = f"holds the source {source!r}"
    else:
        return
    raise ValueError(f"The destination {destination!r} {where}, which is only read; give one outside.")


def _refuse_unstrippable(source: str, graph: ObjectGraph) -> None:
    if not graph.signatures:
        raise ValueError(
            f"The SavedModel at {source!r} has no signatures, so nothing says what to keep. Save it with "
            "tf.saved_model.save(model, path, signatures=...) or model.export."
        )


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What a stripped model keeps of its source.

    Attributes:
      source: Folder of the source.
      meta_graph: The source's MetaGraph.
      graph: Its object graph.
      kept: The source's objects that stay.
      places: Where each of them stands that has a place of its own.
      rewritten: The source's MetaGraph with no pruning in its functions; None if there is none in the source's own.
      weights: The weights that take in their masks for that.
    """

    source: str
    meta_graph: meta_graph_pb2.MetaGraphDef
    graph: ObjectGraph
    kept: set[int]
    places: dict[int, Path]
    rewritten: meta_graph_pb2.MetaGraphDef | None = None
    weights: tuple[FoldedWeight, ...] = ()


def _plan(source: str, destination: str, overwrite: bool) -> _Plan:
    """Reads the source and decides; refuses what cannot be stripped, or not to that destination."""
    meta_graph = read_meta_graph(source)
    graph = ObjectGraph(meta_graph)
    _refuse_unstrippable(source, graph)
    refuse_overlap(source, destination)
    staging.refuse_occupied(destination, overwrite)
    kept = graph.kept()
    if not any(map(graph.is_pruning_variable, kept)):
        return _Plan(source, meta_graph, graph, kept, graph.places(kept))
    rewritten = meta_graph_pb2.MetaGraphDef()
    rewritten.CopyFrom(meta_graph)
    weights = folded_weights(source, graph, fold_masks(source, rewritten, graph))
    rewritten_graph = ObjectGraph(rewritten)
    kept = rewritten_graph.kept()
    places = rewritten_graph.places(kept)
    keep_only(rewritten, kept, places.values())
    return _Plan(source, meta_graph, graph, kept, places, rewritten, tuple(weights))


def _save_folded(plan: _Plan, model: Any, folder: str, records: Sequence[bytes] | None) -> tuple[str, ...]:
    """Saves a model whose weights take in their masks, and checks it; returns the signatures' names.

    Pruned weights become +0.0, or the exact product with the mask, -0.0, if an answer tells the one from the other.
    """
    objects = _objects_at(plan, model)

    def save_and_check(values: Mapping[int, np.ndarray]) -> tuple[str, ...]:
        for node, value in values.items():
            objects[plan.places[node]].assign(value)
        _save(plan, model, objects, folder)
        return _check(plan, loading.load(plan.source, plan.graph), folder, records)

    try:
        return save_and_check({weight.node: weight.positive for weight in plan.weights})
    except verify.VerificationError as error:
        if not any(weight.sign_differs for weight in plan.weights):
            raise
        logging.info("Saving the signs of pruned weights, too: %s", error)
    return save_and_check({weight.node: weight.product for weight in plan.weights})


def _check(plan: _Plan, model: Any, folder: str, records: Sequence[bytes] | None) -> tuple[str, ...]:
    """Compares the stripped model in `folder` with its source, `model`; returns the signatures' names."""
    stripped_meta_graph = read_meta_graph(folder)
    stripped = ObjectGraph(stripped_meta_graph)
    if len(stripped.variables) != sum(node in plan.kept for node in plan.graph.variables):
        raise verify.VerificationError(
            f"The stripped model of {plan.source!r} has the variables {list(map(stripped.key, stripped.variables))}, "
            "expected those that its signatures reach. Nothing was published; please report this model."
        )
    stripped_model = tf.saved_model.load(folder)
    return verify.verify(plan.source, model, plan.meta_graph, stripped_model, stripped_meta_graph, records)


def _objects_at(plan: _Plan, model: Any) -> dict[Path, Any]:
    """The objects of a loaded model that stay, by their paths."""
    objects = {}
    for path in plan.places.values():
        found = model
        for name in path:
            found = found._lookup_dependency(name)
        if isinstance(found, tf.Variable) and not found.is_initialized():
            raise ValueError(
                f"The SavedModel at {plan.source!r} has no value for its variable {found.name!r}; save the model again."
            )
        objects[path] = found
    return objects


def _save(plan: _Plan, model: Any, objects: Mapping[Path, Any], folder: str) -> None:
    """Saves the signatures of `model`, `objects` at their paths and the source's extra assets, and nothing else."""
    holders = {(): tf.Module()}
    for path, found in objects.items():
        for depth in range(1, len(path)):
            if path[:depth] not in holders:
                holders[path[:depth]] = _hang(holders[path[: depth - 1]], path[depth - 1], tf.Module())
        _hang(holders[path[:-1]], path[-1], found)
    options = tf.saved_model.SaveOptions(
        namespace_whitelist=sorted(_operation_namespaces(plan.meta_graph)),
        experimental_custom_gradients=False,
        save_debug_info=tf.io.gfile.exists(os.path.join(plan.source, loading.DEBUG_INFO)),
    )
    try:
        tf.saved_model.save(holders[()], folder, signatures=dict(model.signatures), options=options)
        _tidy(plan.meta_graph, folder)
        _copy_extra_assets(plan.source, folder)
    except tf.errors.OpError as error:
        raise OSError(
            f"The stripped model cannot be written to {os.path.dirname(folder)!r}: {error.message}. Choose a "
            "destination in a folder that this process may write to, with room for the model."
        ) from error


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


def _hang(holder: tf.Module, name: str, child: Any) -> Any:
    # Not setattr: a tf.Module has properties, such as `variables`, of the names that objects of a Keras export have.
    holder._track_trackable(child, name)
    return child


def _operation_namespaces(meta_graph: meta_graph_pb2.MetaGraphDef) -> set[str]:
    """Namespaces of custom operations, as in 'Addons>Gelu', which TensorFlow saves only when told so."""
    nodes = [meta_graph.graph_def.node, *(each.node_def for each in meta_graph.graph_def.library.function)]
    return {node.op.partition(">")[0] for each in nodes for node in each if ">" in node.op}


def _copy_extra_assets(source: str, folder: str) -> None:
    """Copies `assets.extra`, where TensorFlow Serving looks for warm-up requests, and which TensorFlow leaves out."""
    root = os.path.join(source, _EXTRA_ASSETS)
    for directory, _, names in tf.io.gfile.walk(root):
        target = os.path.join(folder, _EXTRA_ASSETS, os.path.relpath(directory, root))
        tf.io.gfile.makedirs(target)
        for name in names:
            tf.io.gfile.copy(os.path.join(directory, name), os.path.join(target, name), overwrite=True)
