"""Which tf.Example features are found in a graph."""

import pytest
import tensorflow as tf

from tfx_pruning.saved_model.saved_objects import SavedObjects
from tfx_pruning.stripper.check.parsed_features import Feature, ParsedFeatures, parsed_features

_RECORDS = [tf.TensorSpec([None], tf.string, name="records")]


@pytest.fixture
def find(tmp_path):
    """Saves a function as the only signature and finds what it parses."""

    def found(function, signature=_RECORDS, **attributes):
        module = tf.Module()
        for name, value in attributes.items():
            setattr(module, name, value)
        tf.saved_model.save(module, tmp_path / "model", signatures=tf.function(function, input_signature=signature))
        model = SavedObjects.read(str(tmp_path / "model"))
        return parsed_features(model, model.graph.signatures["serving_default"])

    return found


def _lengths(parsed):
    tensors = tf.nest.flatten(parsed, expand_composites=True)
    return {f"output_{index}": tf.size(tensor) for index, tensor in enumerate(tensors)}


def test_parsed_features_of_every_kind(find):
    spec = {
        "fixed": tf.io.FixedLenFeature([2, 3], tf.float32),
        "optional": tf.io.FixedLenFeature([], tf.string, "none"),
        "optional_vector": tf.io.FixedLenFeature([2], tf.int64, [0, 0]),
        "padded": tf.io.FixedLenSequenceFeature([2], tf.int64, allow_missing=True),
        "ragged": tf.io.RaggedFeature(tf.string),
        "sparse": tf.io.VarLenFeature(tf.int64),
    }
    assert find(lambda records: _lengths(tf.io.parse_example(records, spec))) == ParsedFeatures(
        (
            Feature("fixed", "dense", tf.float32, (2, 3), required=True),
            Feature("optional", "dense", tf.string, ()),
            Feature("optional_vector", "dense", tf.int64, (2,)),
            Feature("padded", "dense", tf.int64, (None, 2)),
            Feature("ragged", "ragged", tf.string),
            Feature("sparse", "sparse", tf.int64),
        ),
        reads_records=True,
    )


def test_parsed_features_inside_functions_branches_and_loops(find):
    @tf.function
    def inner(records, key):
        return _lengths(tf.io.parse_example(records, {key: tf.io.FixedLenFeature([], tf.float32)}))["output_0"]

    def outer(records):
        def body(index, total):
            return index + 1, total + _lengths(tf.io.parse_example(records, {"loop": tf.io.VarLenFeature(tf.int64)}))[
                "output_0"
            ]

        _, looped = tf.while_loop(lambda index, _: index < 2, body, [0, 0])
        branched = tf.cond(
            tf.size(records) > 1,
            lambda: inner(records, "branch"),
            lambda: inner(records, "other"),
        )
        return {"looped": looped, "branched": branched, "direct": inner(records, "call")}

    assert [feature.key for feature in find(outer).features] == ["branch", "call", "loop", "other"]


def test_parsed_features_with_captured_names_and_defaults(find):
    keys = tf.constant(["late", "early"])
    default = tf.constant([], tf.float32)

    def parse(records):
        parsed = tf.raw_ops.ParseExampleV2(
            serialized=records,
            names=[],
            sparse_keys=tf.constant([], tf.string),
            dense_keys=keys,
            ragged_keys=tf.constant([], tf.string),
            dense_defaults=[default, default],
            num_sparse=0,
            sparse_types=[],
            ragged_value_types=[],
            ragged_split_types=[],
            dense_shapes=[[], [4]],
        )
        return {"late": parsed.dense_values[0], "early": parsed.dense_values[1]}

    assert find(parse).features == (
        Feature("early", "dense", tf.float32, (4,), required=True),
        Feature("late", "dense", tf.float32, (), required=True),
    )


def test_parsed_features_of_the_first_version_of_the_operation(find):
    def parse(records):
        parsed = tf.raw_ops.ParseExample(
            serialized=records,
            names=[],
            sparse_keys=["sparse"],
            dense_keys=["dense"],
            dense_defaults=[tf.constant([], tf.int64)],
            sparse_types=[tf.string],
            dense_shapes=[[3]],
        )
        return {"dense": parsed.dense_values[0], "sparse": parsed.sparse_values[0]}

    assert find(parse).features == (
        Feature("dense", "dense", tf.int64, (3,), required=True),
        Feature("sparse", "sparse", tf.string),
    )


def test_parsed_features_read_twice_are_as_strict_as_the_stricter(find):
    def parse(records):
        loose = tf.io.parse_example(records, {"x": tf.io.VarLenFeature(tf.float32)})
        strict = tf.io.parse_example(records, {"x": tf.io.FixedLenFeature([2], tf.float32)})
        return {"loose": loose["x"].values, "strict": strict["x"]}

    assert find(parse).features == (Feature("x", "dense", tf.float32, (2,), required=True),)


def test_parsed_features_of_other_records_are_none_but_known_to_be_read(find):
    def parse(records):
        _, sequences, _ = tf.io.parse_sequence_example(records, sequence_features={"s": tf.io.VarLenFeature(tf.int64)})
        return {"s": sequences["s"].values}

    assert find(parse) == ParsedFeatures((), reads_records=True)


def test_parsed_features_of_a_plain_function_are_none(find):
    parsed = find(lambda x: {"y": x + 1.0}, signature=[tf.TensorSpec([None], name="x")])
    assert parsed == ParsedFeatures((), reads_records=False)


def test_parsed_features_of_a_transform_layer(taxi_model):
    model = SavedObjects.read(str(taxi_model.path))
    for signature in ("serving_default", "transform_features"):
        assert parsed_features(model, model.graph.signatures[signature]).features == (
            Feature("company", "sparse", tf.string),
            Feature("fare", "dense", tf.float32, (), required=True),
            Feature("hour", "sparse", tf.int64),
        )
