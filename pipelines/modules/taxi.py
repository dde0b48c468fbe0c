"""User module of the Chicago taxi pipeline: will a rider tip more than 20 % of the fare?

Nothing in it is about pruning but `warm_start`: Trainer and PruningTrainer take the same file.
"""

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tfx import v1 as tfx
from tfx_bsl.public import tfxio

import tfx_pruning

NUMBERS = ("fare", "trip_miles", "trip_seconds")
COORDINATES = ("pickup_latitude", "pickup_longitude", "dropoff_latitude", "dropoff_longitude")
VOCABULARIES = ("company", "payment_type")
# Whole numbers from 0 to the one given; 0 is a missing community area too.
LARGEST = {
    "dropoff_community_area": 77,
    "pickup_community_area": 77,
    "trip_start_day": 7,
    "trip_start_hour": 23,
    "trip_start_month": 12,
}
LABEL = "tips"
LABEL_XF = "tips_xf"

TIP_FRACTION = 0.2
BUCKETS = 10
OUT_OF_VOCABULARY = 1
HIDDEN_UNITS = (384, 128)
DROPOUT = 0.5
BATCH_SIZE = 256
LEARNING_RATE = 1e-3
SEED = 20


def preprocessing_fn(inputs: dict[str, tf.SparseTensor]) -> dict[str, tf.Tensor]:
    """Transforms raw taxi trips, for tf.Transform.

    Args:
        inputs: Raw columns, each of shape [batch, 0 or 1].

    Returns:
        Columns of shape [batch, 1], named `..._xf`: numbers as float32 z-scores, coordinates as int64 quantile buckets,
        texts as int64 indices into vocabularies, small whole numbers as they are, and the label, int64 0 or 1.
    """
    outputs = {}
    for key in NUMBERS:
        outputs[_transformed(key)] = tft.scale_to_z_score(_dense(inputs[key]))
    for key in COORDINATES:
        outputs[_transformed(key)] = tft.bucketize(_dense(inputs[key]), BUCKETS)
    for key in VOCABULARIES:
        outputs[_transformed(key)] = tft.compute_and_apply_vocabulary(
            _dense(inputs[key]), num_oov_buckets=OUT_OF_VOCABULARY, vocab_filename=key
        )
    for key, largest in LARGEST.items():
        outputs[_transformed(key)] = tf.clip_by_value(_dense(inputs[key]), 0, largest)
    outputs[LABEL_XF] = tf.cast(_dense(inputs[LABEL]) > TIP_FRACTION * _dense(inputs["fare"]), tf.int64)
    return outputs


def run_fn(fn_args: tfx.components.FnArgs) -> None:
    """Trains the model and saves it, for Trainer and PruningTrainer.

    Args:
        fn_args: Files, steps and directories, as TFX passes them.
    """
    keras.utils.set_random_seed(SEED)
    transform = tft.TFTransformOutput(fn_args.transform_output)
    model = _model(transform)
    tfx_pruning.warm_start(model, fn_args)
    model.fit(
        _dataset(fn_args.train_files, fn_args, transform),
        steps_per_epoch=fn_args.train_steps,
        validation_data=_dataset(fn_args.eval_files, fn_args, transform),
        validation_steps=fn_args.eval_steps,
        callbacks=[keras.callbacks.TensorBoard(fn_args.model_run_dir)],
        verbose=2,
    )
    tf.saved_model.save(model, fn_args.serving_model_dir, signatures=_signatures(model, transform))


def _transformed(key: str) -> str:
    return f"{key}_xf"


def _dense(column: tf.SparseTensor) -> tf.Tensor:
    """The column as [batch, 1], '' or 0 where a value is missing."""
    missing = "" if column.dtype == tf.string else 0
    shape = [column.dense_shape[0], 1]
    return tf.sparse.to_dense(tf.SparseTensor(column.indices, column.values, shape), missing)


def _model(transform: tft.TFTransformOutput) -> keras.Model:
    tokens = dict.fromkeys(COORDINATES, BUCKETS)
    tokens |= {key: transform.vocabulary_size_by_name(key) + OUT_OF_VOCABULARY for key in VOCABULARIES}
    tokens |= {key: largest + 1 for key, largest in LARGEST.items()}
    inputs, features = {}, []
    for key in NUMBERS:
        inputs[_transformed(key)] = keras.Input((1,), name=_transformed(key), dtype="float32")
        features.append(inputs[_transformed(key)])
    for key, count in tokens.items():
        inputs[_transformed(key)] = keras.Input((1,), name=_transformed(key), dtype="int64")
        features.append(keras.layers.CategoryEncoding(count, output_mode="one_hot")(inputs[_transformed(key)]))
    hidden = keras.layers.Concatenate()(features)
    for units in HIDDEN_UNITS:
        hidden = keras.layers.Dropout(DROPOUT)(keras.layers.Dense(units, activation="relu")(hidden))
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))
    model.compile(keras.optimizers.Adam(LEARNING_RATE), loss="binary_crossentropy", metrics=["accuracy"])
    return model


def _dataset(files: list[str], fn_args: tfx.components.FnArgs, transform: tft.TFTransformOutput) -> tf.data.Dataset:
    """Batches of (features, label), over and over."""
    options = tfxio.TensorFlowDatasetOptions(batch_size=BATCH_SIZE, label_key=LABEL_XF, shuffle_seed=SEED)
    return fn_args.data_accessor.tf_dataset_factory(files, options, transform.transformed_metadata.schema).repeat()


def _signatures(model: keras.Model, transform: tft.TFTransformOutput) -> dict[str, tf.types.experimental.Callable]:
    """Signatures over serialized raw examples: `serving_default` to serve, `transform_features` for the Evaluator."""
    # On the model, so that the vocabularies are saved with it.
    model.transform_layer = transform.transform_features_layer()
    with_label = transform.raw_feature_spec()
    without_label = {key: spec for key, spec in with_label.items() if key != LABEL}
    serialized = [tf.TensorSpec([None], tf.string, name="examples")]

    @tf.function(input_signature=serialized)
    def serving_default(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"outputs": model(model.transform_layer(tf.io.parse_example(examples, without_label)))}

    @tf.function(input_signature=serialized)
    def transform_features(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return model.transform_layer(tf.io.parse_example(examples, with_label))

    return {"serving_default": serving_default, "transform_features": transform_features}
