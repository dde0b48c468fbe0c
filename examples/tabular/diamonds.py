"""Prices of diamonds from their size, cut, color and clarity. Trainer and PruningTrainer run this file.

TFX calls `preprocessing_fn` in Transform and `run_fn` in the trainers. The label, `price`, is a column of the data.
"""

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tfx import v1 as tfx
from tfx_bsl.public import tfxio

import tfx_pruning

NUMBERS = ("carat", "depth", "table", "x", "y", "z")
TEXTS = ("cut", "color", "clarity")
LABEL = "price"
BATCH_SIZE = 64


def preprocessing_fn(inputs):
    """Scales numbers, and turns texts into their places in a vocabulary."""
    outputs = {name: tft.scale_to_z_score(_dense(inputs[name], 0.0)) for name in NUMBERS}
    for name in TEXTS:
        outputs[name] = tft.compute_and_apply_vocabulary(
            _dense(inputs[name], ""), num_oov_buckets=1, vocab_filename=name
        )
    outputs[LABEL] = tf.cast(_dense(inputs[LABEL], 0), tf.float32)
    return outputs


def run_fn(fn_args: tfx.components.FnArgs):
    """Trains the model and saves it."""
    keras.utils.set_random_seed(0)
    transform = tft.TFTransformOutput(fn_args.transform_output)
    model = build_model({name: transform.vocabulary_size_by_name(name) + 1 for name in TEXTS})
    model.compile(keras.optimizers.Adam(0.003), "mean_absolute_error")
    tfx_pruning.warm_start(model, fn_args)  # starts from base_model, where there is one
    model.fit(
        dataset(fn_args.train_files, fn_args, transform),
        steps_per_epoch=fn_args.train_steps,
        validation_data=dataset(fn_args.eval_files, fn_args, transform),
        validation_steps=fn_args.eval_steps,
        verbose=2,
    )
    tf.saved_model.save(model, fn_args.serving_model_dir, signatures=signatures(model, transform))


def build_model(vocabularies):
    """A model that takes the transformed features, each of shape [batch, 1], and answers prices in dollars."""
    inputs = {name: keras.Input((1,), name=name) for name in NUMBERS}
    features = list(inputs.values())
    for name, size in vocabularies.items():
        inputs[name] = keras.Input((1,), name=name, dtype="int64")
        features.append(keras.layers.CategoryEncoding(size, output_mode="one_hot")(inputs[name]))
    hidden = keras.layers.Concatenate()(features)
    for units in (256, 128):
        hidden = keras.layers.Dense(units, activation="relu")(hidden)
    thousands = keras.layers.Dense(1, name="head")(hidden)
    return keras.Model(inputs, keras.layers.Rescaling(1000.0)(thousands))


def signatures(model, transform):
    """`serving_default` answers raw examples; `score` answers numbers, for TFLite, which cannot parse examples."""
    model.transform_layer = transform.transform_features_layer()  # on the model, so that its vocabularies are saved
    raw = {name: spec for name, spec in transform.raw_feature_spec().items() if name != LABEL}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples):
        return {"price": model(model.transform_layer(tf.io.parse_example(examples, raw)))}

    score = tf.function(lambda **features: {"price": model(features)})
    specs = {name: tf.TensorSpec([None, 1], tf.float32, name=name) for name in NUMBERS}
    specs |= {name: tf.TensorSpec([None, 1], tf.int64, name=name) for name in TEXTS}
    return {"serving_default": serve, "score": score.get_concrete_function(**specs)}


def dataset(files, fn_args, transform):
    """Batches of (features, label), over and over."""
    options = tfxio.TensorFlowDatasetOptions(batch_size=BATCH_SIZE, label_key=LABEL, shuffle_seed=0)
    return fn_args.data_accessor.tf_dataset_factory(files, options, transform.transformed_metadata.schema).repeat()


def _dense(column, missing):
    """The column as [batch, 1], whether TFX gives it as sparse or as dense."""
    if not isinstance(column, tf.SparseTensor):
        return column
    shape = [column.dense_shape[0], 1]
    return tf.sparse.to_dense(tf.SparseTensor(column.indices, column.values, shape), missing)
