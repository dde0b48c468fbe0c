"""The signature that is exported, and the inputs on which an export is checked."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging
from tensorflow.core.protobuf import meta_graph_pb2

from ...saved_model.saved_objects import SavedObjects
from ..check.answers import REFUSALS
from ..check.parsed_features import ParsedFeatures, parsed_features
from ..check.signature_inputs import (
    RECORDS_PER_BATCH,
    Inputs,
    record_batches,
    synthetic_batches,
    takes_records,
    vocabulary_of,
)

Specs = dict[str, tf.TensorSpec]

_DEFAULT_SIGNATURE = "serving_default"


def chosen_signature(saved: SavedObjects, requested: str | None) -> str:
    """The signature that is exported.

    Args:
        saved: The SavedModel.
        requested: A signature's name. None for 'serving_default' if all its inputs are numbers; else the first by name
            whose inputs all are; else 'serving_default', or the first by name.

    Raises:
        ValueError: There is no such signature, or none at all.
    """
    declared = saved.meta_graph.signature_def
    names = sorted(declared, key=lambda name: (name != _DEFAULT_SIGNATURE, name))
    names = [name for name in names if not name.startswith("__")]
    if requested is not None and requested in names:
        return requested
    if requested is not None or not names:
        raise ValueError(
            f"The SavedModel at {saved.folder!r} has no signature {requested or _DEFAULT_SIGNATURE!r} to export, its "
            f"signatures are: {', '.join(names) or 'none'}. Name one of them with export_signature."
        )
    return next((name for name in names if _is_numeric(declared[name])), names[0])


def _is_numeric(signature: meta_graph_pb2.SignatureDef) -> bool:
    kinds = [tf.as_dtype(tensor.dtype) for tensor in signature.inputs.values()]
    return bool(kinds) and all(kind.is_numpy_compatible and kind != tf.string for kind in kinds)


@dataclasses.dataclass(frozen=True)
class ExportInputs:
    """Inputs of one signature.

    Attributes:
        batches: At least one, each of which the signature takes.
        real: Whether they were made from examples; otherwise they were drawn.
    """

    batches: tuple[Inputs, ...]
    real: bool


def inputs_of(saved: SavedObjects, model: Any, name: str, examples: Sequence[bytes] | None) -> ExportInputs:
    """Makes inputs for a signature, from serialized examples if possible.

    A signature that parses records gets the examples as they are. Any other gets the outputs of a second signature that
    parses records, if these have the names of its inputs, as with the `transform_features` of TFX's examples; if there
    is none, it gets the features of these names in the examples. Otherwise inputs are drawn.

    Args:
        saved: The SavedModel.
        model: The same, loaded.
        name: The signature's name.
        examples: Serialized records; at least one, if given.

    Returns:
        The inputs.

    Raises:
        ValueError: The signature takes none of the inputs that were tried.
    """
    specs = dict(model.signatures[name].structured_input_signature[1])
    parsed = parsed_features(saved, saved.graph.signatures[name])
    if examples:
        if batches := real_batches(saved, model, name, examples):
            return ExportInputs(batches, real=True)
        logging.warning("Signature %r of %s takes none of the examples; its inputs are drawn.", name, saved.folder)
    batches = []
    for tries in synthetic_batches(specs, parsed, vocabulary_of(saved)):
        batches.extend(next(([each] for each in tries if _takes(model.signatures[name], each)), []))
    if not batches:
        raise ValueError(
            f"Signature {name!r} of {saved.folder!r} takes none of the inputs that were drawn, so no export of it can "
            "be checked; give examples that it takes."
        )
    return ExportInputs(tuple(batches), real=False)


def real_batches(saved: SavedObjects, model: Any, name: str, examples: Sequence[bytes]) -> tuple[Inputs, ...]:
    """Inputs for a signature that are made from serialized examples, as `inputs_of` does; none if it takes none."""
    specs = dict(model.signatures[name].structured_input_signature[1])
    parsed = parsed_features(saved, saved.graph.signatures[name])
    for made in _from_examples(saved, model, specs, parsed, examples):
        if batches := _taken(model.signatures[name], made):
            return batches
    return ()


def _from_examples(
    saved: SavedObjects,
    model: Any,
    specs: Specs,
    parsed: ParsedFeatures,
    examples: Sequence[bytes],
) -> Iterator[list[Inputs]]:
    if takes_records(specs, parsed):
        (key,) = specs
        yield list(record_batches(key, specs[key], examples))
        return
    for other, function in saved.graph.signatures.items():
        signature = model.signatures[other]
        given = signature.structured_input_signature[1]
        if takes_records(given, parsed_features(saved, function)) and (
            specs.keys() <= signature.structured_outputs.keys()
        ):
            yield _answers(signature, given, specs, examples)
    yield _features(specs, examples)


def _answers(signature: Any, given: Specs, specs: Specs, examples: Sequence[bytes]) -> list[Inputs]:
    """Inputs made from the outputs of a signature that parses records."""
    (key,) = given
    found = []
    for batch in record_batches(key, given[key], examples):
        try:
            outputs = signature(**batch)
            arrays = {name: tf.convert_to_tensor(outputs[name]).numpy() for name in specs}
            found.extend(_batches(specs, arrays))
        except REFUSALS:
            continue
    return found


def _features(specs: Specs, examples: Sequence[bytes]) -> list[Inputs]:
    """Inputs made from the features of tf.Examples with their names; none if one is missing or varies in length."""
    columns: dict[str, list[np.ndarray]] = {name: [] for name in specs}
    for record in examples:
        try:
            features = tf.train.Example.FromString(record).features.feature
        except Exception:  # what protobuf raises depends on its implementation
            return []
        for name, values in columns.items():
            kind = features[name].WhichOneof("kind") if name in features else None
            if kind is None:
                return []
            values.append(np.asarray(getattr(features[name], kind).value, object if kind == "bytes_list" else None))
    try:
        return list(_batches(specs, {name: np.stack(values) for name, values in columns.items()}))
    except REFUSALS:
        return []


def _batches(specs: Specs, arrays: dict[str, np.ndarray]) -> Iterator[Inputs]:
    """Cuts arrays into batches of the shapes and dtypes of `specs`: one of 1, then larger ones."""
    shaped = {}
    for name, spec in specs.items():
        if not spec.shape.rank or (spec.dtype == tf.string) != (arrays[name].dtype == object):
            raise ValueError(
                f"The values for input {name!r} are {arrays[name].dtype}, expected a batch of {spec.dtype.name}."
            )
        inner = [-1 if size is None else size for size in spec.shape.as_list()[1:]]
        shaped[name] = arrays[name].reshape([len(arrays[name]), *inner])
    count = len(next(iter(shaped.values())))
    fixed = next((spec.shape[0] for spec in specs.values() if spec.shape[0] is not None), None)
    size = fixed or RECORDS_PER_BATCH
    places = [] if fixed else [range(1)]
    for start in range(0, count, size):
        # With a fixed batch size, examples are repeated to fill the last one.
        places.append(np.arange(start, start + size) % count if fixed else range(start, min(start + size, count)))
    for place in places:
        yield {name: _tensor(array[list(place)], specs[name]) for name, array in shaped.items()}


def _tensor(array: np.ndarray, spec: tf.TensorSpec) -> tf.Tensor:
    if array.dtype.kind == "f" and not spec.dtype.is_floating:
        raise ValueError(f"Floats are no values of {spec.dtype.name}.")
    return tf.constant(array) if spec.dtype == tf.string else tf.cast(tf.constant(array), spec.dtype)


def _taken(signature: Any, batches: Sequence[Inputs]) -> tuple[Inputs, ...]:
    return tuple(batch for batch in batches if _takes(signature, batch))


def _takes(signature: Any, inputs: Inputs) -> bool:
    try:
        signature(**inputs)
    except REFUSALS:
        return False
    return True
