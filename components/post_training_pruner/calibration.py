"""Calibration: examples on which a signature of a model is run."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from ..examples.serialized_records import checked_records

BATCH_SIZE = 64

Batch = tuple[list[tf.Tensor], tf.Tensor | None]
Specs = Mapping[str, tf.TensorSpec]
# Serialized tf.Examples or other records, or arrays by the names of inputs and of the label.
Examples = Iterable[bytes] | Mapping[str, Any]
_ARRAYS = "a mapping from the names of the signature's inputs to arrays"


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """Batches of the inputs of a signature, and of labels.

    Attributes:
        specs: The inputs of the signature, by name, in the order in which its function takes them.
        count: How many examples there are.
        label: The name of the feature, or array, that is the label; None without labels.
    """

    specs: Specs
    count: int
    label: str | None
    _records: Sequence[bytes] | None
    _arrays: Mapping[str, np.ndarray]
    _whole: bool

    @classmethod
    def of(cls, examples: Examples, specs: Specs, signature: str, label: str | None = None) -> "Calibration":
        """Takes examples, and checks that they fit a signature.

        Args:
            examples: Serialized records; or arrays by name, which have one row for each example.
            specs: The inputs of the signature, by name.
            signature: Its name, for errors.
            label: The name of the label.

        Raises:
            TypeError: `examples` is neither.
            ValueError: There are none; an input or the label is missing; or arrays differ in length, or from the specs.
        """
        if isinstance(examples, Mapping):
            return cls._of_arrays(examples, specs, signature, label)
        records = checked_records(examples, _ARRAYS)
        found = _feature_names(records[0])
        (only,) = specs if len(specs) == 1 else (None,)
        takes_records = only is not None and specs[only].dtype == tf.string and specs[only].shape.rank == 1
        whole = takes_records and only not in (found or ())
        missing = set() if whole else specs.keys() - (found or ())
        missing |= {label} - {None} - (found or frozenset())
        if missing:
            what = "are no tf.Examples" if found is None else f"hold the features {sorted(found)}"
            raise ValueError(
                f"The signature {signature!r} takes {_in_words(specs)}"
                + (f", and the label is {label!r}" if label else "")
                + f", but the examples {what}: {sorted(missing)} is missing. Give examples that hold the inputs as "
                "features of those names, such as Transform's; a signature that parses them; or arrays by name."
            )
        for name, spec in specs.items():
            if not whole and (not spec.shape.rank or None in spec.shape.as_list()[1:]):
                raise ValueError(
                    f"The input {name!r} of the signature {signature!r} has the shape {spec.shape}, of which examples "
                    "tell no size. Give arrays by name, or a signature that parses the examples."
                )
        return cls(specs, len(records), label, records, {}, whole)

    @classmethod
    def _of_arrays(cls, examples: Mapping[str, Any], specs: Specs, signature: str, label: str | None) -> "Calibration":
        wanted = [*specs, *([label] if label else [])]
        if missing := sorted(set(wanted) - examples.keys()):
            raise ValueError(
                f"examples has the arrays {sorted(map(str, examples))}, but the signature {signature!r} takes "
                f"{_in_words(specs)}" + (f" and the label is {label!r}" if label else "") + f": {missing} is missing. "
                "Give one array for each, with a row for each example."
            )
        arrays = {name: np.asarray(examples[name]) for name in wanted}
        lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
        if len(set(lengths.values())) != 1 or not all(lengths.values()):
            raise ValueError(f"examples has arrays of the lengths {lengths}; give each one row for each example.")
        for name, spec in specs.items():
            if not spec.shape.is_compatible_with([None, *arrays[name].shape[1:]]):
                raise ValueError(
                    f"examples[{name!r}] has the shape {list(arrays[name].shape)}, but the signature {signature!r} "
                    f"takes {spec.shape}. Give an array of that shape."
                )
            try:
                arrays[name] = arrays[name].astype(spec.dtype.as_numpy_dtype)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"examples[{name!r}] is of {arrays[name].dtype}, but the signature {signature!r} takes "
                    f"{spec.dtype.name} ({error}). Give an array of that dtype."
                ) from error
        return cls(specs, next(iter(lengths.values())), label, None, arrays, False)

    def batches(self, size: int = BATCH_SIZE) -> Iterator[Batch]:
        """Yields the inputs in the order of `specs`, and the labels or None, at most `size` examples at a time.

        If the signature takes batches of a fixed size, that is the size, and examples are repeated to fill the last.

        Raises:
            ValueError: A record is damaged, or has a feature of another type or length.
        """
        fixed = next((spec.shape[0] for spec in self.specs.values() if spec.shape.rank), None)
        for begin in range(0, self.count, fixed or size):
            at = list(range(begin, min(begin + (fixed or size), self.count)))
            if fixed is not None:
                at = list(itertools.islice(itertools.cycle(at), fixed))
            yield self._parsed([self._records[each] for each in at]) if self._records else self._taken(at)

    def _taken(self, at: Sequence[int]) -> Batch:
        inputs = [tf.constant(self._arrays[name][at], spec.dtype) for name, spec in self.specs.items()]
        return inputs, None if self.label is None else tf.constant(self._arrays[self.label][at])

    def _parsed(self, records: Sequence[bytes]) -> Batch:
        batch = tf.constant(records, tf.string, shape=[len(records)])
        features = {} if self._whole else {name: _parsing(spec) for name, spec in self.specs.items()}
        if self.label is not None and self.label not in features:
            features[self.label] = _parsing_of_label(records[0], self.label)
        try:
            parsed = tf.io.parse_example(batch, features) if features else {}
        except tf.errors.OpError as error:
            raise ValueError(
                f"The examples cannot be parsed: {error.message}. Give examples whose features have the shapes "
                f"{_in_words(self.specs)}."
            ) from error
        inputs = [batch] if self._whole else [tf.cast(parsed[name], spec.dtype) for name, spec in self.specs.items()]
        return inputs, None if self.label is None else parsed[self.label]


def _feature_names(record: bytes) -> frozenset[str] | None:
    try:
        return frozenset(tf.train.Example.FromString(record).features.feature)
    except DecodeError:
        return None


def _parsing(spec: tf.TensorSpec) -> tf.io.FixedLenFeature:
    # A tf.Example has numbers of two dtypes.
    dtype = spec.dtype if spec.dtype == tf.string else tf.float32 if spec.dtype.is_floating else tf.int64
    return tf.io.FixedLenFeature(spec.shape.as_list()[1:], dtype)


def _parsing_of_label(record: bytes, label: str) -> tf.io.FixedLenFeature:
    feature = tf.train.Example.FromString(record).features.feature[label]
    kind = feature.WhichOneof("kind") or "float_list"
    size = len(getattr(feature, kind).value)
    dtype = {"int64_list": tf.int64, "float_list": tf.float32, "bytes_list": tf.string}[kind]
    return tf.io.FixedLenFeature([] if size == 1 else [size], dtype)


def _in_words(specs: Specs) -> str:
    return ", ".join(f"{name!r} ({spec.dtype.name}, shape {spec.shape})" for name, spec in specs.items()) or "nothing"
