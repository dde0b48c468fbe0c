"""ExampleFeed: what a signature is given."""

import numpy as np
import pytest
import tensorflow as tf

from helpers.record_files import example
from tfx_pruning.stripper.proof.example_feed import ExampleFeed
from tfx_pruning.stripper.proof.served_model import ServedModel

_RECORDS = tf.TensorSpec([None], tf.string, name="examples")


@pytest.fixture
def choose(tmp_path):
    """The feed of a model with one signature, 'f', that takes tensors of some specs."""

    def chosen(function, specs, features, signature="f"):
        path = str(tmp_path / "model")
        tf.saved_model.save(tf.Module(), path, signatures={"f": tf.function(function, input_signature=specs)})
        return ExampleFeed.choose(ServedModel.read(path), signature, features)

    return chosen


def _parse(examples):
    return tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([], tf.float32)})


def test_signature_that_parses_gets_whole_records(choose):
    # Even if there is a feature of its input's name.
    feed = choose(_parse, [_RECORDS], {"x", "examples"})
    assert feed.whole
    inputs = feed.inputs([b"one", b"two"])
    assert list(inputs) == ["examples"]
    assert inputs["examples"].numpy().tolist() == [b"one", b"two"]


@pytest.mark.parametrize("features", [None, frozenset({"x"})], ids=["no tf.Examples", "other features"])
def test_signature_of_strings_gets_whole_records_if_no_feature_has_its_name(choose, features):
    assert choose(lambda examples: {"y": tf.strings.length(examples)}, [_RECORDS], features).whole


def test_signature_of_strings_gets_the_feature_of_its_name(choose):
    feed = choose(lambda word: {"y": word}, [tf.TensorSpec([None], tf.string, name="word")], {"word", "x"})
    assert not feed.whole
    assert feed.inputs([example(word=[b"a"], x=[1.0])])["word"].numpy().tolist() == [b"a"]


def test_features_get_the_dtypes_and_shapes_of_the_inputs(choose):
    def f(half, flag, small, pair, steps):
        return {"y": half, "flag": flag, "small": small, "pair": pair, "steps": steps}

    specs = [
        tf.TensorSpec([None], tf.float16, name="half"),
        tf.TensorSpec([None, 1], tf.bool, name="flag"),
        tf.TensorSpec([None], tf.int32, name="small"),
        tf.TensorSpec([None, 1, 2], tf.float32, name="pair"),
        tf.TensorSpec([None, None], tf.int64, name="steps"),
    ]
    feed = choose(f, specs, {spec.name for spec in specs} | {"label"})
    records = [
        example(half=[0.5], flag=[1], small=[7], pair=[1.0, 2.0], steps=[1, 2, 3]),
        example(half=[1.5], flag=[0], small=[8], pair=[3.0, 4.0], steps=[4]),
    ]
    inputs = feed.inputs(records)
    assert {name: value.dtype for name, value in inputs.items()} == {spec.name: spec.dtype for spec in specs}
    expected = {
        "half": [0.5, 1.5],
        "flag": [[True], [False]],
        "small": [7, 8],
        "pair": [[[1.0, 2.0]], [[3.0, 4.0]]],
        "steps": [[1, 2, 3], [4, 0, 0]],
    }
    assert {name: value.numpy().tolist() for name, value in inputs.items()} == expected


def test_fixed_batch_is_filled_with_repetitions(choose):
    feed = choose(lambda x: {"y": x}, [tf.TensorSpec([5, 1], name="x")], {"x"})
    assert feed.batch_size == 5
    inputs = feed.inputs([example(x=[1.0]), example(x=[2.0])])
    np.testing.assert_array_equal(inputs["x"], [[1.0], [2.0], [1.0], [2.0], [1.0]])


@pytest.mark.parametrize(
    ("specs", "features", "held"),
    [
        ([tf.TensorSpec([None], name="x")], {"z", "a"}, r"they hold the features \['a', 'z'\]"),
        ([tf.TensorSpec([None], name="x")], None, "they are no tf.Examples"),
        ([_RECORDS, tf.TensorSpec([None], name="x")], {"x"}, r"they hold the features \['x'\]"),
        ([tf.TensorSpec([], name="x")], {"x"}, "cannot be made"),
        ([tf.TensorSpec(None, name="x")], {"x"}, "cannot be made"),
        ([tf.TensorSpec([None, 2, None], name="x")], {"x"}, "cannot be made"),
        ([tf.TensorSpec([None], tf.complex64, name="x")], {"x"}, "cannot be made"),
        ([tf.TensorSpec([4], name="x"), tf.TensorSpec([None], name="z")], {"x", "z"}, "cannot be made"),
    ],
    ids=["missing", "other payload", "missing string", "scalar", "rank", "open inner", "complex", "batch sizes"],
)
def test_signature_that_takes_something_else_is_refused_at_once(choose, specs, features, held):
    def f(*inputs):
        return {f"y{number}": each for number, each in enumerate(inputs)}

    with pytest.raises(ValueError, match=rf"signature 'f' of the model at .* takes .*{held}") as error:
        choose(f, specs, features)
    for spec in specs:
        assert f"'{spec.name}' ({spec.dtype.name}, shape {spec.shape})" in str(error.value)
    assert "transformed_examples" in str(error.value)


def test_signature_that_is_not_there_is_refused(choose):
    with pytest.raises(ValueError, match=r"no signature 'serving_default' to prove on the examples, it has \['f'\]"):
        choose(_parse, [_RECORDS], {"x"}, signature="serving_default")


def test_examples_without_a_feature_are_refused_by_name(choose):
    feed = choose(lambda x: {"y": x}, [tf.TensorSpec([None], name="x")], {"x"})
    with pytest.raises(tf.errors.InvalidArgumentError, match="x"):
        feed.inputs([example(z=[1.0])])
