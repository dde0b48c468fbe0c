import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from helpers.towers import hidden_kernel, two_towers
from tfx_pruning import Pruning, PruningHParams
from tfx_pruning.engine.weight_names import weight_names

KINDS = ("kernel", "bias")


class Stack(tf.Module):
    def __init__(self, depth):
        super().__init__()
        self.steps = [tf.Variable(tf.ones([4, 4]), name="w") for _ in range(depth)]
        self.last = tf.Variable(tf.ones([4, 2]), name="last")


@pytest.mark.parametrize("version", [keras, tf_keras])
def test_towers_tell_weights_of_one_path_apart(version):
    model = two_towers(version)
    assert weight_names(model.trainable_variables, model) == [
        *(f"{tower}/{layer}/{kind}" for tower in ("user", "item") for layer in ("hidden", "out") for kind in KINDS),
        "top/kernel",
        "top/bias",
    ]


def test_a_name_that_no_other_weight_has_is_the_path():
    model = keras.Sequential([keras.layers.Input((12,)), keras.layers.Dense(4), keras.layers.Dense(4)])
    assert weight_names(model.weights, model) == [weight.path for weight in model.weights]


def test_attributes_of_a_module_tell_its_variables_apart():
    stack = Stack(2)
    assert weight_names(stack.trainable_variables, stack) == ["last", "steps/0", "steps/1"]


def test_weights_that_nothing_tells_apart_get_numbers_that_no_other_weight_has():
    weights = [tf.Variable(tf.ones([2, 2]), name=name) for name in ("w", "w", "w#2", "w")]
    assert weight_names(weights) == ["w", "w#3", "w#2", "w#4"]


def test_a_pruning_names_each_weight_and_its_options_reach_each():
    model = two_towers(keras)
    hparams = PruningHParams(
        target_sparsity=0.5,
        sparsity_function="constant",
        pruning_frequency=1,
        exclude=["top", "item/out"],
        weight_sparsity_map=["user/hidden:0.75"],
    )
    pruning = Pruning(hparams, model)
    pruning.conditional_mask_update(1)
    assert pruning.sparsity_by_variable() == {
        "user/hidden/kernel": 0.75,
        "user/out/kernel": 0.5,
        "item/hidden/kernel": 0.5,
    }
    assert [np.count_nonzero(hidden_kernel(model, tower)) for tower in ("user", "item")] == [30, 60]
    with pytest.raises(ValueError, match="'item/hidden/kernel'"):
        Pruning(PruningHParams(include=["^hidden"]), model)
