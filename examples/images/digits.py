"""Handwritten digits from small images. Trainer and PruningTrainer run this file.

TFX calls `preprocessing_fn` in Transform and `run_fn` in the trainers.
An example has `image`, the bytes of a PNG file of 8 by 8 pixels, and `label`, a digit.
"""

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tfx import v1 as tfx
from tfx_bsl.public import tfxio

import tfx_pruning

IMAGE, LABEL = "image", "label"
SIZE = 8
BATCH_SIZE = 64


def preprocessing_fn(inputs):
    """Leaves images as they are: PNG files are smaller than numbers. `decoded` makes numbers of them."""
    return {IMAGE: _dense(inputs[IMAGE], ""), LABEL: _dense(inputs[LABEL], 0)}


def run_fn(fn_args: tfx.components.FnArgs):
    """Trains the model and saves it."""
    keras.utils.set_random_seed(0)
    transform = tft.TFTransformOutput(fn_args.transform_output)
    model = build_model()
    model.compile(keras.optimizers.Adam(0.002), keras.losses.SparseCategoricalCrossentropy(), metrics=["accuracy"])
    tfx_pruning.warm_start(model, fn_args)  # starts from base_model, where there is one
    model.fit(
        dataset(fn_args.train_files, fn_args, transform),
        steps_per_epoch=fn_args.train_steps,
        validation_data=dataset(fn_args.eval_files, fn_args, transform),
        validation_steps=fn_args.eval_steps,
        verbose=2,
    )
    tf.saved_model.save(model, fn_args.serving_model_dir, signatures=signatures(model))


def build_model():
    """A model that takes images, float32 [batch, 8, 8, 1] from 0 to 1, and answers probabilities [batch, 10]."""
    layers = keras.layers
    images = keras.Input((SIZE, SIZE, 1), name=IMAGE)
    x = images
    for number, filters in enumerate((32, 64, 128)):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv{number}")(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        if number:
            x = layers.MaxPooling2D(2)(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, layers.Dense(10, activation="softmax", name="head")(x))


def signatures(model):
    """`serving_default` answers examples with PNG files; `classify` answers numbers, for TFLite."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples):
        parsed = tf.io.parse_example(examples, {IMAGE: tf.io.FixedLenFeature([], tf.string)})
        return {"probabilities": model(decoded(parsed[IMAGE]))}

    @tf.function(input_signature=[tf.TensorSpec([None, SIZE, SIZE, 1], tf.float32, name=IMAGE)])
    def classify(image):
        return {"probabilities": model(image)}

    return {"serving_default": serve, "classify": classify}


def decoded(files):
    """PNG files, string [batch], as float32 [batch, 8, 8, 1] from 0 to 1."""

    def decode(file):
        return tf.ensure_shape(tf.io.decode_png(file, channels=1), [SIZE, SIZE, 1])

    return tf.cast(tf.map_fn(decode, files, fn_output_signature=tf.uint8), tf.float32) / 255.0


def dataset(files, fn_args, transform):
    """Batches of (images, labels), over and over."""
    options = tfxio.TensorFlowDatasetOptions(batch_size=BATCH_SIZE, label_key=LABEL, shuffle_seed=0)
    batches = fn_args.data_accessor.tf_dataset_factory(files, options, transform.transformed_metadata.schema)
    return batches.map(lambda features, label: (decoded(tf.reshape(features[IMAGE], [-1])), label)).repeat()


def _dense(column, missing):
    """The column as [batch, 1], whether TFX gives it as sparse or as dense."""
    if not isinstance(column, tf.SparseTensor):
        return column
    shape = [column.dense_shape[0], 1]
    return tf.sparse.to_dense(tf.SparseTensor(column.indices, column.values, shape), missing)
