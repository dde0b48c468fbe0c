"""Inputs on which a signature is checked: real records, and inputs drawn as the model's graph describes them."""

import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import node_def_pb2

from ...saved_model.saved_objects import SavedObjects
from .composite_inputs import Composite, composites
from .parsed_features import Feature, ParsedFeatures

Spec = tf.TensorSpec | tf.SparseTensorSpec
Inputs = dict[str, tf.Tensor | tf.SparseTensor]
Vocabulary = tuple[tuple[bytes, ...], ...]

_SEED = 20210621
_BATCH_SIZES = (1, 2, 61)
RECORDS_PER_BATCH = 64
# Tried in this order until the model takes the input.
_SIZES = (8, 32, 1)
_INTEGER_BOUNDS = (1000, 100, 10, 2)
_MAX_SIZE = 4096  # of an open dimension, except of a SparseTensor, which holds few values
_MAX_VOCABULARY = 4096
_MAX_WORD_BYTES = 64
_MAX_ASSET_BYTES = 1 << 20
_NO_VALUE = 0.125  # the fraction of examples without a given optional feature, or without features of varying length
_CHECKPOINT_OPS = ("SaveV2", "RestoreV2")


@dataclasses.dataclass(frozen=True)
class _Recipe:
    """How one input is drawn.

    Attributes:
        batch_size: The size of the first dimension, where it is unknown.
        size: The size of every other unknown dimension, and the most values of a feature of varying length.
        integer_bound: Integers are drawn from [0, integer_bound).
        text: What strings hold: 'example', 'word', 'number' or 'image'.
    """

    batch_size: int
    size: int
    integer_bound: int
    text: str


def takes_records(specs: Mapping[str, Spec], parsed: ParsedFeatures) -> bool:
    """Whether a signature's only input is a batch of serialized records, which its functions parse."""
    if len(specs) != 1 or not parsed.reads_records:
        return False
    (spec,) = specs.values()
    return isinstance(spec, tf.TensorSpec) and spec.dtype == tf.string and spec.shape.rank == 1


def specs_in_words(specs: Mapping[str, Spec]) -> str:
    """The inputs of a signature, for a message."""
    return (
        ", ".join(f"{name!r} ({spec.dtype.name}, shape {spec.shape})" for name, spec in sorted(specs.items())) or "()"
    )


def record_batches(name: str, spec: tf.TensorSpec, records: Sequence[bytes]) -> Iterator[Inputs]:
    """Yields inputs made of real records: a batch of one, then all of them in larger batches.

    Args:
        name: Name of the signature's input.
        spec: Its spec, strings of rank 1.
        records: Serialized records, at least one.

    Yields:
        Inputs. If the batch size is fixed, records are repeated to fill the last batch.
    """
    fixed = spec.shape[0]
    if fixed is None:
        yield {name: tf.constant([records[0]])}
    step = fixed or RECORDS_PER_BATCH
    for start in range(0, len(records), step):
        batch = list(records[start : start + step])
        if fixed is not None:
            batch = list(itertools.islice(itertools.cycle(batch), fixed))
        yield {name: tf.constant(batch, shape=[len(batch)])}


def synthetic_batches(
    specs: Mapping[str, Spec], parsed: ParsedFeatures, vocabulary: Vocabulary
) -> Iterator[Iterator[Inputs]]:
    """Yields, for each of several batch sizes, inputs to be tried in turn until the model takes one.

    The inputs are the same in every run. Floats are normal. Integers are uniform from zero to a bound that falls from
    try to try, as an embedding refuses ids out of range. Strings are tf.Examples with the parsed features if there are
    any, then words from `vocabulary` and others, then decimal numbers, then PNG images. Inputs that look
    like the parts of one SparseTensor or RaggedTensor are first drawn so that they fit each other, then one by one.

    Args:
        specs: Name and spec of each of the signature's inputs.
        parsed: What the signature's functions parse.
        vocabulary: Words that the model may know, in parts that are drawn from equally often.

    Yields:
        For each batch size an iterator over inputs; only one if no input has an unknown first dimension.
    """
    open_batch = any(spec.shape.rank is None or (spec.shape.rank and spec.shape[0] is None) for spec in specs.values())
    for batch_size in _BATCH_SIZES if open_batch else _BATCH_SIZES[:1]:
        recipes = [
            _Recipe(batch_size, size, bound, text)
            for text in _texts(specs, parsed)
            for bound in (_INTEGER_BOUNDS if _has_integers(specs, parsed, text) else _INTEGER_BOUNDS[:1])
            for size in (
                dict.fromkeys((*_SIZES, *parsed.sizes)) if _has_open_sizes(specs, parsed, text) else _SIZES[:1]
            )
        ]
        # Parts of one tensor are drawn together first. Inputs may have such names and not be parts of one.
        together = dict.fromkeys([composites(specs), composites(specs, most_splits=1), ()])
        yield (
            _draw(specs, parsed, vocabulary, recipe, parts)
            for parts in together
            for recipe in recipes
            if parts or recipe.size <= _MAX_SIZE
        )


