"""A user's module: prices of houses. The label is in the raw examples, and the model has one signature."""

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tfx import v1 as tfx
from tfx_bsl.public import tfxio

import tfx_pruning

NUMBERS = ("area", "rooms", "age")
LABEL = "price"


def preprocessing_fn(inputs):
    outputs = {name: tft.scale_to_z_score(_dense(inputs[name])) for name in NUMBERS}
    return outputs | {LABEL: _dense(inputs[LABEL])}


def run_fn(fn_args: tfx.components.FnArgs):
    keras.utils.set_random_seed(3)
    transform = tft.TFTransformOutput(fn_args.transform_output)
    inputs = {name: keras.Input((1,), name=name) for name in NUMBERS}
    hidden = keras.layers.Concatenate()(list(inputs.values()))
    for name in ("first", "second"):
        hidden = keras.layers.Dense(40, activation="relu", name=name)(hidden)
    model = keras.Model(inputs, keras.layers.Dense(1, name="head")(hidden))
    model.compile(keras.optimizers.Adam(0.01), "mean_squared_error")
    tfx_pruning.warm_start(model, fn_args)
    model.fit(
        _dataset(fn_args.train_files, fn_args, transform),
        steps_per_epoch=fn_args.train_steps,
        validation_data=_dataset(fn_args.eval_files, fn_args, transform),
        validation_steps=fn_args.eval_steps,
        verbose=2,
    )
    model.transform_layer = transform.transform_features_layer()
    specs = {name: spec for name, spec in transform.raw_feature_spec().items() if name != LABEL}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples):
        return {"price": model(model.transform_layer(tf.io.parse_example(examples, specs)))}

    tf.saved_model.save(model, fn_args.serving_model_dir, signatures={"serving_default": serve})


def _dense(column):
    shape = [column.dense_shape[0], 1]
    return tf.cast(tf.sparse.to_dense(tf.SparseTensor(column.indices, column.values, shape)), tf.float32)


def _dataset(files, fn_args, transform):
    options = tfxio.TensorFlowDatasetOptions(batch_size=64, label_key=LABEL, shuffle_seed=3)
    return fn_args.data_accessor.tf_dataset_factory(files, options, transform.transformed_metadata.schema).repeat()
