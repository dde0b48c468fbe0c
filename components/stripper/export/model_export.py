"""Writes a stripped model in other formats, and checks each against it."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from ... import staging
from ...saved_model import loading, sizes
from ...saved_model.meta_graph import read_meta_graph
from ...saved_model.object_graph import ObjectGraph
from ..check.given_records import checked_records
from ..check.signature_inputs import Inputs
from ..check.verify import VerificationError
from .answer_difference import AnswerDifference
from .formats import FROZEN_GRAPH, KERAS_WEIGHTS, Format, chosen_formats, refuse_tolerance
from .frozen_graph import Answers, FrozenGraph, as_array, freeze, graph_as_written
from .inputs import ExportInputs, chosen_signature, inputs_of
from .keras_weights import keras_weights, values_in
from .tflite import TFLiteModel, convert

# A protobuf message, and a flatbuffer, cannot be longer.
_MAX_BYTES = 1 << 31


@dataclasses.dataclass(frozen=True)
class ExportedFile:
    """One export of a model.

    Attributes:
        format: Name of its format.
        path: Where the file is.
        bytes: Its length.
        gzipped_bytes: Its length gzipped, at gzip's default level (6).
        max_abs_difference: The largest difference of a number in its answers from the stripped model's; 0.0 where each
            bit agrees.
        checked_on: 'examples', 'drawn inputs', or, of Keras weights, 'variables'.
    """

    format: str
    path: str
    bytes: int
    gzipped_bytes: int
    max_abs_difference: float
    checked_on: str


def export_model(
    model: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    formats: Sequence[str],
    *,
    signature: str | None = None,
    examples: Iterable[bytes] | None = None,
    tolerance: float | None = None,
    source: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> tuple[ExportedFile, ...]:
    """Writes one signature of a stripped SavedModel in other formats.

    Every file is run on data before any appears at `destination`. A frozen graph must answer bit for bit as the model.
    TFLite's kernels compute otherwise, and quantised weights are others, so what is measured of a TFLite file is, for
    each output, the largest difference over the largest absolute value in the model's answers (over 1 if all are zero);
    for outputs that are no floats, the fraction that differ. Keras weights must hold the bits of the model's variables.

    Args:
        model: Folder of a SavedModel that `strip_saved_model` wrote.
        destination: The folder that the files go to: nothing or an empty folder must be there, unless `overwrite`.
        formats: Names of formats, keys of `tfx_pruning.stripper.export.formats.FORMATS`.
        signature: Name of the signature; None for 'serving_default' if its inputs are numbers, else the first
            signature, by name, whose inputs are, else 'serving_default'.
        examples: Serialized tf.Examples, for the range of activations and the check. Without them the check is on drawn
            inputs, and formats with int8 activations are refused.
        tolerance: The largest difference that a TFLite file may have, measured as above; None for its format's own.
        source: Folder of the SavedModel that `model` was stripped from, for 'keras_weights'; None if `model` is as
            Keras wrote it.
        overwrite: Whether a folder at `destination` is replaced, with all that is in it.

    Returns:
        What was written, in the order of `formats`.

    Raises:
        FileNotFoundError: There is no SavedModel at `model`.
        FileExistsError: There is something at `destination`, and `overwrite` is False or it is a file.
        OSError: `destination` cannot be written.
        TypeError: `formats` is a string, or `examples` is not an iterable of bytes.
        ValueError: A format is unknown, or cannot hold the signature; there is no such signature; formats with int8
            activations have no examples that the signature takes.
        VerificationError: An export does not answer as the model.
    """
    chosen = chosen_formats(formats)
    refuse_tolerance(tolerance)
    model, destination = os.fspath(model), os.fspath(destination)
    records = checked_records(examples)
    if not chosen:
        raise ValueError("formats is empty, expected at least one format to export.")
    staging.refuse_occupied(destination, overwrite)
    exporter = _Exporter(model, os.fspath(source) if source is not None else model, signature, records, tolerance)
    exporter.refuse(chosen)
    with staging.staged(destination, overwrite) as folder:
        return tuple(
            dataclasses.replace(exporter.write(each, folder), path=os.path.join(destination, each.file))
            for each in chosen
        )


class _Exporter:
    """One signature of a model, its answers, and the ways to export it."""

    def __init__(
        self, path: str, source: str, signature: str | None, records: Sequence[bytes] | None, tolerance: float | None
    ) -> None:
        self._path = path
        self._source = source
        self._records = records
        self._tolerance = tolerance
        self._meta_graph = read_meta_graph(path)
        self._name = chosen_signature(path, self._meta_graph, signature)
        self._loaded: Any = None
        self._inputs: ExportInputs | None = None

    def refuse(self, formats: Sequence[Format]) -> None:
        """Refuses what cannot be had before anything is written."""
        for each in formats:
            if each.needs_examples and not self._records:
                raise ValueError(
                    f"The format {each.name!r} needs examples, which set the range of its activations; give some, or "
                    "choose a format without int8 activations."
                )
        graph = ObjectGraph(self._meta_graph)
        captured = set(graph.bound_inputs(graph.signatures[self._name]))
        declared = [graph.variable(node) for node in captured if graph.kind(node) == "variable"]
        size = sum(tf.as_dtype(each.dtype).size * tf.TensorShape(each.shape).num_elements() for each in declared)
        for each in formats:
            if size >= _MAX_BYTES and each.name != KERAS_WEIGHTS:
                raise ValueError(
                    f"The variables of signature {self._name!r} take {size} bytes, and a file of the format "
                    f"{each.name!r} holds less than {_MAX_BYTES}. Export no such file of this model."
                )

    def write(self, each: Format, folder: str) -> ExportedFile:
        """Writes one file and checks it."""
        file = os.path.join(folder, each.file)
        content, difference = self._made(each)
        try:
            with tf.io.gfile.GFile(file, "wb") as stream:
                stream.write(content)
        except tf.errors.OpError as error:
            raise OSError(
                f"The export {each.name!r} cannot be written to {os.path.dirname(folder)!r}: {error.message}. Choose a "
                "destination in a folder that this process may write to, with room for it."
            ) from error
        exported = ExportedFile(
            each.name, file, len(content), sizes.gzipped_length(content), difference, self._checked_on(each)
        )
        logging.info(
            "Exported %s as %s: %d bytes, %d gzipped, largest difference %g.",
            *(self._path, each.name, exported.bytes, exported.gzipped_bytes, difference),
        )
        return exported

    def _checked_on(self, each: Format) -> str:
        if each.name == KERAS_WEIGHTS:
            return "variables"
        return "examples" if self._data().real else "drawn inputs"

    def _made(self, each: Format) -> tuple[bytes, float]:
        if each.name == KERAS_WEIGHTS:
            return self._keras_weights()
        if each.name == FROZEN_GRAPH:
            return self._frozen_graph()
        return self._tflite(each)

    def _keras_weights(self) -> tuple[bytes, float]:
        content = keras_weights(self._path, self._meta_graph, self._source, read_meta_graph(self._source))
        graph = ObjectGraph(self._meta_graph)
        stored = {loading.saved_value(self._path, graph.key(node)).tobytes() for node in graph.variables}
        if not all(value.tobytes() in stored for value in values_in(content)):
            raise VerificationError(
                f"The Keras weights of {self._path!r} are not its variables. Nothing was published; please report this "
                "model."
            )
        return content, 0.0

    def _frozen_graph(self) -> tuple[bytes, float]:
        signature = self._signature()
        graph_def = freeze(signature, self._name)
        content = graph_def.SerializeToString(deterministic=True)
        parsed = type(graph_def).FromString(content)
        frozen = FrozenGraph(parsed, list(signature.structured_input_signature[1]), list(signature.structured_outputs))
        with graph_as_written():
            difference = self._difference("frozen_graph", frozen, lambda inputs: _answers(signature, inputs))
        if not difference.bitwise_equal:
            raise VerificationError(
                f"The frozen graph of signature {self._name!r} differs from the model: {difference}. Nothing was "
                "published; please report this model."
            )
        return content, 0.0

    def _tflite(self, each: Format) -> tuple[bytes, float]:
        inputs = self._data()
        if each.needs_examples and not inputs.real:
            raise ValueError(
                f"The format {each.name!r} needs examples, which set the range of its activations, and the signature "
                f"{self._name!r} takes none of those given. They must be what a signature of the model parses whose "
                f"outputs have the names of its inputs, or hold features of these names: "
                f"{', '.join(self._signature().structured_input_signature[1])}."
            )
        content = convert(self._path, self._name, each.tflite, inputs.batches)
        try:
            lite = TFLiteModel(content, self._name, each.tflite)
            difference = self._difference(each.name, lite, lambda batch: _answers(self._signature(), batch))
        except (RuntimeError, ValueError) as error:
            if isinstance(error, VerificationError):
                raise
            raise VerificationError(
                f"The export {each.name!r} of signature {self._name!r} does not run: {error}. Nothing was published; "
                "choose another format."
            ) from error
        tolerance = each.tolerance if self._tolerance is None else self._tolerance
        if not difference.relative <= tolerance:
            raise VerificationError(
                f"The export {each.name!r} of signature {self._name!r} differs from the model by "
                f"{difference.beyond(tolerance)}, more than the tolerance of {tolerance:g}. Nothing was published; "
                "choose another format, or a larger export_tolerance."
            )
        return content, difference.max_abs

    def _difference(
        self, name: str, exported: Callable[[Inputs], Answers], reference: Callable[[Inputs], Answers]
    ) -> AnswerDifference:
        difference = AnswerDifference()
        for inputs in self._data().batches:
            difference.add(reference(inputs), exported(inputs))
        if difference.mismatch:
            raise VerificationError(
                f"The export {name!r} of signature {self._name!r} answers otherwise than the model: "
                f"{difference.mismatch}. Nothing was published; please report this model."
            )
        return difference

    def _signature(self) -> Any:
        if self._loaded is None:
            self._loaded = loading.load(self._path, ObjectGraph(self._meta_graph))
        return self._loaded.signatures[self._name]

    def _data(self) -> ExportInputs:
        if self._inputs is None:
            self._signature()
            self._inputs = inputs_of(self._path, self._loaded, self._meta_graph, self._name, self._records)
        return self._inputs


def _answers(signature: Any, inputs: Inputs) -> Answers:
    return {name: as_array(answer) for name, answer in signature(**inputs).items()}
