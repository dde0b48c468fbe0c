"""Is a sentence of a president's address from after 1920? Trainer and PruningTrainer run this file.

TFX calls `preprocessing_fn` in Transform and `run_fn` in the trainers.
An example has `text`, a sentence, and `modern`, 0 or 1.
"""

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tfx import v1 as tfx
from tfx_bsl.public import tfxio

import tfx_pruning

TEXT, TOKENS, LABEL = "text", "tokens", "modern"
LENGTH = 24
WORDS = 3000
BATCH_SIZE = 64


def preprocessing_fn(inputs):
    """Turns each sentence into the places of its first 24 words in a vocabulary, plus 1; 0 is no word."""
    words = tf.strings.split(tf.strings.lower(tf.reshape(_dense(inputs[TEXT], ""), [-1]), encoding="utf-8"))
    padded = words.to_tensor(default_value="", shape=[None, LENGTH])
    places = tft.compute_and_apply_vocabulary(padded, top_k=WORDS, num_oov_buckets=1, vocab_filename="words")
    return {TOKENS: tf.where(padded == "", tf.zeros_like(places), places + 1), LABEL: _dense(inputs[LABEL], 0)}


def run_fn(fn_args: tfx.components.FnArgs):
    """Trains the model and saves it."""
    keras.utils.set_random_seed(0)
    transform = tft.TFTransformOutput(fn_args.transform_output)
    model = build_model(transform.vocabulary_size_by_name("words") + 2)
    model.compile(keras.optimizers.Adam(0.001), "binary_crossentropy", metrics=["accuracy"])
    tfx_pruning.warm_start(model, fn_args)  # starts from base_model, where there is one
    model.fit(
        dataset(fn_args.train_files, fn_args, transform),
        steps_per_epoch=fn_args.train_steps,
        validation_data=dataset(fn_args.eval_files, fn_args, transform),
        validation_steps=fn_args.eval_steps,
        verbose=2,
    )
    tf.saved_model.save(model, fn_args.serving_model_dir, signatures=signatures(model, transform))


def build_model(words):
    """A model that takes tokens, int64 [batch, 24], and answers probabilities [batch, 1]."""
    layers = keras.layers
    tokens = keras.Input((LENGTH,), name=TOKENS, dtype="int64")
    x = layers.Embedding(words, 32, name="embedding")(tokens)
    x = layers.Bidirectional(layers.LSTM(32))(layers.Dropout(0.5)(x))
    x = layers.Dropout(0.5)(layers.Dense(128, activation="relu")(x))
    return keras.Model(tokens, layers.Dense(1, activation="sigmoid", name="head")(x))


def signatures(model, transform):
    """`serving_default` answers raw examples; `score` answers the tokens of one sentence, for TFLite."""
    model.transform_layer = transform.transform_features_layer()  # on the model, so that its vocabulary is saved
    raw = {name: spec for name, spec in transform.raw_feature_spec().items() if name != LABEL}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples):
        return {"modern": model(model.transform_layer(tf.io.parse_example(examples, raw))[TOKENS])}

    @tf.function(input_signature=[tf.TensorSpec([1, LENGTH], tf.int64, name=TOKENS)])
    def score(tokens):
        return {"modern": model(tokens)}

    return {"serving_default": serve, "score": score}


def dataset(files, fn_args, transform):
    """Batches of (tokens, label), over and over."""
    options = tfxio.TensorFlowDatasetOptions(batch_size=BATCH_SIZE, label_key=LABEL, shuffle_seed=0)
    batches = fn_args.data_accessor.tf_dataset_factory(files, options, transform.transformed_metadata.schema)
    return batches.map(lambda features, label: (features[TOKENS], label)).repeat()


def _dense(column, missing):
    """The column as [batch, 1], whether TFX gives it as sparse or as dense."""
    if not isinstance(column, tf.SparseTensor):
        return column
    shape = [column.dense_shape[0], 1]
    return tf.sparse.to_dense(tf.SparseTensor(column.indices, column.values, shape), missing)
