"""What is pruned by default, and what is said of what is not."""

import re
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from keras import layers, ops

from tfx_pruning import Pruning, PruningHParams, pruning_scope
from tfx_pruning.engine.multiplied_weights import multiplied_weights
from tfx_pruning.engine.weight_state import path_of

X = np.random.default_rng(0).normal(size=(64, 32)).astype("float32")
HPARAMS = PruningHParams(target_sparsity=0.9, sparsity_function_end_step=6, pruning_frequency=2)


class Experts(layers.Layer):
    """A mixture of experts, with a learned offset, a learned scale of two dimensions, and a learned query."""

    def build(self, shape):
        self.up = self.add_weight(shape=(4, shape[-1], 16), name="up")
        self.down = self.add_weight(shape=(4, 16, shape[-1]), name="down")
        self.offset = self.add_weight(shape=(3, shape[-1]), name="offset")
        self.scale = self.add_weight(shape=(1, shape[-1]), name="scale", initializer="ones")
        self.query = self.add_weight(shape=(1, shape[-1]), name="query")
        self.router = layers.Dense(4, use_bias=False, name="router")
        self.router.build(shape)

    def call(self, x):
        x = (x + ops.mean(self.offset, 0)) * self.scale
        x = ops.concatenate([x, ops.broadcast_to(self.query, ops.shape(x))], 0)[: ops.shape(x)[0]]
        hidden = ops.relu(ops.einsum("bi,eiu->beu", x, ops.cast(self.up, x.dtype)))
        return ops.einsum("be,beo->bo", ops.softmax(self.router(x)), ops.einsum("beu,euo->beo", hidden, self.down))


class Transposed(tf_keras.layers.Layer):
    def build(self, shape):
        self.matrix = self.add_weight(shape=(8, shape[-1]), name="matrix")
        self.added = self.add_weight(shape=(1, 8), name="added")

    def call(self, x):
        return tf.cond(tf.reduce_sum(x) > 0, lambda: x @ tf.transpose(self.matrix), lambda: x[:, :8]) + self.added


def experts():
    return keras.Sequential([layers.Input((32,)), layers.Dense(32), Experts(), layers.Dense(1)])


def names(weights):
    """The last two parts of the paths, without the numbers that Keras adds."""
    return [re.sub(r"_\d+(?=/|$)", "", "/".join(path_of(each).split("/")[-2:])) for each in weights]


def test_factors_of_products_are_found_whatever_their_layer():
    model = experts()
    found = names(multiplied_weights(model, model.trainable_variables))
    assert found == ["dense/kernel", "experts/up", "experts/down", "router/kernel", "dense/kernel"]


def test_factors_in_branches_and_functions_of_tf_keras():
    inputs = tf_keras.Input((32,))
    model = tf_keras.Model({"x": inputs}, Transposed()(inputs))
    assert names(multiplied_weights(model, model.trainable_variables)) == ["transposed/matrix"]


def test_factors_in_a_loop():
    inputs = keras.Input((5,), dtype="int32")
    hidden = layers.LSTM(4)(layers.MultiHeadAttention(2, 4)(*[layers.Embedding(50, 8)(inputs)] * 2))
    model = keras.Model(inputs, layers.LayerNormalization()(hidden))
    expected = [path_of(each) for each in model.trainable_variables if path_of(each).endswith("kernel")]
    assert [path_of(each) for each in multiplied_weights(model, model.trainable_variables)] == expected


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.experts = Experts()

    def call(self, x):
        return self.experts(x)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_a_subclassed_model_is_traced_with_the_shapes_that_built_it(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = Subclassed()
        model(X)
        found = names(multiplied_weights(model, model.trainable_variables))
    finally:
        keras.config.set_dtype_policy(before)
    assert found == ["experts/up", "experts/down", "router/kernel"]


def test_under_a_strategy():
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = experts()
        assert "experts/up" in names(multiplied_weights(model, model.trainable_variables))


def test_experts_are_pruned_to_the_target_exactly():
    model = experts()
    model.compile("adam", "mse")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        with pruning_scope(HPARAMS) as scope:
            model.fit(X, X[:, :1], batch_size=16, epochs=2, verbose=0)
    (pruning,) = scope.prunings
    assert names(pruning.weights) == ["dense/kernel", "experts/up", "experts/down", "router/kernel", "dense/kernel"]
    for weight in pruning.weights:
        size = np.asarray(weight).size
        assert np.count_nonzero(weight) == round(size * (1 - 0.9))
    zeros = sum(np.asarray(each).size - np.count_nonzero(each) for each in pruning.weights)
    assert scope.total_sparsities == [pytest.approx(zeros / model.count_params())]
    assert scope.total_sparsities[0] < 0.9


class Untraced(Subclassed):
    def call(self, x):
        if isinstance(x, tf.Tensor) and not tf.executing_eagerly() and self.experts.built:
            raise RuntimeError("no trace")
        return self.experts(x)


@pytest.mark.parametrize(
    ("fields", "said"),
    [({}, True), ({"exclude": ["up$", "down$"]}, False), ({"include": ["kernel$"]}, False)],
)
def test_large_matrices_that_stay_dense_are_named(fields, said):
    model = Untraced()
    model(X)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pruning = Pruning(PruningHParams(**fields), model)
    assert [path_of(each).rpartition("/")[2] for each in pruning.weights] == ["kernel"]
    messages = [str(each.message) for each in caught if "leaves dense" in str(each.message)]
    assert len(messages) == said
    if said:
        assert "/up (47% of the parameters)" in messages[0]
        assert "/down (47% of the parameters)" in messages[0]
        assert "offset" not in messages[0]
