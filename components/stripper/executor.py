"""The executor of Stripper."""

import itertools
from typing import Any

import tensorflow as tf
from absl import logging
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.utils import path_utils

from .. import properties
from ..pruning_report import lineage
from ..report.files import write_report
from .spec import EXAMPLES_KEY, MODEL_KEY, NUM_EXAMPLES_KEY, REPORT_KEY, TRAINED_MODEL_KEY, refuse_num_examples
from .strip import StripReport, strip_saved_model
from .strip_document import strip_document

_PREFERRED_SPLIT = "eval"
_RECORD_FORMATS = (
    example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE,
    example_gen_pb2.PayloadFormat.FORMAT_TF_SEQUENCE_EXAMPLE,
)
_FILE_FORMAT = "tfrecords_gzip"
_FRACTIONS = (properties.TARGET_SPARSITY, properties.SPARSITY)


class Executor(base_executor.BaseExecutor):
    """Strips the serving model of one Model artifact into another."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Strips the model.

        Args:
          input_dict: Artifacts by input.
            - trained_model: One Model artifact, whose serving model is stripped.
            - examples: Optional Examples artifacts with serialized tf.Examples or tf.SequenceExamples.
          output_dict: Artifacts by output.
            - model: One Model artifact; the stripped model goes to its serving model folder.
            - report: One PruningReport artifact.
          exec_properties: Execution properties.
            - num_examples: How many examples are read, at most.

        Raises:
          ValueError: The examples are not stored as gzipped TFRecords of those two kinds, or there are none; and as
            `strip_saved_model`, which says what else is raised.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        trained = artifact_utils.get_single_instance(input_dict[TRAINED_MODEL_KEY])
        stripped = artifact_utils.get_single_instance(output_dict[MODEL_KEY])
        examples = input_dict.get(EXAMPLES_KEY)

        source = path_utils.serving_model_path(trained.uri, path_utils.is_old_model_artifact(trained))
        destination = path_utils.serving_model_dir(stripped.uri)
        report = strip_saved_model(
            source,
            destination,
            examples=_records(examples, exec_properties[NUM_EXAMPLES_KEY]) if examples else None,
        )

        _copy_properties(trained, stripped)
        _set_properties(stripped, report)
        hparams = trained.get_custom_property(properties.HPARAMS)
        document = strip_document(source, destination, report, hparams, lineage(input_dict, output_dict))
        write_report(document, artifact_utils.get_single_uri(output_dict[REPORT_KEY]))
        logging.info("Stripped model written to %s.", stripped.uri)


def _records(examples: list[types.Artifact], limit: int) -> list[bytes]:
    """The first `limit` records of a split, in the order of the names of its files."""
    refuse_num_examples(limit)
    for artifact in examples:
        payload = examples_utils.get_payload_format(artifact)
        if payload not in _RECORD_FORMATS:
            raise ValueError(
                f"The examples at {artifact.uri!r} hold {example_gen_pb2.PayloadFormat.Name(payload)}, expected "
                f"{' or '.join(map(example_gen_pb2.PayloadFormat.Name, _RECORD_FORMATS))}; leave `examples` out of "
                "Stripper, which then checks on drawn inputs only."
            )
        file_format = examples_utils.get_file_format(artifact)
        if file_format != _FILE_FORMAT:
            raise ValueError(
                f"The examples at {artifact.uri!r} are stored as {file_format!r}, expected {_FILE_FORMAT!r}; leave "
                "`examples` out of Stripper, which then checks on drawn inputs only."
            )
    split = _split(examples)
    patterns = examples_utils.get_split_file_patterns(examples, split)
    files = sorted(itertools.chain.from_iterable(tf.io.gfile.glob(pattern) for pattern in patterns))
    records = list(tf.data.TFRecordDataset(files, compression_type="GZIP").take(limit).as_numpy_iterator())
    if not records:
        raise ValueError(
            f"The split {split!r} of the examples at {[artifact.uri for artifact in examples]} holds no records; give "
            "other examples to Stripper, or none."
        )
    logging.info("Read %d records of the split %r.", len(records), split)
    return records


def _split(examples: list[types.Artifact]) -> str:
    splits = artifact_utils.decode_split_names(examples[0].split_names)
    if not splits:
        raise ValueError(
            f"The examples at {examples[0].uri!r} have no splits; give other examples to Stripper, or none."
        )
    return _PREFERRED_SPLIT if _PREFERRED_SPLIT in splits else splits[0]


def _copy_properties(trained: types.Artifact, stripped: types.Artifact) -> None:
    for key in properties.PRUNING:
        value = trained.get_custom_property(key)
        if value is None:
            continue
        if isinstance(value, str):
            stripped.set_string_custom_property(key, value)
        elif key in _FRACTIONS:
            stripped.set_float_custom_property(key, value)
        else:
            # Kubeflow hands every number on as a float.
            stripped.set_int_custom_property(key, int(value))


def _set_properties(stripped: types.Artifact, report: StripReport) -> None:
    if not stripped.has_custom_property(properties.TRAINED_BYTES):
        stripped.set_int_custom_property(properties.TRAINED_BYTES, report.source_bytes)
    stripped.set_int_custom_property(properties.STRIPPED_BYTES, report.stripped_bytes)
    stripped.set_int_custom_property(properties.GZIPPED_BYTES, report.gzipped_bytes)
    stripped.set_int_custom_property(properties.VARIABLES_REMOVED, len(report.variables_removed))
    stripped.set_string_custom_property(properties.SIGNATURES_CHECKED, ",".join(report.signatures_checked))
