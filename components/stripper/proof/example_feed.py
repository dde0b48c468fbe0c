"""ExampleFeed: how serialized records become the inputs of a signature."""

import dataclasses
import itertools
from collections.abc import Collection, Mapping, Sequence

import tensorflow as tf

from ..check.signature_inputs import Inputs, Spec, specs_in_words, takes_records
from .served_model import ServedModel


@dataclasses.dataclass(frozen=True)
class ExampleFeed:
    """Makes the inputs of a signature from serialized records.

    Attributes:
        signature: The signature's name.
        specs: Name and spec of each of its inputs.
        whole: Whether its one input takes the records as they are. Otherwise they are tf.Examples, and each input
            takes the feature of its name.
    """

    signature: str
    specs: Mapping[str, Spec]
    whole: bool

    @classmethod
    def choose(cls, model: ServedModel, signature: str, features: Collection[str] | None) -> "ExampleFeed":
        """Decides how a signature is fed.

        A signature whose only input is a batch of strings gets whole records, unless it parses none and the examples
        have a feature of that input's name. Every other signature gets the features that have its inputs' names.

        Args:
            model: The model.
            signature: The signature's name.
            features: Names of the features that the examples have; None if the records are no tf.Examples.

        Raises:
            ValueError: There is no such signature, or the examples do not have its inputs.
        """
        if signature not in model.signatures:
            raise ValueError(
                f"The model at {model.path!r} has no signature {signature!r} to prove on the examples, it has "
                f"{sorted(model.signatures)}. Give Stripper one of these as signature_name, or leave `examples` out."
            )
        specs = model.specs(signature)
        if takes_records(specs, model.parsed(signature)):
            return cls(signature, specs, whole=True)
        held = frozenset(features or ())
        if _is_batch_of_strings(specs) and not held.issuperset(specs):
            return cls(signature, specs, whole=True)
        batch_sizes = {spec.shape[0] for spec in specs.values() if spec.shape.rank}
        if not held.issuperset(specs) or not all(map(_can_be_parsed, specs.values())) or len(batch_sizes) != 1:
            what = "are no tf.Examples" if features is None else f"hold the features {sorted(held)}"
            raise ValueError(
                f"The signature {signature!r} of the model at {model.path!r} takes {specs_in_words(specs)}, which "
                f"cannot be made of the examples: they {what}. Give Stripper examples that hold these inputs as "
                "features of fixed length (of any length for a sparse input), such as Transform's "
                "transformed_examples; or another signature_name; or leave `examples` out."
            )
        return cls(signature, specs, whole=False)

    @property
    def batch_size(self) -> int | None:
        """The number of examples that each batch must have; None for any number."""
        return next(iter(self.specs.values())).shape[0]

    def inputs(self, records: Sequence[bytes]) -> Inputs:
        """Makes the inputs of one batch; if its size is fixed, records are repeated to fill it.

        Args:
            records: Serialized records, at least one and at most `batch_size`.

        Raises:
            tf.errors.OpError: A record is no tf.Example, or a feature is missing or of another type or length.
        """
        if self.batch_size is not None:
            records = list(itertools.islice(itertools.cycle(records), self.batch_size))
        batch = tf.constant(list(records), tf.string, shape=[len(records)])
        if self.whole:
            (name,) = self.specs
            return {name: batch}
        parsed = tf.io.parse_example(batch, {name: _parsing(spec) for name, spec in self.specs.items()})
        return {name: tf.cast(parsed[name], spec.dtype) for name, spec in self.specs.items()}


def _is_batch_of_strings(specs: Mapping[str, Spec]) -> bool:
    if len(specs) != 1:
        return False
    (spec,) = specs.values()
    return isinstance(spec, tf.TensorSpec) and spec.dtype == tf.string and spec.shape.rank == 1


def _can_be_parsed(spec: Spec) -> bool:
    """Whether a feature can be parsed into a shape: at most the first two dimensions (examples, steps) are open."""
    if not spec.shape.rank or spec.dtype.is_complex:
        return False
    if isinstance(spec, tf.SparseTensorSpec):
        return spec.shape.as_list()[1:] == [None]
    return None not in spec.shape.as_list()[2:]


def _parsing(spec: Spec) -> tf.io.FixedLenFeature | tf.io.FixedLenSequenceFeature | tf.io.VarLenFeature:
    # A tf.Example has numbers of two dtypes.
    dtype = spec.dtype if spec.dtype == tf.string else tf.float32 if spec.dtype.is_floating else tf.int64
    if isinstance(spec, tf.SparseTensorSpec):
        return tf.io.VarLenFeature(dtype)
    shape = spec.shape.as_list()[1:]
    if None in shape:
        return tf.io.FixedLenSequenceFeature(shape[1:], dtype, allow_missing=True)
    return tf.io.FixedLenFeature(shape, dtype)