def vocabulary_of(model: SavedObjects) -> Vocabulary:
    """Words that a model may know. They reach more of it than random ones.

    Returns:
        The lines of its assets, and the string constants of its functions, those that fill its tables included: at most
        4096 words of each, without repeats, in an order that does not change.
    """
    captured = {model.graph.constant_operation(node) for node in model.graph.kept}
    nodes = [node for name, node in model.library.main.items() if name in captured]
    for function in model.library.functions.values():
        if not any(node.op in _CHECKPOINT_OPS for node in function.node_def):
            nodes.extend(function.node_def)
    files = [os.path.join(model.folder, "assets", asset.filename) for asset in model.meta_graph.asset_file_def]
    return vocabulary_in(files, nodes)


def vocabulary_in(files: Iterable[str], nodes: Iterable[node_def_pb2.NodeDef]) -> Vocabulary:
    """The lines of files, and the string constants among nodes, as `vocabulary_of` gives them."""
    lines: list[bytes] = []
    for file in files:
        with tf.io.gfile.GFile(file, "rb") as stream:
            lines.extend(stream.read(_MAX_ASSET_BYTES).splitlines())
    constants = [
        word
        for node in nodes
        if node.op == "Const" and node.attr["dtype"].type == tf.string.as_datatype_enum
        for word in node.attr["value"].tensor.string_val
    ]
    return tuple(words for words in (_short_words(lines), _short_words(constants)) if words)


def _short_words(words: Iterable[bytes]) -> tuple[bytes, ...]:
    return tuple(word for word in dict.fromkeys(words) if 0 < len(word) <= _MAX_WORD_BYTES)[:_MAX_VOCABULARY]


def _texts(specs: Mapping[str, Spec], parsed: ParsedFeatures) -> tuple[str, ...]:
    if all(spec.dtype != tf.string for spec in specs.values()):
        return ("word",)
    return ("example",) * bool(parsed.features) + ("word", "number", "image")


def _has_integers(specs: Mapping[str, Spec], parsed: ParsedFeatures, text: str) -> bool:
    dtypes = [spec.dtype for spec in specs.values()]
    if text == "example":
        dtypes += [feature.dtype for feature in parsed.features]
    return any(dtype.is_integer for dtype in dtypes)


def _has_open_sizes(specs: Mapping[str, Spec], parsed: ParsedFeatures, text: str) -> bool:
    if text == "example" and any(each.layout != "dense" or None in each.shape for each in parsed.features):
        return True
    if composites(specs):
        return True
    return any(spec.shape.rank is None or None in spec.shape.as_list()[1:] for spec in specs.values())


def _draw(
    specs: Mapping[str, Spec],
    parsed: ParsedFeatures,
    vocabulary: Vocabulary,
    recipe: _Recipe,
    together: Sequence[Composite],
) -> Inputs:
    random = np.random.default_rng(_SEED)

    def draw(name: str, count: int) -> tf.Tensor:
        return _tensor(specs[name], parsed, vocabulary, dataclasses.replace(recipe, batch_size=count), random)

    inputs: Inputs = {}
    for parts in together:
        inputs.update(parts.drawn(recipe.batch_size, recipe.size, random, draw))
    for name in sorted(specs.keys() - inputs.keys()):
        inputs[name] = _value(specs[name], parsed, vocabulary, recipe, random)
    return inputs


