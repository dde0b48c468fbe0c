"""The executor of Stripper."""

import os
from typing import Any

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils
from tfx.utils import json_utils, path_utils

from .. import properties
from ..examples.examples_input import ExamplesInput
from ..examples.split_names import check_splits
from ..executor_artifacts import EXPORTS_FOLDER, artifacts_and_versions, copy_properties
from ..pruning_report import publish
from ..staging import empty_folder
from .check.answers import checked_tolerance
from .check.relative_tolerance import checked_shrink_tolerance
from .export.model_export import ExportedFile
from .proof.data_proof import DataProof
from .proof.example_feed import ExampleFeed
from .proof.result import ProofResult
from .proof.served_model import ServedModel
from .report import strip_document
from .shrink.report import ShrinkReport
from .spec import (
    EXAMPLES_KEY,
    EXPORT_KEY,
    EXPORT_LABEL_KEY,
    EXPORT_METRIC_KEY,
    EXPORT_SIGNATURE_KEY,
    EXPORT_TOLERANCE_KEY,
    MODEL_KEY,
    NUM_EXAMPLES_KEY,
    REPORT_KEY,
    SHRINK_KEY,
    SHRINK_TOLERANCE_KEY,
    SIGNATURE_NAME_KEY,
    SPLITS_KEY,
    TOLERANCE_KEY,
    TRAINED_MODEL_KEY,
    check_num_examples,
    check_signature_name,
    decode_formats,
)
from .strip import StripReport
from .strip_and_export import strip_and_export


