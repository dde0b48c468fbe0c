"""Weights of one path are told apart: in the check, in the history, and in a warm start."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from helpers.towers import hidden_kernel, two_towers
from tfx_pruning import PruningHParams, pruning_scope, warm_start
from tfx_pruning.engine.keras.delivered_sparsity import SparsityError, delivered_sparsity

X = np.random.default_rng(0).normal(size=(64, 12)).astype("f")
HPARAMS = PruningHParams(target_sparsity=0.8, sparsity_function_end_step=6, pruning_frequency=1, begin_pruning_step=1)
NAMES = ["user/hidden/kernel", "user/out/kernel", "item/hidden/kernel", "item/out/kernel", "top/kernel"]


def pruned(version=keras, **widths):
    model = two_towers(version, **widths)
    model.compile("adam", "mse")
    with pruning_scope(HPARAMS, record=True) as scope:
        model.fit([X, X], X[:, :1], batch_size=8, epochs=1, verbose=0)
    return model, scope


def exported(model, path):
    model.export(path, verbose=False)


@pytest.mark.parametrize("version", [keras, tf_keras])
@pytest.mark.parametrize("item", [10, 30])
def test_towers_with_layers_of_one_name_are_delivered_and_recorded(version, item, tmp_path):
    model, scope = pruned(version, item=item)
    tf.saved_model.save(model, str(tmp_path))
    delivered = delivered_sparsity(scope, str(tmp_path))
    kept = [24, 8, 12 * item // 5, round(item * 4 * 0.2), 2]
    assert [(weight.path, weight.nonzero) for weight in delivered.weights] == list(zip(NAMES, kept, strict=True))
    assert list(scope.prunings[0].sparsity_by_variable()) == NAMES
    assert [(weight.path, weight.shape) for weight in delivered.history.weights] == [
        (weight.path, weight.shape) for weight in delivered.weights
    ]
    assert [weight.after.zeros for weight in delivered.history.weights] == [
        weight.size - weight.nonzero for weight in delivered.weights
    ]


@pytest.mark.parametrize("save", [tf.saved_model.save, exported])
@pytest.mark.parametrize("tower", ["user", "item"])
def test_a_dense_tower_does_not_pass(save, tower, tmp_path):
    model, scope = pruned()
    hidden_kernel(model, tower).assign(tf.ones([12, 10]))
    save(model, str(tmp_path))
    with pytest.raises(SparsityError, match=f"^{tower}/hidden/kernel: asked for 96 zeros of 120 .* has 0 "):
        delivered_sparsity(scope, str(tmp_path))


@pytest.mark.parametrize("save", [tf.saved_model.save, exported])
@pytest.mark.parametrize("tower", [None, "user", "item"])
def test_nor_one_of_a_copy_with_other_values(save, tower, tmp_path):
    model, scope = pruned()
    copy = two_towers()
    # As a checkpoint of an earlier epoch: other values, the same zeros.
    copy.set_weights([3 * value for value in model.get_weights()])
    if tower:
        hidden_kernel(copy, tower).assign(tf.ones([12, 10]))
        save(copy, str(tmp_path))
        with pytest.raises(SparsityError, match=f"^{tower}/hidden/kernel: asked for 96 zeros of 120 .* has 0 "):
            delivered_sparsity(scope, str(tmp_path))
    else:
        save(copy, str(tmp_path))
        assert delivered_sparsity(scope, str(tmp_path)).nonzero_parameters == 24 + 8 + 24 + 8 + 2


def test_what_the_signatures_use_is_counted(tmp_path):
    model, scope = pruned()
    copy = two_towers()
    copy.set_weights([np.ones_like(value) for value in model.get_weights()])
    served = tf.Module()
    served.model, served.trained = copy, model
    signature = tf.function(lambda x: {"y": copy([x, x])}, input_signature=[tf.TensorSpec([None, 12], name="x")])
    tf.saved_model.save(served, str(tmp_path), signatures=signature)
    with pytest.raises(SparsityError, match=r"user/hidden/kernel: asked for 96 zeros of 120 .* has 0 "):
        delivered_sparsity(scope, str(tmp_path))


@pytest.mark.parametrize("save", [tf.saved_model.save, exported])
def test_a_warm_start_gives_each_tower_its_own_weights(save, tmp_path):
    model, _ = pruned()
    save(model, str(tmp_path))
    other = two_towers()
    assert warm_start(other, types.SimpleNamespace(base_model=str(tmp_path)))
    for weight, original in zip(other.weights, model.weights, strict=True):
        np.testing.assert_array_equal(weight, original)


def test_a_warm_start_does_not_take_one_of_two_weights_of_a_name(tmp_path):
    model, _ = pruned()
    model.export(str(tmp_path), verbose=False)
    inputs = keras.layers.Input((12,))
    out = keras.layers.Dense(4, name="out")(keras.layers.Dense(10, name="hidden")(inputs))
    one_tower = keras.Model(inputs, keras.layers.Dense(1, name="top")(keras.layers.Concatenate()([out, out])))
    with pytest.raises(ValueError, match=r"no weights for .*hidden/kernel"):
        warm_start(one_tower, types.SimpleNamespace(base_model=str(tmp_path)))