def _value(
    spec: Spec, parsed: ParsedFeatures, vocabulary: Vocabulary, recipe: _Recipe, random: np.random.Generator
) -> tf.Tensor | tf.SparseTensor:
    tensor = _tensor(spec, parsed, vocabulary, recipe, random)
    if isinstance(spec, tf.TensorSpec):
        return tensor
    indices = np.argwhere(random.random(tensor.shape) >= _NO_VALUE)
    return tf.SparseTensor(indices, tf.gather_nd(tensor, indices), tf.shape(tensor, tf.int64))


def _tensor(
    spec: Spec,
    parsed: ParsedFeatures,
    vocabulary: Vocabulary,
    recipe: _Recipe,
    random: np.random.Generator,
) -> tf.Tensor:
    dimensions = [None, None] if spec.shape.rank is None else spec.shape.as_list()
    first = [recipe.batch_size if dimensions[0] is None else dimensions[0]] if dimensions else []
    shape = first + [recipe.size if each is None else each for each in dimensions[1:]]
    count = int(np.prod(shape))
    if spec.dtype == tf.string:
        values = _strings(count, parsed.features, vocabulary, recipe, random)
        return tf.reshape(tf.constant(values, tf.string, shape=[count]), shape)
    if spec.dtype == tf.bool:
        return tf.constant(random.integers(0, 2, shape).astype(bool))
    if spec.dtype.is_integer:
        return tf.constant(random.integers(0, min(recipe.integer_bound, spec.dtype.max), shape), spec.dtype)
    if spec.dtype.is_complex:
        return tf.cast(tf.complex(random.standard_normal(shape), random.standard_normal(shape)), spec.dtype)
    return tf.cast(tf.constant(random.standard_normal(shape)), spec.dtype)


def _strings(
    count: int,
    features: Sequence[Feature],
    vocabulary: Vocabulary,
    recipe: _Recipe,
    random: np.random.Generator,
) -> list[bytes]:
    if recipe.text == "example":
        return [_example(features, vocabulary, recipe, random) for _ in range(count)]
    if recipe.text == "image":
        pixels = random.integers(0, 256, (count, recipe.size, recipe.size, 3)).astype(np.uint8)
        return [tf.io.encode_png(each).numpy() for each in pixels]
    if recipe.text == "number":
        return [str(number).encode() for number in random.integers(0, recipe.integer_bound, count)]
    return _words(count, vocabulary, random)


def _words(count: int, vocabulary: Vocabulary, random: np.random.Generator) -> list[bytes]:
    """Words from each part of the vocabulary, and as many that are most likely not in it."""
    parts = random.integers(0, len(vocabulary) + 1, count)
    numbers = random.integers(0, 1 << 30, count)
    return [
        vocabulary[part][number % len(vocabulary[part])] if part < len(vocabulary) else b"word %d" % number
        for part, number in zip(parts, numbers, strict=True)
    ]


def _example(
    features: Sequence[Feature], vocabulary: Vocabulary, recipe: _Recipe, random: np.random.Generator
) -> bytes:
    """A serialized tf.Example. All features of varying length get the same length, as sparse columns need."""
    example = tf.train.Example()
    length = 0 if random.random() < _NO_VALUE else int(random.integers(1, recipe.size + 1))
    for feature in features:
        if feature.layout == "dense":
            if not feature.required and None not in feature.shape and random.random() < _NO_VALUE:
                continue
            count = int(np.prod([length if each is None else each for each in feature.shape]))
        else:
            count = length
        value = example.features.feature[feature.key]
        if feature.dtype == tf.string:
            value.bytes_list.value.extend(_words(count, vocabulary, random))
        elif feature.dtype == tf.int64:
            value.int64_list.value.extend(random.integers(0, recipe.integer_bound, count).tolist())
        else:
            value.float_list.value.extend(random.standard_normal(count).tolist())
    return example.SerializeToString(deterministic=True)