class Executor(base_beam_executor.BaseBeamExecutor):
    """Strips the serving model of one Model artifact into another."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Strips the model and, given examples, proves on Beam that it answers them as before.

        Args:
            input_dict: Artifacts by input.
                - trained_model: One Model artifact, whose serving model is stripped.
                - examples: Optional Examples artifacts, TFRecords of tf.Examples, tf.SequenceExamples or other protos.
            output_dict: Artifacts by output.
                - model: One Model artifact; the stripped model goes to its serving model folder, its exports to
                  `exports`.
                - report: One PruningReport artifact. If the report cannot be written, its custom property `missing`
                  says why.
            exec_properties: Execution properties.
                - splits: JSON list of the splits to prove on; 'null' for 'eval', or all.
                - signature_name: Which signature is proven.
                - tolerance: The largest difference of a floating-point number of an answer.
                - num_examples: The most examples that the check of all signatures, and the exports, read.
                - export: JSON list of the names of the formats to export.
                - export_signature: Optional name of the signature to export.
                - export_tolerance: Optional tolerance for TFLite files.
                - export_metric: Optional class of keras.metrics by which exports are measured.
                - export_label: The feature of the examples with the label of that.
                - shrink: 1 if dead units are cut, or else 0.
                - shrink_tolerance: Optional t in |difference| <= t * (1 + |answer|), for a shrunk model.

        Raises:
            ValueError: The examples are not TFRecords, a split is missing or empty, or the signature is missing or
                does not take the examples; and as `strip_saved_model` and `export_model`, which say what else is
                raised. No model is left then.
            VerificationError: An answer differs by more than the tolerance.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        trained = artifact_utils.get_single_instance(input_dict[TRAINED_MODEL_KEY])
        stripped = artifact_utils.get_single_instance(output_dict[MODEL_KEY])
        source = path_utils.serving_model_path(trained.uri, path_utils.is_old_model_artifact(trained))
        examples = _examples(input_dict.get(EXAMPLES_KEY), exec_properties)
        proof = _proof(source, examples, exec_properties) if examples else None
        proven: list[ProofResult] = []
        destination = path_utils.serving_model_dir(stripped.uri)

        report, exported = strip_and_export(
            source,
            destination,
            decode_formats(exec_properties[EXPORT_KEY]),
            export_destination=os.path.join(stripped.uri, EXPORTS_FOLDER),
            export_signature=exec_properties.get(EXPORT_SIGNATURE_KEY) or None,
            export_tolerance=exec_properties.get(EXPORT_TOLERANCE_KEY),
            export_metric=exec_properties.get(EXPORT_METRIC_KEY) or None,
            export_label=exec_properties.get(EXPORT_LABEL_KEY) or None,
            examples=examples.records(exec_properties[NUM_EXAMPLES_KEY]) if examples else None,
            tolerance=exec_properties[TOLERANCE_KEY],
            check=(lambda folder: proven.append(proof.prove(folder, self._make_beam_pipeline))) if proof else None,
            shrink=bool(exec_properties[SHRINK_KEY]),
            shrink_tolerance=exec_properties.get(SHRINK_TOLERANCE_KEY),
        )

        hparams = trained.get_custom_property(properties.HPARAMS)
        made_of = artifacts_and_versions(input_dict, output_dict)
        metric = exec_properties.get(EXPORT_METRIC_KEY) or None
        try:
            publish(
                artifact_utils.get_single_instance(output_dict[REPORT_KEY]),
                lambda: strip_document(source, destination, report, exported, hparams, made_of, metric),
            )
        except BaseException:
            empty_folder(stripped.uri)
            raise
        copy_properties(trained, stripped, (*properties.PRUNING, *properties.PRUNING_OF_FLOPS))
        _set_properties(stripped, report)
        _set_export_properties(stripped, exported, metric)
        if proof:
            _set_proof_properties(stripped, examples, proof, proven[-1])
        logging.info("Stripped model written to %s.", stripped.uri)


def _examples(artifacts: list[types.Artifact] | None, exec_properties: dict[str, Any]) -> ExamplesInput | None:
    if not artifacts:
        return None
    check_num_examples(exec_properties[NUM_EXAMPLES_KEY])
    splits = json_utils.loads(exec_properties[SPLITS_KEY])
    check_splits(splits)
    return ExamplesInput.read(artifacts, splits)


def _proof(source: str, examples: ExamplesInput, exec_properties: dict[str, Any]) -> DataProof:
    signature = exec_properties[SIGNATURE_NAME_KEY]
    check_signature_name(signature)
    feed = ExampleFeed.choose(ServedModel.read(source), signature, examples.features)
    tolerance = checked_tolerance(exec_properties[TOLERANCE_KEY])
    if exec_properties[SHRINK_KEY]:
        tolerance = checked_shrink_tolerance(True, exec_properties.get(SHRINK_TOLERANCE_KEY))
    return DataProof(source, feed, examples.files, tolerance)


def _set_properties(stripped: types.Artifact, report: StripReport) -> None:
    if not stripped.has_custom_property(properties.TRAINED_BYTES):
        stripped.set_int_custom_property(properties.TRAINED_BYTES, report.source_bytes)
    stripped.set_int_custom_property(properties.STRIPPED_BYTES, report.stripped_bytes)
    stripped.set_int_custom_property(properties.GZIPPED_BYTES, report.gzipped_bytes)
    stripped.set_int_custom_property(properties.VARIABLES_REMOVED, len(report.variables_removed))
    stripped.set_string_custom_property(properties.SIGNATURES_CHECKED, ",".join(report.signatures_checked))
    if report.shrink is not None:
        _set_shrink_properties(stripped, report.shrink, report.gzipped_bytes)


def _set_shrink_properties(stripped: types.Artifact, report: ShrinkReport, gzipped_bytes: int) -> None:
    gzipped = report.gzipped_bytes(gzipped_bytes)
    stripped.set_int_custom_property(properties.VARIABLES_CUT, len(report.variables))
    stripped.set_int_custom_property(properties.SCALES_FOLDED, report.folded_scales)
    for key, value in (
        (properties.PARAMETERS_BEFORE_SHRINKING, report.parameters_before),
        (properties.PARAMETERS_SHRUNK, report.parameters_after),
        (properties.MULTIPLY_ADDS_BEFORE_SHRINKING, report.multiply_adds_before),
        (properties.MULTIPLY_ADDS_SHRUNK, report.multiply_adds_after),
        (properties.BYTES_BEFORE_SHRINKING, report.bytes_before),
        (properties.GZIPPED_BYTES_BEFORE_SHRINKING, None if gzipped is None else gzipped[0]),
    ):
        if value is not None:
            stripped.set_int_custom_property(key, value)
    if report.untraced is not None:
        stripped.set_string_custom_property(properties.SHRINK_UNTRACED, report.untraced)
    stripped.set_string_custom_property(properties.SHRINK_MAX_DIFFERENCE, repr(report.largest_difference))
    stripped.set_string_custom_property(properties.SHRINK_TOLERANCE, repr(report.tolerance))


def _set_proof_properties(
    stripped: types.Artifact, examples: ExamplesInput, proof: DataProof, result: ProofResult
) -> None:
    stripped.set_string_custom_property(properties.SIGNATURE_PROVEN, proof.feed.signature)
    stripped.set_string_custom_property(properties.SPLITS_PROVEN, ",".join(examples.splits))
    stripped.set_int_custom_property(properties.EXAMPLES_PROVEN, result.examples)
    stripped.set_int_custom_property(properties.EXAMPLES_DIFFERING, result.differing)
    # Not floats: in SQLite, ML Metadata keeps six decimals of them.
    stripped.set_string_custom_property(properties.MAX_ABSOLUTE_DIFFERENCE, repr(result.max_absolute_difference))
    stripped.set_string_custom_property(properties.TOLERANCE, repr(proof.tolerance))


def _set_export_properties(stripped: types.Artifact, exported: tuple[ExportedFile, ...], metric: str | None) -> None:
    if exported and metric is not None:
        stripped.set_string_custom_property(properties.EXPORT_METRIC, metric)
        stripped.set_string_custom_property(properties.EXPORT_METRIC_VALUE, repr(exported[0].model_metric_value))
    for file in exported:
        if file.metric_value is not None:
            stripped.set_string_custom_property(properties.export_metric_value(file.format), repr(file.metric_value))
        stripped.set_int_custom_property(properties.export_bytes(file.format), file.bytes)
        stripped.set_int_custom_property(properties.export_gzipped_bytes(file.format), file.gzipped_bytes)
        stripped.set_string_custom_property(
            properties.export_max_abs_difference(file.format), repr(file.max_abs_difference)
        )
