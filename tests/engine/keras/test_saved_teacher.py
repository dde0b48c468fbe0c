"""SavedModels as teachers: which of their functions is asked, and how a batch is read."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfx_pruning.engine.keras.saved_teacher import SavedTeacher

RNG = np.random.default_rng(3)
FEATURES = {"size": tf.constant(RNG.normal(size=(6, 2)), tf.float32), "rooms": tf.constant(RNG.integers(0, 9, (6, 1)))}
EXAMPLES = [tf.TensorSpec([None], tf.string, name="examples")]


def functional(version, structure=dict):
    inputs = {
        "size": version.Input((2,), name="size"),
        "rooms": version.Input((1,), name="rooms", dtype="int64"),
    }
    layers = version.layers
    numbers = [inputs["size"], layers.CategoryEncoding(9, output_mode="one_hot")(inputs["rooms"])]
    hidden = layers.Dropout(0.5)(layers.Dense(4, "relu")(layers.Concatenate()(numbers)))
    return version.Model(inputs if structure is dict else list(inputs.values()), layers.Dense(1, name="price")(hidden))


def by_signatures(model, path):
    """As a TFX run_fn ends: what is served takes serialized examples."""
    specs = {"size": tf.io.FixedLenFeature([2], tf.float32), "rooms": tf.io.FixedLenFeature([1], tf.int64)}

    @tf.function(input_signature=EXAMPLES)
    def serve(examples):
        return {"price": model(tf.io.parse_example(examples, specs))}

    tf.saved_model.save(model, path, signatures={"serving_default": serve})


def by_a_signature_of_features(model, path):
    module = tf.Module()
    module.model = model

    @tf.function(
        input_signature=[tf.TensorSpec([None, 2], name="size"), tf.TensorSpec([None], tf.float32, name="rooms")]
    )
    def features(size, rooms):
        return {"price": model({"size": size, "rooms": tf.cast(rooms[:, tf.newaxis], tf.int64)})}

    tf.saved_model.save(module, path, signatures={"features": features})


SAVED = {
    "signatures of examples": (keras, by_signatures),
    "export": (keras, lambda model, path: model.export(path, verbose=False)),
    "tf_keras": (tf_keras, lambda model, path: model.save(path, save_format="tf")),
    "tf_keras, signatures of examples": (tf_keras, by_signatures),
    "tf_keras export": (tf_keras, lambda model, path: model.export(path)),
    "a signature of features": (keras, by_a_signature_of_features),
}


@pytest.mark.parametrize("saved", SAVED)
def test_a_saved_model_answers_features_as_the_model_does_without_dropout(saved, tmp_path):
    version, save = SAVED[saved]
    model = functional(version)
    save(model, str(tmp_path / "model"))
    teacher, wanted = SavedTeacher.read(str(tmp_path / "model")), model(FEATURES, training=False)
    student = functional(keras)
    with_more = {**FEATURES, "unused": tf.constant(["a"] * 6)}
    for batch in (FEATURES, with_more):
        answers = tf.function(lambda batch=batch: teacher.answers(student, batch), autograph=False)()
        np.testing.assert_allclose(tf.nest.flatten(answers)[0], wanted, rtol=1e-6)


def test_a_batch_is_read_as_keras_reads_it(tmp_path):
    model = functional(keras, list)
    model.export(str(tmp_path / "model"), verbose=False)
    wanted = model(list(FEATURES.values()))
    teacher = SavedTeacher.read(str(tmp_path / "model"))
    flat = {"size": tf.cast(FEATURES["size"], tf.float64), "rooms": FEATURES["rooms"][:, 0]}
    for batch in (FEATURES, list(FEATURES.values()), tuple(FEATURES.values()), flat):
        np.testing.assert_allclose(tf.nest.flatten(teacher.answers(model, batch))[0], wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ({"size": FEATURES["size"]}, ["serve(", "takes ['rooms'], which are not in the batch", "size: float32 (6, 2)"]),
        ({**FEATURES, "size": FEATURES["size"][:, :1]}, ["takes (None, 2), got (6, 1)"]),
        ({**FEATURES, "rooms": tf.constant([["a"]] * 6)}, ["takes int64, got string"]),
        ({**FEATURES, "rooms": tf.constant([[0.5]] * 6)}, ["takes int64, got float32"]),
        (FEATURES["size"], ["takes ['rooms', 'size'] by name"]),
    ],
)
def test_a_batch_that_no_function_takes_is_refused_with_what_each_takes(batch, words, tmp_path):
    functional(keras).export(str(tmp_path / "model"), verbose=False)
    subclassed = keras.Sequential([keras.layers.Dense(1)], name="student")
    with pytest.raises(ValueError, match="has no function that takes the batches of 'student'") as caught:
        SavedTeacher.read(str(tmp_path / "model")).answers(subclassed, batch)
    for word in [*words, "rooms: int64 (None, 1)", "Expected is a function of the features"]:
        assert word in str(caught.value)


def test_a_saved_model_of_serialized_examples_alone_is_refused_when_it_is_read(tmp_path):
    module = tf.Module()

    @tf.function(input_signature=EXAMPLES)
    def serve(examples):
        return {"price": tf.zeros(tf.shape(examples))}

    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"serving_default": serve})
    with pytest.raises(ValueError, match="no function that takes the features of a training batch") as caught:
        SavedTeacher.read(str(tmp_path / "model"))
    assert "signature 'serving_default'(examples: string (None,))" in str(caught.value)
    assert str(tmp_path / "model") in str(caught.value)


def test_a_model_of_texts_teaches_one_of_texts(tmp_path):
    vocabulary = keras.layers.StringLookup(vocabulary=["small", "large"], output_mode="one_hot")
    model = keras.Sequential([keras.Input((1,), dtype="string"), vocabulary, keras.layers.Dense(1)])
    by_texts = tf.constant([["large"], ["other"]])
    serve = tf.function(lambda examples: {"price": model(examples[:, tf.newaxis])}, input_signature=EXAMPLES)
    tf.saved_model.save(model, str(tmp_path / "model"), signatures={"serving_default": serve})
    answers = SavedTeacher.read(str(tmp_path / "model")).answers(model, by_texts)
    np.testing.assert_allclose(answers, model(by_texts))
