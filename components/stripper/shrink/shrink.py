"""Takes dead units out of a stripped SavedModel."""

import concurrent.futures
import dataclasses
import gc
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.saved_model import fingerprinting_utils

from ... import staging
from ...leftovers import SHRUNK_SUFFIX
from ...saved_model import loading, sizes
from ...saved_model.checkpoint import value_bytes
from ...saved_model.meta_graph import EXTRA_ASSETS, FILENAME, read_meta_graph
from ...saved_model.object_graph import ObjectGraph
from ...saved_model.saved_objects import SavedObjects
from ...structure.kept_indices import KeptIndices, KeptVariable
from ...structure.trace import TooManyCallsError
from ..check import verify
from ..check.relative_tolerance import RelativeTolerance
from .biases import Biases
from .checkpoint_cut import CheckpointCut
from .cut import Cut, is_constant
from .meta_graph_cut import cut_meta_graph
from .report import CutVariable, ShrinkReport
from .saved_structure import SavedStructure, Variable, declared_shape

_COPIED = ("assets", EXTRA_ASSETS, "debug")
# To gzip a model takes 80 s a GB, thirty times as long as to shrink it.
_MOST_GZIPPED = 1 << 25


def shrink_in_place(folder: str, records: Sequence[bytes] | None, tolerance: RelativeTolerance) -> ShrinkReport:
    """Puts a shrunk model in the place of a stripped one, which stays as it is if no unit is dead.

    Args:
        folder: Of the stripped SavedModel; the shrunk one is written beside it first. The folder itself stays, with the
            lock that its writer has on it.
        records: As `shrink_saved_model` takes them.
        tolerance: As `shrink_saved_model` takes it.

    Returns:
        What was done.

    Raises:
        OSError, ValueError, VerificationError: As `shrink_saved_model`.
    """
    # Functions hold their variables in cycles, those of the models that were just compared too.
    gc.collect()
    beside = folder.rstrip("/") + SHRUNK_SUFFIX
    try:
        report = shrink_saved_model(folder, beside, records, tolerance)
        if tf.io.gfile.exists(beside):
            staging.empty_folder(folder)
            for entry in tf.io.gfile.listdir(beside):
                name = entry.rstrip("/")
                tf.io.gfile.rename(os.path.join(beside, name), os.path.join(folder, name))
            tf.io.gfile.rmtree(beside)
        return report
    except BaseException:
        if tf.io.gfile.exists(beside):
            tf.io.gfile.rmtree(beside)
        raise


def shrink_saved_model(
    source: str, destination: str, records: Sequence[bytes] | None, tolerance: RelativeTolerance
) -> ShrinkReport:
    """Writes a stripped SavedModel without its dead units, and sees that it answers as before.

    Args:
        source: Folder of the stripped SavedModel, of TensorFlow 2.
        destination: A folder for the shrunk one. Nothing is made there if no unit is dead, or if the model's functions
            call each other too often to be traced, which the report says then.
        records: Serialized records for signatures that parse such, besides drawn inputs.
        tolerance: By how much its answers may differ.

    Returns:
        What was done.

    Raises:
        OSError: The destination cannot be written.
        ValueError: All units are dead, so that the model's answers do not depend on its input; or the source's files
            are damaged.
        VerificationError: An answer differs by more than the tolerance.
    """
    objects = SavedObjects.read(source)
    size = sizes.directory_bytes(source)
    before = _shapes(objects.graph)
    parameters = sum(map(_elements, before.values()))
    uncut = ShrinkReport((), parameters, parameters, None, None, size, size, None, 0.0, float(tolerance))
    try:
        structure = SavedStructure.of(objects)
    except TooManyCallsError as error:
        return dataclasses.replace(uncut, untraced=str(error))
    cut = Cut.of(structure.trace)
    multiply_adds = max(map(cut.multiply_adds, cut.trace.roots), default=(0, 0))
    if not any(cut.is_cut(axis) for axis in structure.trace.axes()):
        return dataclasses.replace(uncut, multiply_adds_before=multiply_adds[0], multiply_adds_after=multiply_adds[1])
    _check_varies(structure, cut)
    kept = _kept_indices(structure, cut)
    after = {key: kept.variables[key].left if key in kept.variables else shape for key, shape in before.items()}
    # Beside the stripped model, which goes only when this one is there.
    staging.check_room(destination, _bytes(objects.graph, after), "shrunk model")
    # On a processor of its own, if there is one.
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        gzipped = executor.submit(sizes.gzipped_bytes, source) if size <= _MOST_GZIPPED else None
        answers = _answers(objects, records)
        biases = Biases.of(cut, objects.library.functions)
        folded, largest = _write_checked(structure, cut, biases, kept, destination, answers, tolerance)
    return ShrinkReport(
        tuple(CutVariable(key, before[key], after[key]) for key in sorted(kept.variables)),
        parameters,
        sum(map(_elements, after.values())),
        *multiply_adds,
        size,
        sizes.directory_bytes(destination),
        None if gzipped is None else gzipped.result(),
        largest,
        float(tolerance),
        folded,
    )


