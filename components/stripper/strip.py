"""Removes all that only training needs from a SavedModel."""

import dataclasses
import os
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf
from absl import logging
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.python.saved_model import fingerprinting_utils

from ..engine import sizes
from . import staging, verify
from .function_library import drop_uncalled_functions
from .meta_graph import FILENAME, read_meta_graph, read_saved_model
from .object_graph import ObjectGraph, Path

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
) -> StripReport:
    """Writes a copy of a SavedModel without masks, thresholds, gradients, old weights, optimizer and slot variables.

    The copy has the source's signatures, and of its variables those that a signature reaches, under the same names
    and, unless those lead through an optimizer, the same checkpoint keys; its lookup tables, its assets and its
    `assets.extra` are kept. Other callables of the source, such as `__call__` or the `serve` of a Keras export, are
    not: the signatures are the contract.

    Before the copy appears at `destination`, every signature is called on the same inputs in both models, and every
    bit of every output must agree. The source is only read.

    Args:
      source: Folder of a SavedModel written by TensorFlow 2, pruned or not.
      destination: Where the stripped SavedModel goes: nothing or an empty folder must be there.
      examples: Serialized records, such as tf.Examples, on which signatures that parse such are checked, besides drawn
        inputs; all are held in memory.

    Returns:
      What was removed, kept, checked and saved.

    Raises:
      FileNotFoundError: There is no SavedModel at `source`.
      FileExistsError: There is something at `destination`.
      OSError: `destination` cannot be written.
      TypeError: `examples` is not an iterable of bytes.
      ValueError: `source` is not a SavedModel of TensorFlow 2 with signatures, or cannot be loaded; a signature reaches
        pruning state, such as a mask; `destination` lies within `source`; `examples` is empty.
      VerificationError: A signature of the stripped model does not answer as the source, or none of the inputs tried
        is one that it takes.
    """
    source, destination = os.fspath(source), os.fspath(destination)
    records = _records(examples)
    meta_graph = read_meta_graph(source)
    graph = ObjectGraph(meta_graph)
    _refuse_unstrippable(source, graph)
    staging.refuse_occupied(destination)
    if os.path.realpath(destination).startswith(os.path.join(os.path.realpath(source), "")):
        raise ValueError(
            f"The destination {destination!r} lies within the source {source!r}, which is only read; give one outside."
        )
    kept = graph.kept()
    places = graph.places(kept)
    with staging.staged(destination) as folder:
        model = _load(source)
        _save(model, meta_graph, _objects_at(source, model, places.values()), folder)
        _copy_extra_assets(source, folder)
        stripped_meta_graph = read_meta_graph(folder)
        stripped_graph = ObjectGraph(stripped_meta_graph)
        kept_keys = tuple(sorted(stripped_graph.key(node) for node in stripped_graph.variables))
        if len(kept_keys) != sum(node in kept for node in graph.variables):
            raise verify.VerificationError(
                f"The stripped model of {source!r} has the variables {list(kept_keys)}, expected those that its "
                "signatures reach. Nothing was published; please report this model."
            )
        stripped_model = tf.saved_model.load(folder)
        checked = verify.verify(source, model, meta_graph, stripped_model, stripped_meta_graph, records)
        report = StripReport(
            variables_removed=tuple(sorted(graph.key(node) for node in graph.variables if node not in kept)),
            variables_kept=kept_keys,
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


def _records(examples: Iterable[bytes] | None) -> list[bytes] | None:
    if examples is None:
        return None
    if isinstance(examples, (str, bytes)):
        raise TypeError(
            f"examples is {type(examples).__name__}, expected an iterable of serialized records (bytes); "
            "put a single record in a list, and read files with tf.data.TFRecordDataset."
        )
    records = list(examples)
    for index, record in enumerate(records):
        if not isinstance(record, bytes):
            raise TypeError(
                f"examples[{index}] is {type(record).__name__}, expected a serialized record (bytes); "
                "call SerializeToString() on a tf.train.Example, numpy() on a tensor."
            )
    if not records:
        raise ValueError("examples is empty; give at least one serialized record, or None to check on drawn inputs.")
    return records


def _refuse_unstrippable(source: str, graph: ObjectGraph) -> None:
    if not graph.signatures:
        raise ValueError(
            f"The SavedModel at {source!r} has no signatures, so nothing says what to keep. Save it with "
            "tf.saved_model.save(model, path, signatures=...) or model.export."
        )
    for name, function in graph.signatures.items():
        if reached := sorted(graph.key(node) for node in graph.reached([function]) if graph.is_pruning_variable(node)):
            raise ValueError(
                f"Signature {name!r} of {source!r} still reads the pruning variables {reached}: its graph multiplies "
                "weights by their masks or updates them. Multiply the weights by their masks once, after training, and "
                "save the model with signatures that do not call apply_mask."
            )


def _load(source: str) -> Any:
    # Masks and slots that hang from variables are not restored; a strict load would warn of each of them.
    options = tf.saved_model.LoadOptions(allow_partial_checkpoint=True)
    try:
        return tf.saved_model.load(source, options=options)
    except Exception as error:
        # TensorFlow raises almost anything here: for an operation of a library that is not imported, lost files, ...
        raise ValueError(
            f"The SavedModel at {source!r} cannot be loaded: {error}. If it uses operations of another library, "
            "import that library first; if files are missing or damaged, save the model again."
        ) from error


def _objects_at(source: str, model: Any, paths: Iterable[Path]) -> dict[Path, Any]:
    """The objects of a loaded model by their paths."""
    objects = {}
    for path in paths:
        found = model
        for name in path:
            found = found._lookup_dependency(name)
        if isinstance(found, tf.Variable) and not found.is_initialized():
            raise ValueError(
                f"The SavedModel at {source!r} has no value for its variable {found.name!r}; save the model again."
            )
        objects[path] = found
    return objects


def _save(model: Any, meta_graph: meta_graph_pb2.MetaGraphDef, objects: Mapping[Path, Any], folder: str) -> None:
    """Saves the signatures of `model`, and `objects` at their paths, and nothing else."""
    holders = {(): tf.Module()}
    for path, found in objects.items():
        for depth in range(1, len(path)):
            if path[:depth] not in holders:
                holders[path[:depth]] = _hang(holders[path[: depth - 1]], path[depth - 1], tf.Module())
        _hang(holders[path[:-1]], path[-1], found)
    options = tf.saved_model.SaveOptions(
        namespace_whitelist=sorted(_operation_namespaces(meta_graph)), experimental_custom_gradients=False
    )
    tf.saved_model.save(holders[()], folder, signatures=dict(model.signatures), options=options)
    _tidy(meta_graph, folder)


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
            tf.io.gfile.copy(os.path.join(directory, name), os.path.join(target, name))
