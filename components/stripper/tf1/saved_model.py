"""GraphModel: strips a SavedModel of TensorFlow 1, which is one graph or several, without objects."""

import contextlib
import os
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from absl import logging
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow.python.saved_model import fingerprinting_utils

from ... import staging
from ...saved_model.checkpoint import Checkpoint, value_bytes
from ...saved_model.function_library import FunctionLibrary
from ...saved_model.loading import DEBUG_INFO
from ...saved_model.meta_graph import EXTRA_ASSETS, FILENAME, is_for_training
from ..check import verify
from ..check.acceptance import Acceptance
from ..check.signature_inputs import vocabulary_in
from ..masks.folded_value import FoldedValue
from . import collection_defs
from .graph import Graph
from .saver import Entry
from .session_model import SessionModel
from .signature_defs import parsed_by, signature_defs
from .stripped_meta_graph import StrippedMetaGraph
from .value_writer import write_values

_COPIED = ("assets", EXTRA_ASSETS, os.path.dirname(DEBUG_INFO))


class GraphModel:
    """A SavedModel of TensorFlow 1, and what its stripped copy keeps.

    MetaGraphs with the tag 'train' are for training alone and are removed; all others stay.

    Attributes:
        removed: Keys of the variables that go, sorted.
        kept: Keys of the variables that stay, sorted.
        kept_bytes: The least that their values take in a file.
        masked: Keys of the weights that take in a mask, sorted.
    """

    def __init__(self, source: str, saved_model: saved_model_pb2.SavedModel) -> None:
        """Reads the source and decides.

        Args:
            source: Folder of the SavedModel.
            saved_model: Its `saved_model.pb`.

        Raises:
            ValueError: It cannot be stripped, as `StrippedMetaGraph` says; all its MetaGraphs are for training; one has
                no signatures; or no one value of a weight serves two MetaGraphs.
        """
        self._source = source
        self._saved_model = saved_model
        self._checkpoint = Checkpoint(source, optional=True)
        self._sources = [each for each in saved_model.meta_graphs if not is_for_training(each)]
        if not self._sources:
            tags = [sorted(each.meta_info_def.tags) for each in saved_model.meta_graphs]
            raise ValueError(
                f"The SavedModel at {source!r} has MetaGraphs with the tags {tags}, expected one that is not for "
                "training alone. Save the model with the tag 'serve'."
            )
        self._stripped: list[StrippedMetaGraph] = []
        for meta_graph in self._sources:
            tags = sorted(meta_graph.meta_info_def.tags)
            if not signature_defs(meta_graph):
                raise ValueError(
                    f"The MetaGraph with the tags {tags} of the SavedModel at {source!r} has no signatures, so nothing "
                    "says what to keep. Save it with a signature_def_map."
                )
            try:
                self._stripped.append(StrippedMetaGraph(meta_graph, self._checkpoint))
            except ValueError as error:
                reason = str(error).rstrip(".")
                raise ValueError(
                    f"The MetaGraph with the tags {tags} of the SavedModel at {source!r} cannot be stripped: {reason}."
                ) from error
        self._folded = self._folded_in_all()
        self.masked = tuple(sorted({entry.key for entry in self._folded}))
        self.kept = tuple(sorted({key for each in self._stripped for key in each.keys}))
        self.kept_bytes = sum(
            value_bytes(self._checkpoint.dtypes[key], tf.TensorShape(self._checkpoint.shapes[key])) for key in self.kept
        )
        self.removed = tuple(key for key in self._checkpoint.shapes if key not in self.kept)

    def write(self, folder: str, acceptance: Acceptance) -> tuple[str, ...]:
        """Writes the stripped model to an empty folder and checks it; returns the names of the signatures checked.

        Pruned weights become +0.0, or the exact product with the mask, -0.0, if an answer tells the one from the other.

        Raises:
            OSError: The folder cannot be written.
            ValueError: The source or the stripped model cannot be loaded.
            VerificationError: A signature does not answer as before, or that could not be checked.
        """
        self._write(folder, {entry: each.positive for entry, each in self._folded.items()})
        try:
            return self._check(folder, acceptance)
        except verify.VerificationError as error:
            if not any(each.sign_differs for each in self._folded.values()):
                raise
            logging.info("Saving the signs of pruned weights, too: %s", error)
        self._write(folder, {entry: each.product for entry, each in self._folded.items()})
        return self._check(folder, acceptance)

    def _folded_in_all(self) -> dict[Entry, FoldedValue]:
        folded: dict[Entry, FoldedValue] = {}
        for meta_graph in self._stripped:
            for entry, weight in meta_graph.folded.items():
                if folded.setdefault(entry, weight).product.tobytes() != weight.product.tobytes():
                    raise ValueError(
                        f"The weight {entry.key!r} of {self._source!r} has different masks in two MetaGraphs, so no "
                        "one value serves both. Save each in a SavedModel of its own."
                    )
        for meta_graph in self._stripped:
            for entry in folded.keys() & meta_graph.bare_uses.keys():
                product = folded[entry].product
                if product.tobytes() != entry.value(self._checkpoint).tobytes():
                    raise ValueError(
                        f"The weight {entry.key!r} of {self._source!r} is multiplied by its mask, and used without "
                        f"its mask too: {meta_graph.bare_uses[entry]} in the MetaGraph with the tags "
                        f"{list(meta_graph.tags)}. Save the model with signatures that use the masked weight only."
                    )
                folded[entry] = FoldedValue(product, product)
        return folded

    def _write(self, folder: str, changed: Mapping[Entry, np.ndarray]) -> None:
        saved_model = saved_model_pb2.SavedModel(
            saved_model_schema_version=self._saved_model.saved_model_schema_version,
            meta_graphs=[each.proto for each in self._stripped],
        )
        with staging.write_failure_explained(folder):
            if self.kept:
                write_values(self._checkpoint, folder, self.kept, changed)
            with tf.io.gfile.GFile(os.path.join(folder, FILENAME), "wb") as stream:
                stream.write(saved_model.SerializeToString(deterministic=True))
            for name in _COPIED:
                staging.copy_folder(os.path.join(self._source, name), os.path.join(folder, name))
            if self.kept:
                fingerprinting_utils.write_fingerprint(folder)

    def _check(self, folder: str, acceptance: Acceptance) -> tuple[str, ...]:
        checked: list[str] = []
        for source, stripped in zip(self._sources, self._stripped, strict=True):
            verify.check_declarations(_without_operations(source), _without_operations(stripped.proto))
            assets = collection_defs.assets_of(source)
            library, graph = FunctionLibrary(source), Graph(source.graph_def)
            nodes = [*source.graph_def.node]
            for function in library.functions.values():
                nodes.extend(function.node_def)
            vocabulary = vocabulary_in([os.path.join(self._source, "assets", each.filename) for each in assets], nodes)
            with (
                contextlib.closing(SessionModel(self._source, source, graph)) as before,
                contextlib.closing(SessionModel(folder, stripped.proto, stripped.graph)) as after,
            ):
                for name, signature in before.signatures.items():
                    parsed = parsed_by(source.signature_def[name], library, graph)
                    answers = verify.source_answers(name, signature, parsed, vocabulary, acceptance.records)
                    answers.compare(after.signatures[name], lambda signature=signature: signature, acceptance.tolerance)
            checked.extend(before.signatures)
        acceptance.run_further(folder)
        return tuple(dict.fromkeys(checked))


def _without_operations(meta_graph: meta_graph_pb2.MetaGraphDef) -> meta_graph_pb2.MetaGraphDef:
    """The signatures alone, without those in which TensorFlow keeps operations."""
    found = meta_graph_pb2.MetaGraphDef()
    for name, signature in signature_defs(meta_graph).items():
        found.signature_def[name].CopyFrom(signature)
    return found
