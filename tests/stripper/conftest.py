"""Models for the tests of Stripper, saved as PruningTrainer and user code save them."""

import dataclasses
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_transform import beam as tft_beam
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils


def _attach_state(weight):
    """Hangs pruning state from a keras.Variable or tf.Variable, as the engine does."""
    name = getattr(weight, "path", None) or weight.name.partition(":")[0]
    state = tf.Module()
    for kind in ("mask", "gradient", "old_weight", "old_old_weight"):
        setattr(state, kind, tf.Variable(tf.ones(weight.shape), name=f"{name}/pruning/{kind}", trainable=False))
    state.threshold = tf.Variable(0.0, name=f"{name}/pruning/threshold", trainable=False)
    weight._track_trackable(state, "pruning")
    return state


def _attach_model_state(model):
    state = tf.Module()
    state.last_mask_update_step = tf.Variable(40, name="pruning/last_mask_update_step", trainable=False, dtype=tf.int64)
    model._track_trackable(state, "pruning")


@pytest.fixture(scope="session")
def attach_state():
    return _attach_state


@pytest.fixture(scope="session")
def read_meta_graph():
    def read(path) -> meta_graph_pb2.MetaGraphDef:
        saved_model = saved_model_pb2.SavedModel()
        saved_model.ParseFromString((pathlib.Path(path) / "saved_model.pb").read_bytes())
        (meta_graph,) = saved_model.meta_graphs
        return meta_graph

    return read


@pytest.fixture(scope="session")
def variable_keys():
    """The keys of the variables in a SavedModel's checkpoint, read without the code under test."""

    def keys(path) -> list[str]:
        suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
        listed = tf.train.list_variables(str(pathlib.Path(path) / "variables" / "variables"))
        return sorted(name.removesuffix(suffix) for name, _ in listed if name.endswith(suffix))

    return keys


@pytest.fixture(scope="session")
def snapshot():
    """Every file under a folder with its bytes."""

    def take(path) -> dict[str, bytes]:
        root = pathlib.Path(path)
        return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}

    return take


@pytest.fixture(scope="session")
def dense_model(tmp_path_factory) -> pathlib.Path:
    """A functional Keras model, fitted with Adam, two pruned kernels, saved with one signature, 'serving_default'."""
    keras.utils.set_random_seed(7)
    inputs = keras.Input((4,), name="x")
    hidden = keras.layers.Dense(8, activation="silu", name="hidden")(inputs)
    hidden = keras.layers.Dropout(0.5, seed=3)(keras.layers.BatchNormalization(name="norm")(hidden))
    model = keras.Model(inputs, keras.layers.Dense(1, name="score")(hidden))
    model.compile("adam", "mse", metrics=["mae"])
    random = np.random.default_rng(7)
    model.fit(random.random((32, 4)), random.random((32, 1)), verbose=0)
    for layer in ("hidden", "score"):
        _attach_state(model.get_layer(layer).kernel)
    _attach_model_state(model)

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def serve(x):
        return {"score": model(x, training=False)}

    path = tmp_path_factory.mktemp("dense") / "model"
    tf.saved_model.save(model, path, signatures={"serving_default": serve})
    extra = path / "assets.extra"
    extra.mkdir()
    (extra / "tf_serving_warmup_requests").write_bytes(b"warm up")
    return path


@dataclasses.dataclass(frozen=True)
class TaxiModel:
    """A model with a Transform layer, and raw examples of the kind that it parses."""

    path: pathlib.Path
    examples: list[bytes]


_RAW_SPEC = {
    "fare": tf.io.FixedLenFeature([], tf.float32),
    "company": tf.io.VarLenFeature(tf.string),
    "hour": tf.io.VarLenFeature(tf.int64),
}
_ROWS = [
    {"fare": 4.5, "company": ["Flash Cab"], "hour": [3]},
    {"fare": 12.25, "company": ["Blue Ribbon"], "hour": [23]},
    {"fare": 7.0, "company": [], "hour": [12]},
    {"fare": 31.75, "company": ["Flash Cab"], "hour": []},
]


def _filled(sparse, default):
    # As the taxi example does: at most one value an example, or the model refuses the batch.
    column = tf.SparseTensor(sparse.indices, sparse.values, [sparse.dense_shape[0], 1])
    return tf.squeeze(tf.sparse.to_dense(column, default), axis=1)


