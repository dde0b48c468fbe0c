"""Checks that a stripped model answers every signature as its source does, bit for bit or within a tolerance."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging
from tensorflow.core.protobuf import meta_graph_pb2

from .answers import Answer, Refusal, Signature, ask, output_differences
from .object_graph import ObjectGraph
from .parsed_features import parsed_features
from .signature_inputs import (
    Inputs,
    record_batches,
    specs_in_words,
    synthetic_batches,
    takes_records,
    vocabulary_of,
)

_REPEATS = 8  # a source that differs from itself shows it in as many calls


class VerificationError(RuntimeError):
    """A stripped model does not answer as its source, or that could not be checked."""


def verify(
    source: str,
    source_model: Any,
    source_meta_graph: meta_graph_pb2.MetaGraphDef,
    stripped_model: Any,
    stripped_meta_graph: meta_graph_pb2.MetaGraphDef,
    examples: Sequence[bytes] | None = None,
    tolerance: float = 0.0,
) -> tuple[str, ...]:
    """Compares every signature of two models, on real records where given and on drawn inputs.

    Args:
      source: Folder of the source SavedModel.
      source_model: The source, as `tf.saved_model.load` gives it, none of whose functions has been called since.
      source_meta_graph: The source's MetaGraph.
      stripped_model: The stripped model, loaded likewise.
      stripped_meta_graph: The stripped model's MetaGraph.
      examples: Serialized records for the signatures that parse such; at least one, if given.
      tolerance: By how much floating-point numbers may differ; 0.0 for not in a bit.

    Returns:
      The signatures' names, all of them checked.

    Raises:
      VerificationError: A signature's declaration or answer differs, its answer differs from call to call, or no input
        was found that it takes.
    """
    _compare_declarations(source_meta_graph, stripped_meta_graph)
    graph = ObjectGraph(source_meta_graph)
    vocabulary = vocabulary_of(source_meta_graph, graph, source)
    for name, function in graph.signatures.items():
        pair = _Pair(name, source_model.signatures[name], stripped_model.signatures[name], tolerance)
        parsed = parsed_features(source_meta_graph, graph, function)
        answered = 0
        if examples and takes_records(pair.specs, parsed):
            (key,) = pair.specs
            answered = sum(pair.check([batch]) for batch in record_batches(key, pair.specs[key], examples))
            logging.info("Signature %r took %d batches of the %d given examples.", name, answered, len(examples))
        answered += sum(pair.check(batches) for batches in synthetic_batches(pair.specs, parsed, vocabulary))
        if not answered:
            raise VerificationError(
                f"Signature {name!r} cannot be checked: it refuses every input that was tried for "
                f"{specs_in_words(pair.specs)}; the last refusal was: {pair.last_refusal}. If it parses serialized "
                "records, give some that it takes, in `examples`; otherwise leave it out when the model is saved."
            )
    return tuple(graph.signatures)


class _Pair:
    """One signature before and after."""

    def __init__(self, name: str, before: Signature, after: Signature, tolerance: float) -> None:
        self._name = name
        self._before = before
        self._after = after
        self._tolerance = tolerance
        self.specs: Mapping[str, tf.TensorSpec] = before.structured_input_signature[1]
        self.last_refusal = "none"

    def check(self, tries: Iterable[Inputs]) -> bool:
        """Compares the answers to the first of `tries` that is taken; returns whether one was."""
        for inputs in tries:
            expected, actual = ask(self._before, inputs), ask(self._after, inputs)
            if difference := _difference(expected, actual, self._tolerance):
                raise VerificationError(self._explain(inputs, expected, difference))
            if not isinstance(expected, Refusal):
                return True
            self.last_refusal = expected.reason
        return False

    def _explain(self, inputs: Inputs, expected: Answer | Refusal, difference: str) -> str:
        shapes = {name: value.shape.as_list() for name, value in inputs.items()}
        if any(_difference(expected, ask(self._before, inputs), self._tolerance) for _ in range(_REPEATS)):
            return (
                f"Signature {self._name!r} cannot be checked: the source model's own answer differs from call to call "
                f"on one input (shapes {shapes}), because it draws random numbers or changes its variables. "
                "Save the model with a signature that does neither, such as one with training=False."
            )
        return (
            f"Signature {self._name!r} of the stripped model differs from the source on inputs of shapes {shapes}: "
            f"{difference}. Nothing was published; please report this model."
        )


def _difference(expected: Answer | Refusal, actual: Answer | Refusal, tolerance: float) -> str:
    """Says in what two answers differ by more than `tolerance`; '' if in nothing."""
    if isinstance(expected, Refusal) or isinstance(actual, Refusal):
        if isinstance(expected, Refusal) and isinstance(actual, Refusal):
            return ""
        return "it takes an input that the source refuses" if isinstance(expected, Refusal) else "it refuses an input"
    if expected.keys() != actual.keys():
        return f"outputs {sorted(expected)} became {sorted(actual)}"
    for name, difference in output_differences(expected, actual, tolerance=tolerance).items():
        if difference.exceeding.any():
            return f"output {name!r} differs, by up to {difference.distance.max():g}"
    return ""


def _compare_declarations(source: meta_graph_pb2.MetaGraphDef, stripped: meta_graph_pb2.MetaGraphDef) -> None:
    before, after = _declarations(source), _declarations(stripped)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            raise VerificationError(
                f"Signature {name!r} is declared otherwise by the stripped model: {before.get(name)} became "
                f"{after.get(name)}. Nothing was published; please report this model."
            )


def _declarations(meta_graph: meta_graph_pb2.MetaGraphDef) -> dict[str, meta_graph_pb2.SignatureDef]:
    """The signature defs, without the names of the tensors that stand for inputs and outputs in the graph."""
    found = {}
    for name, signature in meta_graph.signature_def.items():
        found[name] = meta_graph_pb2.SignatureDef()
        found[name].CopyFrom(signature)
        for tensor in (*found[name].inputs.values(), *found[name].outputs.values()):
            tensor.ClearField("name")
    return found
