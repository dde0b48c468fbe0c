"""Checks that a stripped model answers every signature as its source does, bit for bit."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging
from tensorflow.core.protobuf import meta_graph_pb2

from .object_graph import ObjectGraph
from .parsed_features import ParsedFeatures, parsed_features
from .signature_inputs import Inputs, Vocabulary, record_batches, synthetic_batches, takes_records, vocabulary_of

# A loaded signature: keyword tensors in, a dict of tensors or arrays out, with a structured_input_signature.
Signature = Any

_REPEATS = 8  # a source that differs from itself shows it in as many calls
_NODE = re.compile(r"\{\{.*?\}\}")
# What an operation, or the tracing of a shape, raises on an input that the model does not take.
_REFUSALS = (tf.errors.OpError, ValueError, TypeError)


class VerificationError(RuntimeError):
    """A stripped model does not answer as its source, or that could not be checked."""


def verify(
    source: str,
    source_model: Any,
    source_meta_graph: meta_graph_pb2.MetaGraphDef,
    stripped_model: Any,
    stripped_meta_graph: meta_graph_pb2.MetaGraphDef,
    examples: Sequence[bytes] | None = None,
) -> tuple[str, ...]:
    """Compares every signature of two models, on real records where given and on drawn inputs.

    Args:
      source: Folder of the source SavedModel.
      source_model: The source, as `tf.saved_model.load` gives it, none of whose functions has been called since.
      source_meta_graph: The source's MetaGraph.
      stripped_model: The stripped model, loaded likewise.
      stripped_meta_graph: The stripped model's MetaGraph.
      examples: Serialized records for the signatures that parse such; at least one, if given.

    Returns:
      The signatures' names, all of them checked.

    Raises:
      VerificationError: A signature's declaration or answer differs, its answer differs from call to call, or no input
        was found that it takes.
    """
    compare_declarations(source_meta_graph, stripped_meta_graph)
    graph = ObjectGraph(source_meta_graph)
    vocabulary = vocabulary_of(source_meta_graph, graph, source)
    for name, function in graph.signatures.items():
        parsed = parsed_features(source_meta_graph, graph, function)
        before, after = source_model.signatures[name], stripped_model.signatures[name]
        compare_answers(name, before, after, parsed, vocabulary, examples)
    return tuple(graph.signatures)


def compare_answers(
    name: str,
    before: Signature,
    after: Signature,
    parsed: ParsedFeatures,
    vocabulary: Vocabulary,
    examples: Sequence[bytes] | None = None,
) -> None:
    """Compares a signature of two models, on real records where given and on drawn inputs.

    Args:
      name: Of the signature.
      before: The source's signature.
      after: The stripped model's.
      parsed: What the signature parses.
      vocabulary: Words that the model may know.
      examples: As `verify` takes them.

    Raises:
      VerificationError: As `verify`.
    """
    pair = _Pair(name, before, after)
    answered = 0
    if examples and takes_records(pair.specs, parsed):
        (key,) = pair.specs
        answered = sum(pair.check([batch]) for batch in record_batches(key, pair.specs[key], examples))
        logging.info("Signature %r took %d batches of the %d given examples.", name, answered, len(examples))
    answered += sum(pair.check(batches) for batches in synthetic_batches(pair.specs, parsed, vocabulary))
    if not answered:
        raise VerificationError(
            f"Signature {name!r} cannot be checked: it refuses every input that was tried for "
            f"{_specs_in_words(pair.specs)}; the last refusal was: {pair.last_refusal}. If it parses serialized "
            "records, give some that it takes, in `examples`; otherwise leave it out when the model is saved."
        )


class _Pair:
    """One signature before and after."""

    def __init__(self, name: str, before: Signature, after: Signature) -> None:
        self._name = name
        self._before = before
        self._after = after
        self.specs: Mapping[str, tf.TensorSpec] = before.structured_input_signature[1]
        self.last_refusal = "none"

    def check(self, tries: Iterable[Inputs]) -> bool:
        """Compares the answers to the first of `tries` that is taken; returns whether one was."""
        for inputs in tries:
            expected = self._answer(self._before, inputs)
            actual = self._answer(self._after, inputs)
            if difference := _difference(expected, actual):
                raise VerificationError(self._explain(inputs, expected, difference))
            if expected is not None:
                return True
        return False

    def _answer(self, signature: Signature, inputs: Inputs) -> dict[str, np.ndarray] | None:
        try:
            outputs = signature(**inputs)
        except _REFUSALS as error:
            self.last_refusal = _reason(error)
            return None
        answer = {}
        for name, value in outputs.items():
            for part, tensor in enumerate(tf.nest.flatten(value, expand_composites=True)):
                answer[f"{name}[{part}]"] = _array(tensor) if tf.is_tensor(tensor) else tensor
        return answer

    def _explain(self, inputs: Inputs, expected: dict[str, np.ndarray] | None, difference: str) -> str:
        shapes = {name: value.shape.as_list() for name, value in inputs.items()}
        if any(_difference(expected, self._answer(self._before, inputs)) for _ in range(_REPEATS)):
            return (
                f"Signature {self._name!r} cannot be checked: the source model's own answer differs from call to call "
                f"on one input (shapes {shapes}), because it draws random numbers or changes its variables. "
                "Save the model with a signature that does neither, such as one with training=False."
            )
        return (
            f"Signature {self._name!r} of the stripped model differs from the source on inputs of shapes {shapes}: "
            f"{difference}. Nothing was published; please report this model."
        )


def _array(tensor: tf.Tensor) -> np.ndarray:
    # A string tensor of rank 0 gives bytes, which numpy would make an array that loses trailing zeros.
    return np.asarray(tensor.numpy(), dtype=object if tensor.dtype == tf.string else None)


def _reason(error: Exception) -> str:
    """The line of an error that says what is wrong; TensorFlow puts the traceback of the graph before it."""
    message = error.message if isinstance(error, tf.errors.OpError) else str(error)
    lines = [_NODE.sub("", line).strip() for line in message.partition("[[{{")[0].splitlines()]
    return next((line.rstrip(".") for line in reversed(lines) if line), type(error).__name__)


def _difference(expected: dict[str, np.ndarray] | None, actual: dict[str, np.ndarray] | None) -> str:
    """Says in which bits two answers differ; '' if in none. None stands for a refusal."""
    if expected is None or actual is None:
        if expected is actual:
            return ""
        return "it takes an input that the source refuses" if expected is None else "it refuses an input"
    if expected.keys() != actual.keys():
        return f"outputs {sorted(expected)} became {sorted(actual)}"
    for name, before in expected.items():
        after = actual[name]
        if (before.dtype, before.shape) != (after.dtype, after.shape):
            return f"output {name!r} of {before.dtype}{before.shape} became {after.dtype}{after.shape}"
        # Bytes, so that NaN equals itself and 0.0 differs from -0.0; strings are objects.
        equal = np.array_equal(before, after) if before.dtype == object else before.tobytes() == after.tobytes()
        if not equal:
            return f"output {name!r} differs"
    return ""


def compare_declarations(source: meta_graph_pb2.MetaGraphDef, stripped: meta_graph_pb2.MetaGraphDef) -> None:
    """Raises a VerificationError if two MetaGraphs declare other signatures, or inputs and outputs of them."""
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


def _specs_in_words(specs: Mapping[str, tf.TensorSpec]) -> str:
    return (
        ", ".join(f"{name!r} ({spec.dtype.name}, shape {spec.shape})" for name, spec in sorted(specs.items())) or "()"
    )
