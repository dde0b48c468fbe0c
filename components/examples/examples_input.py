"""ExamplesInput: the splits of an Examples input, their files and their features."""

import dataclasses
import itertools
import json
import re
from collections.abc import Iterator, Sequence

import tensorflow as tf
from tfx import types
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from .example_files import ExampleFile, feature_names

_TF_EXAMPLE = "FORMAT_TF_EXAMPLE"
_PAYLOADS = (_TF_EXAMPLE, "FORMAT_TF_SEQUENCE_EXAMPLE", "FORMAT_PROTO")
# What ExampleGen writes, and the name in the enum.
_FILE_FORMATS = ("tfrecords_gzip", "FORMAT_TFRECORDS_GZIP")


@dataclasses.dataclass(frozen=True)
class ExamplesInput:
    """Some splits of one or more Examples artifacts. None of them is empty.

    Attributes:
        splits: Their names, in the order in which they were asked for.
        files: Their files, split by split, sorted by path.
        features: Names of the features of the first record; None if the records are not tf.Examples.
    """

    splits: tuple[str, ...]
    files: tuple[ExampleFile, ...]
    features: frozenset[str] | None

    @classmethod
    def read(
        cls, artifacts: Sequence[types.Artifact], splits: Sequence[str] | None, preferred: str = "eval"
    ) -> "ExamplesInput":
        """Finds the files, and looks at the first record of each split.

        Args:
            artifacts: Examples artifacts, at least one.
            splits: Names of splits; None for `preferred` if there is one, otherwise for all.
            preferred: The name of a split.

        Raises:
            ValueError: The artifacts do not hold TFRecords, a split is missing, or a split has no records.
        """
        payloads = [_payload(artifact) for artifact in artifacts]
        chosen = _chosen_splits(artifacts, splits, preferred)
        files = [file for split in chosen for file in _files(artifacts, split)]
        first = [_first_record([file for file in files if file.split == split], split) for split in chosen]
        features = feature_names(first[0]) if set(payloads) == {_TF_EXAMPLE} else None
        return cls(chosen, tuple(files), features)

    def records(self, limit: int) -> list[bytes]:
        """The first `limit` records of the first split."""
        of_split = (file.records() for file in self.files if file.split == self.splits[0])
        return list(itertools.islice(itertools.chain.from_iterable(of_split), limit))


def _payload(artifact: types.Artifact) -> str:
    payload = example_gen_pb2.PayloadFormat.Name(examples_utils.get_payload_format(artifact))
    if payload not in _PAYLOADS:
        raise ValueError(
            f"The examples at {artifact.uri!r} hold {payload}, expected {' or '.join(_PAYLOADS)}; give other examples, "
            "or leave `examples` out if the component can do without."
        )
    file_format = examples_utils.get_file_format(artifact)
    if file_format not in _FILE_FORMATS:
        raise ValueError(
            f"The examples at {artifact.uri!r} are stored as {file_format!r}, expected {_FILE_FORMATS[0]!r}; give "
            "other examples, or leave `examples` out if the component can do without."
        )
    return payload


def _chosen_splits(
    artifacts: Sequence[types.Artifact], splits: Sequence[str] | None, preferred: str
) -> tuple[str, ...]:
    held = [_split_names(artifact) for artifact in artifacts]
    for artifact, names in zip(artifacts, held, strict=True):
        if not names:
            raise ValueError(f"The examples at {artifact.uri!r} have no splits; give other examples.")
    if splits is None:
        splits = [preferred] if all(preferred in names for names in held) else held[0]
    for artifact, names in zip(artifacts, held, strict=True):
        if unknown := sorted(set(splits) - set(names)):
            raise ValueError(
                f"The examples at {artifact.uri!r} have no split {', '.join(map(repr, unknown))}, they have "
                f"{names}. Name some of these in `splits`."
            )
    return tuple(splits)


def _split_names(artifact: types.Artifact) -> list[str]:
    patterns = artifact.get_string_custom_property(examples_utils.CUSTOM_SPLIT_PATTERN_PROPERTY_NAME)
    return list(json.loads(patterns)) if patterns else artifact_utils.decode_split_names(artifact.split_names)


def _files(artifacts: Sequence[types.Artifact], split: str) -> Iterator[ExampleFile]:
    paths = itertools.chain.from_iterable(tf.io.gfile.glob(_pattern(artifact, split)) for artifact in artifacts)
    return (ExampleFile(split, path) for path in sorted(set(paths)))


def _pattern(artifact: types.Artifact, split: str) -> str:
    """The pattern of a split's files, in which the artifact's folder stands for itself, whatever is in its name."""
    (pattern,) = examples_utils.get_split_file_patterns([artifact], split)
    if not pattern.startswith(artifact.uri):
        return pattern
    return re.sub(r"([*?\[\\])", r"\\\1", artifact.uri) + pattern.removeprefix(artifact.uri)


def _first_record(files: Sequence[ExampleFile], split: str) -> bytes:
    for file in files:
        try:
            for record in file.records():
                return record
        except tf.errors.OpError as error:
            raise ValueError(
                f"The file {file.path!r} of the examples cannot be read: {error.message}; give other examples."
            ) from error
    raise ValueError(
        f"The split {split!r} of the examples holds no records, in {[file.path for file in files]}; give other "
        "examples or splits."
    )