def _preprocess(inputs):
    return {
        "fare_xf": tft.scale_to_z_score(inputs["fare"]),
        "company_xf": tft.compute_and_apply_vocabulary(
            _filled(inputs["company"], ""), vocab_filename="company", num_oov_buckets=2
        ),
        "hour_xf": tft.bucketize(_filled(inputs["hour"], 0), 3),
    }


def _serialized(row) -> bytes:
    example = tf.train.Example()
    example.features.feature["fare"].float_list.value.append(row["fare"])
    example.features.feature["company"].bytes_list.value.extend(each.encode() for each in row["company"])
    example.features.feature["hour"].int64_list.value.extend(row["hour"])
    return example.SerializeToString(deterministic=True)


@pytest.fixture(scope="session")
def transform_output(tmp_path_factory) -> tft.TFTransformOutput:
    """A real Transform graph with a z-score, a vocabulary and quantile buckets."""
    folder = tmp_path_factory.mktemp("transform")
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(_RAW_SPEC))
    with tft_beam.Context(temp_dir=str(folder / "temp")):
        _, transform_fn = (_ROWS, metadata) | tft_beam.AnalyzeAndTransformDataset(_preprocess)
        _ = transform_fn | tft_beam.WriteTransformFn(str(folder / "graph"))
    return tft.TFTransformOutput(str(folder / "graph"))


@pytest.fixture(scope="session")
def taxi_model(tmp_path_factory, transform_output) -> TaxiModel:
    """A Keras model with signatures as TFX's taxi example saves them, pruned."""
    keras.utils.set_random_seed(11)
    fare = keras.Input((1,), name="fare_xf")
    company = keras.Input((1,), name="company_xf", dtype="int64")
    hour = keras.Input((1,), name="hour_xf", dtype="int64")
    wide = keras.layers.Concatenate()(
        [
            fare,
            keras.layers.Flatten()(keras.layers.Embedding(5, 3, name="company")(company)),
            keras.layers.CategoryEncoding(3)(hour),
        ]
    )
    hidden = keras.layers.Dense(16, activation="relu", name="hidden")(wide)
    model = keras.Model([fare, company, hour], keras.layers.Dense(1, activation="sigmoid", name="tip")(hidden))
    model.compile("adam", "binary_crossentropy")
    model.fit(
        {"fare_xf": np.zeros((4, 1)), "company_xf": np.arange(4)[:, None], "hour_xf": np.zeros((4, 1), np.int64)},
        np.array([0.0, 1.0, 1.0, 0.0]),
        verbose=0,
    )
    for layer in ("hidden", "tip"):
        _attach_state(model.get_layer(layer).kernel)
    _attach_model_state(model)
    model.tft_layer_inference = transform_output.transform_features_layer()
    model.tft_layer_eval = transform_output.transform_features_layer()
    examples = tf.TensorSpec([None], tf.string, name="examples")

    def transformed(layer, serialized):
        features = layer(tf.io.parse_example(serialized, _RAW_SPEC))
        return {name: tf.expand_dims(value, 1) for name, value in features.items()}

    @tf.function(input_signature=[examples])
    def serve_tf_examples_fn(serialized):
        return {"outputs": model(transformed(model.tft_layer_inference, serialized))}

    @tf.function(input_signature=[examples])
    def transform_features_fn(serialized):
        return transformed(model.tft_layer_eval, serialized)

    path = tmp_path_factory.mktemp("taxi") / "model"
    signatures = {"serving_default": serve_tf_examples_fn, "transform_features": transform_features_fn}
    tf.saved_model.save(model, path, signatures=signatures)
    return TaxiModel(path, [_serialized(row) for row in _ROWS])


@pytest.fixture
def small_model(tmp_path):
    """A tf.Module with a used and an unused variable and a pruning state, saved with one signature, 'double'."""
    module = tf.Module()
    module.weight = tf.Variable([1.0, 0.0, -2.0], name="weight")
    module.unused = tf.Variable(3.0, name="unused")

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def double(x):
        return {"y": x * module.weight}

    path = tmp_path / "source"
    tf.saved_model.save(module, path, signatures={"double": double})
    return path
