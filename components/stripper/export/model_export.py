"""Writes a stripped model in other formats, and checks each against it."""

import dataclasses
import os
from collections.abc import Iterable, Sequence

import tensorflow as tf
from absl import logging

from ... import staging
from ...examples.serialized_records import checked_records
from ...places import checked_model_path
from ...saved_model import sizes
from ..check.acceptance import DRAWN_INPUTS
from .exported_signature import ExportedSignature
from .exporter import Exporter
from .formats import exporters
from .labelled_metric import LabelledMetric


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
        checked_on: 'examples', 'drawn inputs' or, for Keras weights, 'variables'.
        metric_value: The metric of its answers to the examples; None if none was asked for, or the file cannot be run,
            as Keras weights cannot.
        model_metric_value: The same of the stripped model; None if none was asked for.
    """

    format: str
    path: str
    bytes: int
    gzipped_bytes: int
    max_abs_difference: float
    checked_on: str
    metric_value: float | None = None
    model_metric_value: float | None = None


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
    metric: str | None = None,
    label: str | None = None,
) -> tuple[ExportedFile, ...]:
    """Writes one signature of a stripped SavedModel in other formats.

    Every file is checked before any appears at `destination`. A frozen graph must answer bit for bit as the model. The
    answers of a TFLite file, which may hold quantised weights, must be within a tolerance: for each output the largest
    difference over the largest absolute value in the model's answers (over 1 if all are zero); for outputs that are not
    floats the fraction that differ. Keras weights must have the bits of the model's variables.

    Args:
        model: Folder of a SavedModel that `strip_saved_model` wrote.
        destination: The folder that the files go to: nothing or an empty folder must be there, unless `overwrite`.
        formats: Names of formats, such as 'tflite'; 'MODULE:NAME' for one that a module of yours registers with
            `tfx_pruning.register_exporter`.
        signature: Name of the signature; None for 'serving_default' if its inputs are numbers, else the first
            signature, by name, whose inputs are, else 'serving_default'.
        examples: Serialized tf.Examples, for the range of activations and the check. Without them the check is on drawn
            inputs, and formats with int8 activations are refused.
        tolerance: The largest difference that a TFLite file may have, measured as above; None for the format's own.
        source: Folder of the SavedModel that `model` was stripped from, for 'keras_weights'; None if `model` is as
            Keras wrote it itself.
        overwrite: Whether a folder at `destination` is replaced, with all that is in it.
        metric: Name of a class of `keras.metrics`, such as 'SparseCategoricalAccuracy', by which the model and every
            file that can be run are measured on `examples`. The signature must have one output.
        label: Name of the feature of `examples` that holds the label of `metric`.

    Returns:
        What was written, in the order of `formats`.

    Raises:
        FileNotFoundError: There is no SavedModel at `model`.
        FileExistsError: There is something at `destination`, and `overwrite` is False or it is a file; or another
            process puts something there meanwhile.
        OSError: `destination` cannot be written, or a file system does not answer.
        TypeError: `formats` is a string, or `examples` is not an iterable of bytes.
        ValueError: A format is unknown or given twice, or cannot hold the signature; there is no such signature; a
            format that needs examples gets none that the signature takes; or `metric` cannot be measured, is given
            without `label` or the other way round.
        VerificationError: An export does not answer as the model.
    """
    chosen = exporters(formats)
    check_export_tolerance(tolerance)
    model, destination = checked_model_path(model), os.fspath(destination)
    measured = checked_metric(metric, label)
    records = checked_records(examples, DRAWN_INPUTS)
    if not chosen:
        raise ValueError("formats is empty, expected at least one format to export.")
    staging.checked_destination(destination, overwrite)
    source = model if source is None else checked_model_path(source)
    exported = ExportedSignature(model, source, signature, records, tolerance, measured)
    for exporter in chosen:
        exporter.check_model(exported)
    _ = exported.metric_value  # raises here, before anything is written
    with staging.staged(destination, overwrite) as folder:
        return tuple(
            dataclasses.replace(_write(exporter, exported, folder), path=os.path.join(destination, exporter.file))
            for exporter in chosen
        )


def checked_metric(metric: str | None, label: str | None) -> LabelledMetric | None:
    """The metric that exports are measured by; None if none is given.

    Raises:
        ValueError: There is no such metric, or only one of both is given.
    """
    if (metric is None) != (label is None):
        raise ValueError(
            f"the metric of exports is {metric!r} and its label {label!r}, expected both or neither: the metric is "
            "measured against the label."
        )
    return None if metric is None or label is None else LabelledMetric(metric, label)


def check_export_tolerance(value: float | None) -> None:
    """Checks a tolerance of exports.

    Raises:
        ValueError: It is neither None nor above 0.
    """
    if value is not None and not value > 0:
        raise ValueError(
            f"export_tolerance is {value}, expected a number above 0: the largest difference of an answer over the "
            "largest answer; None for each format's own."
        )


def _write(exporter: Exporter, exported: ExportedSignature, folder: str) -> ExportedFile:
    """Writes one file and checks it."""
    path = os.path.join(folder, exporter.file)
    content = exporter.content(exported)
    staging.check_room(folder, len(content), f"export {exporter.name!r}")
    check = exporter.check(content, exported)
    try:
        with tf.io.gfile.GFile(path, "wb") as stream:
            stream.write(content)
    except tf.errors.OpError as error:
        raise OSError(
            f"The export {exporter.name!r} cannot be written to {os.path.dirname(folder)!r}: {error.message}. Choose a "
            "destination in a folder that this process may write to, with room for it."
        ) from error
    file = ExportedFile(
        exporter.name,
        path,
        len(content),
        sizes.gzipped_length(content),
        check.max_abs_difference,
        check.checked_on,
        check.metric_value,
        exported.metric_value,
    )
    logging.info(
        "Exported %s as %s: %d bytes, %d gzipped, largest difference %g.",
        *(exported.model.folder, file.format, file.bytes, file.gzipped_bytes, file.max_abs_difference),
    )
    return file
