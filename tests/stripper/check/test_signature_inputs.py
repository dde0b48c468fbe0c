"""The inputs on which signatures are checked."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning.saved_model.saved_objects import SavedObjects
from tfx_pruning.stripper.check.parsed_features import Feature, ParsedFeatures
from tfx_pruning.stripper.check.signature_inputs import record_batches, synthetic_batches, takes_records, vocabulary_of

_NOTHING = ParsedFeatures((), reads_records=False)
_RECORDS = tf.TensorSpec([None], tf.string)
_VOCABULARY = ((b"red", b"green"), (b"blue",))


def _first(specs, parsed=_NOTHING, vocabulary=()):
    """The first try of each batch size."""
    return [next(tries) for tries in synthetic_batches(specs, parsed, vocabulary)]


def test_takes_records_only_with_one_batch_of_strings_that_are_parsed():
    parsed = ParsedFeatures((), reads_records=True)
    assert takes_records({"examples": _RECORDS}, parsed)
    assert not takes_records({"examples": _RECORDS}, _NOTHING)
    assert not takes_records({"examples": tf.TensorSpec([], tf.string)}, parsed)
    assert not takes_records({"examples": tf.TensorSpec([None], tf.int64)}, parsed)
    assert not takes_records({"examples": _RECORDS, "x": tf.TensorSpec([])}, parsed)
    assert not takes_records({}, parsed)


def test_record_batches_are_the_first_record_then_all():
    records = [b"%d" % index for index in range(70)]
    batches = [batch["examples"].numpy().tolist() for batch in record_batches("examples", _RECORDS, records)]
    assert batches == [records[:1], records[:64], records[64:]]


def test_record_batches_of_a_fixed_size_repeat_records_to_fill_the_last():
    spec = tf.TensorSpec([4], tf.string)
    batches = [batch["examples"].numpy().tolist() for batch in record_batches("examples", spec, [b"a", b"b", b"c"] * 2)]
    assert batches == [[b"a", b"b", b"c", b"a"], [b"b", b"c", b"b", b"c"]]


def test_synthetic_batches_have_one_two_and_many_rows():
    specs = {"x": tf.TensorSpec([None, 3]), "y": tf.TensorSpec([None], tf.int32)}
    shapes = [{name: value.shape.as_list() for name, value in inputs.items()} for inputs in _first(specs)]
    assert shapes == [{"x": [rows, 3], "y": [rows]} for rows in (1, 2, 61)]


def test_synthetic_batches_of_fixed_shapes_are_one():
    (inputs,) = _first({"x": tf.TensorSpec([5, 2]), "scale": tf.TensorSpec([])})
    assert {name: value.shape.as_list() for name, value in inputs.items()} == {"x": [5, 2], "scale": []}


def test_synthetic_batches_without_inputs_are_one_call():
    assert _first({}) == [{}]


@pytest.mark.parametrize(
    "dtype",
    [
        *(tf.float16, tf.bfloat16, tf.float32, tf.float64, tf.complex64, tf.complex128, tf.bool),
        *(tf.int8, tf.uint8, tf.int16, tf.uint16, tf.int32, tf.uint32, tf.int64, tf.uint64, tf.string),
    ],
)
def test_synthetic_batches_have_the_spec_dtype_and_vary(dtype):
    inputs = _first({"x": tf.TensorSpec([None, 4], dtype)}, vocabulary=_VOCABULARY)[-1]["x"]
    assert inputs.dtype == dtype
    assert len({repr(each) for each in inputs.numpy().ravel().tolist()}) > 1


def test_synthetic_batches_are_the_same_every_time():
    specs = {"x": tf.TensorSpec([None, None]), "word": tf.TensorSpec([None], tf.string)}
    for first, second in zip(_first(specs, vocabulary=_VOCABULARY), _first(specs, vocabulary=_VOCABULARY), strict=True):
        assert first["x"].numpy().tobytes() == second["x"].numpy().tobytes()
        assert first["word"].numpy().tolist() == second["word"].numpy().tolist()


def test_synthetic_batches_try_smaller_integers_in_turn():
    tries = list(next(synthetic_batches({"token": tf.TensorSpec([60], tf.int64)}, _NOTHING, ())))
    bounds = [int(tf.reduce_max(inputs["token"])) for inputs in tries]
    for largest, bound in zip(bounds, (1000, 100, 10, 2), strict=True):
        assert bound / 2 <= largest < bound


def test_synthetic_batches_try_other_sizes_of_unknown_dimensions_the_same_for_all_inputs():
    specs = {"tokens": tf.TensorSpec([None, None]), "mask": tf.TensorSpec([None, None], tf.bool)}
    tries = list(next(synthetic_batches(specs, _NOTHING, ())))
    assert [(each["tokens"].shape.as_list(), each["mask"].shape.as_list()) for each in tries] == [
        ([1, size], [1, size]) for size in (8, 32, 1)
    ]


def test_synthetic_strings_are_words_then_numbers_then_images():
    tries = next(synthetic_batches({"text": tf.TensorSpec([40], tf.string)}, _NOTHING, _VOCABULARY))
    words, numbers, images = (each["text"].numpy().tolist() for each in tries)
    assert {b"red", b"green", b"blue"} < set(words)
    assert any(word.startswith(b"word ") for word in words)
    assert all(number.isdigit() for number in numbers)
    assert tf.io.decode_image(images[0]).shape == (8, 8, 3)


def test_synthetic_examples_parse_and_reach_every_feature():
    features = (
        Feature("fixed", "dense", tf.float32, (2, 3), required=True),
        Feature("optional", "dense", tf.string),
        Feature("padded", "dense", tf.int64, (None, 2)),
        Feature("ragged", "ragged", tf.float32),
        Feature("sparse", "sparse", tf.string),
    )
    spec = {
        "fixed": tf.io.FixedLenFeature([2, 3], tf.float32),
        "optional": tf.io.FixedLenFeature([], tf.string, ""),
        "padded": tf.io.FixedLenSequenceFeature([2], tf.int64, allow_missing=True),
        "ragged": tf.io.RaggedFeature(tf.float32),
        "sparse": tf.io.VarLenFeature(tf.string),
    }
    parsed = ParsedFeatures(features, reads_records=True)
    single, _, many = _first({"examples": _RECORDS}, parsed, _VOCABULARY)
    assert single["examples"].shape == [1]
    values = tf.io.parse_example(many["examples"], spec)
    assert values["fixed"].shape == [61, 2, 3]
    assert np.std(values["fixed"].numpy()) > 0.5
    assert b"" in values["optional"].numpy()
    assert b"red" in values["optional"].numpy()
    assert values["padded"].shape == [61, 8, 2]
    lengths = values["ragged"].row_lengths().numpy()
    assert set(lengths.tolist()) == set(range(9))
    # One length for all features of an example, as the index and value features of a sparse column must have.
    rows = np.bincount(values["sparse"].indices.numpy()[:, 0], minlength=61)
    assert rows.tolist() == lengths.tolist()


def test_synthetic_examples_come_before_other_strings_and_in_all_sizes():
    parsed = ParsedFeatures((Feature("sparse", "sparse", tf.float32),), reads_records=True)
    tries = next(itertools.islice(synthetic_batches({"examples": _RECORDS}, parsed, ()), 2, None))
    longest = []
    for inputs in itertools.islice(tries, 3):
        examples = [tf.train.Example.FromString(each) for each in inputs["examples"].numpy()]
        longest.append(max(len(each.features.feature["sparse"].float_list.value) for each in examples))
    assert longest[0] == 8
    assert 24 < longest[1] <= 32
    assert longest[2] == 1


def test_vocabulary_is_of_assets_and_of_constants_but_not_of_checkpoints(tmp_path):
    (tmp_path / "words.txt").write_text("ant\nbee\n")
    module = tf.Module()
    module.weight = tf.Variable(1.0, name="weight")
    module.words = tf.lookup.StaticVocabularyTable(
        tf.lookup.TextFileInitializer(
            str(tmp_path / "words.txt"),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        num_oov_buckets=1,
    )
    pairs = tf.lookup.KeyValueTensorInitializer(tf.constant(["cat", "dog"]), tf.constant([1, 2]))
    module.pairs = tf.lookup.StaticHashTable(pairs, -1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="word")])
    def serve(word):
        is_emu = tf.cast(word == "emu", tf.float32)
        return {"word": module.words.lookup(word), "pair": module.pairs.lookup(word), "emu": is_emu * module.weight}

    tf.saved_model.save(module, tmp_path / "model", signatures=serve)
    lines, constants = vocabulary_of(SavedObjects.read(str(tmp_path / "model")))
    assert lines == (b"ant", b"bee")
    assert sorted(constants) == [b"cat", b"dog", b"emu"]
