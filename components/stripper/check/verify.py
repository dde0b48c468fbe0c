"""Checks that a stripped model answers every signature as its source does, bit for bit or within a tolerance."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from absl import logging
from tensorflow.core.protobuf import meta_graph_pb2

from ...saved_model.saved_objects import SavedObjects
from .answers import Answer, Refusal, Signature, ask, output_differences
from .parsed_features import ParsedFeatures, parsed_features
from .signature_inputs import (
    Inputs,
    Spec,
    Vocabulary,
    record_batches,
    specs_in_words,
    synthetic_batches,
    takes_records,
    vocabulary_of,
)

_REPEATS = 8  # how often the source is asked again, to see whether it differs from itself


class VerificationError(RuntimeError):
    """A stripped model or an export does not answer as the model before it, or that could not be checked."""


@dataclasses.dataclass(frozen=True)
class SourceAnswers:
    """What a signature of the source answered.

    Attributes:
        signature: Its name.
        answers: Inputs, and the answer or refusal; at least one answer.
    """

    signature: str
    answers: Sequence[tuple[Inputs, Answer | Refusal]]

    def compare(self, after: Signature, again: Callable[[], Signature], tolerance: float = 0.0) -> float:
        """Checks that a stripped model's signature answers as the source's.

        Args:
            after: The stripped model's signature.
            again: Loads the source's signature once more, if an answer differs.
            tolerance: The largest difference of two floating-point numbers; 0.0 requires bitwise equality.

        Returns:
            The largest absolute difference of two numbers.

        Raises:
            VerificationError: It does not, or the source's own answers differ from call to call.
        """
        largest = 0.0
        for inputs, expected in self.answers:
            actual = ask(after, inputs)
            if difference := _difference(expected, actual, tolerance):
                before = again()
                shapes = {name: value.shape.as_list() for name, value in inputs.items()}
                if any(_difference(expected, ask(before, inputs), tolerance) for _ in range(_REPEATS)):
                    raise VerificationError(
                        f"Signature {self.signature!r} cannot be checked: the source model's own answer differs from "
                        f"call to call on one input (shapes {shapes}), because it draws random numbers or changes its "
                        "variables. Save the model with a signature that does neither, such as one with "
                        "training=False."
                    )
                raise VerificationError(
                    f"Signature {self.signature!r} of the stripped model differs from the source on inputs of shapes "
                    f"{shapes}: {difference}. Nothing was published; please report this model."
                )
            largest = max(largest, _distance(expected, actual))
        return largest


def source_answers(
    name: str,
    signature: Signature,
    parsed: ParsedFeatures,
    vocabulary: Vocabulary,
    examples: Sequence[bytes] | None = None,
) -> SourceAnswers:
    """Calls a signature of the source on real records, if there are any, and on drawn inputs.

    Args:
        name: Name of the signature.
        signature: The signature of the source, which has not been called since it was loaded.
        parsed: What the signature parses.
        vocabulary: Words that the model may know.
        examples: Serialized records for a signature that parses such records; at least one, if given.

    Raises:
        VerificationError: The signature takes none of the inputs that are tried, or calls Python code.
    """
    if parsed.calls_python:
        raise VerificationError(
            f"Signature {name!r} calls Python code, as tf.py_function and tf.numpy_function do, which a SavedModel "
            "does not hold: it fails in every other process. Write that part with TensorFlow's operations, or leave "
            "the signature out when the model is saved."
        )
    specs: Mapping[str, Spec] = signature.structured_input_signature[1]
    asked: list[tuple[Inputs, Answer | Refusal]] = []
    last_refusal = "none"

    def answered(tries: Iterable[Inputs]) -> bool:
        """Asks until one of `tries` is taken; returns whether one was."""
        nonlocal last_refusal
        for inputs in tries:
            answer = ask(signature, inputs)
            asked.append((inputs, answer))
            if not isinstance(answer, Refusal):
                return True
            last_refusal = answer.reason
        return False

    taken = 0
    if examples and takes_records(specs, parsed):
        (key,) = specs
        taken = sum(answered([batch]) for batch in record_batches(key, specs[key], examples))
        logging.info("Signature %r took %d batches of the %d given examples.", name, taken, len(examples))
    taken += sum(answered(batches) for batches in synthetic_batches(specs, parsed, vocabulary))
    if not taken:
        raise VerificationError(
            f"Signature {name!r} cannot be checked: it refuses every input that was tried for "
            f"{specs_in_words(specs)}; the last refusal was: {last_refusal}. If it parses serialized records, give "
            "some that it takes as `examples`; otherwise save the model without it."
        )
    return SourceAnswers(name, asked)


def answers_of(source: SavedObjects, model: Any, examples: Sequence[bytes] | None = None) -> list[SourceAnswers]:
    """The answers of every signature of a SavedModel of TensorFlow 2.

    Args:
        source: The SavedModel.
        model: What was loaded from it, none of whose functions has been called since.
        examples: As `source_answers` takes them.

    Raises:
        VerificationError: As `source_answers`.
    """
    vocabulary = vocabulary_of(source)
    return [
        source_answers(name, model.signatures[name], parsed_features(source, function), vocabulary, examples)
        for name, function in source.graph.signatures.items()
    ]


def verify(
    answers: Sequence[SourceAnswers],
    source_meta_graph: meta_graph_pb2.MetaGraphDef,
    stripped_model: Any,
    stripped_meta_graph: meta_graph_pb2.MetaGraphDef,
    again: Callable[[], Any],
    tolerance: float = 0.0,
) -> tuple[str, ...]:
    """Checks that a stripped model answers every signature as its source did. Both need not be in memory at once.

    Args:
        answers: The answers of the source, as `answers_of` gives them.
        source_meta_graph: The source's MetaGraph.
        stripped_model: The stripped model, as `tf.saved_model.load` gives it.
        stripped_meta_graph: The stripped model's MetaGraph.
        again: Loads the source once more, if an answer differs.
        tolerance: The largest difference of two floating-point numbers; 0.0 requires bitwise equality.

    Returns:
        The signatures' names, all of them checked.

    Raises:
        VerificationError: A signature's declaration or answer differs, or its answer differs from call to call.
    """
    check_declarations(source_meta_graph, stripped_meta_graph)
    for each in answers:
        name = each.signature
        each.compare(stripped_model.signatures[name], lambda name=name: again().signatures[name], tolerance)
    return tuple(each.signature for each in answers)


def _difference(expected: Answer | Refusal, actual: Answer | Refusal, tolerance: float) -> str:
    """How two answers differ by more than `tolerance`, in words; '' if they do not."""
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


def _distance(expected: Answer | Refusal, actual: Answer | Refusal) -> float:
    """The largest absolute difference of two numbers of two answers that nearly agree."""
    if isinstance(expected, Refusal) or isinstance(actual, Refusal):
        return 0.0
    return max((float(each.distance.max()) for each in output_differences(expected, actual).values()), default=0.0)


def check_declarations(source: meta_graph_pb2.MetaGraphDef, stripped: meta_graph_pb2.MetaGraphDef) -> None:
    """Raises a VerificationError unless two MetaGraphs declare the same signatures, inputs and outputs."""
    before, after = _declarations(source), _declarations(stripped)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            raise VerificationError(
                f"The stripped model declares signature {name!r} in another way: {before.get(name)} became "
                f"{after.get(name)}. Nothing was published; please report this model."
            )


def _declarations(meta_graph: meta_graph_pb2.MetaGraphDef) -> dict[str, meta_graph_pb2.SignatureDef]:
    """The signature defs, without the names of the graph's tensors for inputs and outputs."""
    found = {}
    for name, signature in meta_graph.signature_def.items():
        found[name] = meta_graph_pb2.SignatureDef()
        found[name].CopyFrom(signature)
        for tensor in (*found[name].inputs.values(), *found[name].outputs.values()):
            tensor.ClearField("name")
    return found