def _write_checked(
    structure: SavedStructure,
    cut: Cut,
    biases: Biases,
    kept: KeptIndices,
    destination: str,
    answers: Sequence[verify.SourceAnswers],
    tolerance: RelativeTolerance,
) -> tuple[int, float]:
    """Writes the shrunk model, with scales in its kernels unless that takes too much of the tolerance.

    Scales may take half of it: the other half is for examples that are not compared here.

    Returns:
        How many scales went into kernels, and the largest difference of two numbers.
    """
    folded = _write(structure, cut, biases, kept, destination, fold=True)
    if folded:
        half = RelativeTolerance(tolerance / 2)
        try:
            return folded, _largest_difference(structure.source, destination, answers, half)
        except verify.VerificationError:
            logging.warning(
                "%d multiplications by channel stay behind their convolutions: within the kernels they would change an "
                "answer by more than %g * (1 + |answer|), half of shrink_tolerance. With a larger shrink_tolerance the "
                "model would be faster.",
                folded,
                half,
            )
            tf.io.gfile.rmtree(destination)
            _write(structure, cut, biases, kept, destination, fold=False)
    return 0, _largest_difference(structure.source, destination, answers, tolerance)


def _write(
    structure: SavedStructure, cut: Cut, biases: Biases, kept: KeptIndices, destination: str, *, fold: bool
) -> int:
    """Writes the files of the shrunk model; returns how many scales went into kernels."""
    with staging.write_failure_explained(destination):
        return _write_files(structure, cut, biases, kept, destination, fold)


def _write_files(
    structure: SavedStructure, cut: Cut, biases: Biases, kept: KeptIndices, destination: str, fold: bool
) -> int:
    tf.io.gfile.makedirs(destination)
    meta_graph, folded = cut_meta_graph(structure, cut, biases, fold=fold)
    saved_model = saved_model_pb2.SavedModel(saved_model_schema_version=1, meta_graphs=[meta_graph])
    with tf.io.gfile.GFile(os.path.join(destination, FILENAME), "wb") as stream:
        stream.write(saved_model.SerializeToString(deterministic=True))
    checkpoint = CheckpointCut(structure.bundle, cut)
    for name, holder in structure.trace.holders.items():
        if isinstance(name, Variable) and (cut.cuts(holder) or name.node in biases.variables):
            checkpoint.change(structure.key(name.node), holder.axes, biases.variables.get(name.node))
    checkpoint.write(destination)
    for folder in _COPIED:
        staging.copy_folder(os.path.join(structure.source.folder, folder), os.path.join(destination, folder))
    KeptIndices.read(structure.source.folder).then(kept).write(destination)
    fingerprinting_utils.write_fingerprint(destination)
    return folded


def _kept_indices(structure: SavedStructure, cut: Cut) -> KeptIndices:
    return KeptIndices(
        {
            structure.source.graph.key(holder.name.node): KeptVariable(
                holder.shape,
                {axis: tuple(map(int, cut.kept(units))) for axis, units in enumerate(holder.axes) if cut.is_cut(units)},
            )
            for holder in cut.held()
            if isinstance(holder.name, Variable)
        }
    )


def _answers(source: SavedObjects, records: Sequence[bytes] | None) -> list[verify.SourceAnswers]:
    """What the stripped model answers."""
    answers = verify.answers_of(source, loading.load(source), records)
    # Functions hold their variables in cycles.
    gc.collect()
    return answers


def _largest_difference(
    source: SavedObjects, destination: str, answers: Sequence[verify.SourceAnswers], tolerance: RelativeTolerance
) -> float:
    """Checks that the shrunk model answers as the stripped one; returns the largest difference of two numbers."""
    verify.check_declarations(source.meta_graph, read_meta_graph(destination))
    shrunk = tf.saved_model.load(destination)
    largest = 0.0
    for each in answers:
        name = each.signature

        def again(name: str = name) -> Any:
            return loading.load(source).signatures[name]

        try:
            largest = max(largest, each.compare(shrunk.signatures[name], again, tolerance))
        except verify.VerificationError as error:
            raise verify.VerificationError(
                f"The shrunk model does not answer as the stripped one, within {tolerance:g} * (1 + |answer|): {error} "
                "If that is rounding alone, give a larger shrink_tolerance; shrink=False gives the stripped model."
            ) from error
    logging.info("The shrunk model's answers differ by up to %g.", largest)
    return largest


def _check_varies(structure: SavedStructure, cut: Cut) -> None:
    """Raises a ValueError if a signature would lose all that its answers depend on."""
    for name, function in structure.source.graph.signatures.items():
        roots = structure.source.graph.concrete_functions(function)
        calls = [call for root, call in zip(structure.roots, structure.trace.roots, strict=True) if root in roots]
        if all(map(is_constant, calls)) and any(map(cut.cuts_in, calls)):
            raise ValueError(
                f"The model cannot be shrunk: no answer of its signature {name!r} depends on the input any more, for "
                "all units of a layer are dead. Prune it less, or give shrink=False."
            )


def _shapes(graph: ObjectGraph) -> dict[str, tuple[int, ...]]:
    return {graph.key(node): declared_shape(graph, node) for node in graph.variables}


def _bytes(graph: ObjectGraph, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """The least that variables of these shapes take in a file."""
    dtypes = {graph.key(node): graph.variable(node).dtype for node in graph.variables}
    return sum(value_bytes(dtypes[key], tf.TensorShape(shape)) for key, shape in shapes.items())


def _elements(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))
