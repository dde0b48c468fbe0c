import shutil
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning import PruningHParams, pruning_scope, warm_start
from tfx_pruning.engine.weight_state import WeightState

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 6)).astype("f")
Y = X[:, :1]


def functional(units=8, depth=2):
    inputs = {name: keras.layers.Input((3,), name=name) for name in ("a", "b")}
    x = keras.layers.Concatenate()(list(inputs.values()))
    for _ in range(depth):
        x = keras.layers.BatchNormalization()(keras.layers.Dense(units, activation="relu")(x))
    return keras.Model(inputs, keras.layers.Dense(1)(x))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.blocks = [keras.layers.Dense(8, activation="relu") for _ in range(2)]
        self.head = keras.layers.Dense(1)

    def call(self, x):
        x = tf.concat([x["a"], x["b"]], axis=-1)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def batch(rows=64):
    return {"a": X[:rows, :3], "b": X[:rows, 3:]}


def trained(build, **fields):
    model = build()
    model.compile("adam", "mse", jit_compile=False)
    if not fields:
        model.fit(batch(), Y, verbose=0)
        return model
    with pruning_scope(PruningHParams(pruning_frequency=1, sparsity_function_end_step=2, **fields)):
        model.fit(batch(), Y, verbose=0)
    return model


@pytest.fixture(scope="module", params=[functional, Subclassed])
def base(request):
    """How a trained model is built, and the model."""
    return request.param, trained(request.param)


@pytest.fixture(scope="module")
def dense_base(tmp_path_factory):
    """Where a trained functional model is saved."""
    path = tmp_path_factory.mktemp("dense") / "model"
    tf.saved_model.save(trained(functional), path)
    return path


@pytest.fixture(scope="module")
def pruned_base(tmp_path_factory):
    """A functional model pruned to 50 % by first-order gradients, and where it is saved."""
    path = tmp_path_factory.mktemp("pruned") / "model"
    model = trained(functional, target_sparsity=0.5, prune_option="first_order_gradient")
    tf.saved_model.save(model, path)
    return model, path


def fn_args(path):
    return types.SimpleNamespace(base_model=None if path is None else str(path))


def built(build):
    model = build()
    model(batch(1))
    return model


@pytest.mark.parametrize("save", [lambda m, p: tf.saved_model.save(m, p), lambda m, p: m.export(p, verbose=False)])
def test_loads_every_weight_into_a_model_made_anew(tmp_path, base, save):
    build, earlier = base
    save(earlier, str(tmp_path))
    model = built(build)
    assert [w.path for w in model.weights] != [w.path for w in earlier.weights]
    assert warm_start(model, fn_args(tmp_path)) is True
    for one, other in zip(model.weights, earlier.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_leaves_the_optimizer_new(dense_base):
    model = built(functional)
    model.compile("adam", "mse")
    warm_start(model, fn_args(dense_base))
    assert int(model.optimizer.iterations) == 0


def test_without_a_base_model_nothing_happens():
    model = built(functional)
    before = model.get_weights()
    assert warm_start(model, fn_args(None)) is False
    assert warm_start(model, types.SimpleNamespace()) is False
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_inside_a_scope_what_was_pruned_stays_pruned(pruned_base):
    earlier, path = pruned_base
    model = built(functional)
    kernels = [layer.kernel for layer in model.layers if hasattr(layer, "kernel")]
    zeros = [layer.kernel.numpy() == 0 for layer in earlier.layers if hasattr(layer, "kernel")]
    hparams = PruningHParams(
        begin_pruning_step=100, sparsity_function_end_step=200, prune_option="first_order_gradient"
    )
    with pruning_scope(hparams):
        warm_start(model, fn_args(path))
        states = [WeightState.existing(layer.kernel) for layer in earlier.layers if hasattr(layer, "kernel")]
        for kernel, state in zip(kernels, states, strict=True):
            np.testing.assert_array_equal(WeightState.existing(kernel).mask, state.mask)
            np.testing.assert_array_equal(WeightState.existing(kernel).gradient, state.gradient)
        model.compile("adam", "mse", jit_compile=False)
        model.fit(batch(), Y, epochs=3, verbose=0)
    for kernel, zero in zip(kernels, zeros, strict=True):
        np.testing.assert_array_equal(kernel.numpy() == 0, zero)


def test_gradient_state_of_another_option_is_left_out(pruned_base):
    model = built(functional)
    kernel = model.layers[3].kernel
    with (
        pytest.raises(RuntimeError, match="Nothing was pruned"),
        pruning_scope(PruningHParams(prune_option="second_order_gradient")),
    ):
        warm_start(model, fn_args(pruned_base[1]))
    state = WeightState.existing(kernel)
    assert np.count_nonzero(state.mask) == 24
    assert not np.any(state.gradient)


def test_weights_that_change_places_are_found_by_their_names(tmp_path):
    def pair(first, second):
        layers = [keras.layers.Input((6,)), keras.layers.Dense(6, name=first), keras.layers.Dense(6, name=second)]
        return keras.Sequential(layers, name="pair")

    earlier = pair("alpha", "beta")
    tf.saved_model.save(earlier, str(tmp_path))
    model = pair("beta", "alpha")
    warm_start(model, fn_args(tmp_path))
    np.testing.assert_array_equal(model.get_layer("alpha").kernel, earlier.get_layer("alpha").kernel)


def test_outside_a_scope_only_the_weights_are_loaded(pruned_base):
    model = built(functional)
    warm_start(model, fn_args(pruned_base[1]))
    assert all(WeightState.existing(weight) is None for weight in model.trainable_weights)


def refused(model, path, *words):
    before = model.get_weights()
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        warm_start(model, fn_args(path))
    for word in words:
        assert word in str(caught.value)
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_base_model_of_another_shape_is_refused(dense_base):
    refused(built(lambda: functional(units=9)), dense_base, "(6, 9)", "(6, 8)", "same architecture")


def test_a_base_model_without_the_weights_is_refused(dense_base):
    refused(built(lambda: functional(depth=3)), dense_base, "no weights for", "kernel")


def test_a_missing_or_empty_base_model_is_refused(tmp_path):
    refused(built(functional), tmp_path / "nowhere", "nowhere", "no SavedModel")
    refused(built(functional), tmp_path, str(tmp_path), "no SavedModel")


def test_a_damaged_base_model_is_refused(dense_base, tmp_path):
    path = tmp_path / "damaged"
    shutil.copytree(dense_base, path)
    (path / "variables" / "variables.index").unlink()
    refused(built(functional), path, str(path), "cannot be read")


def test_an_unbuilt_model_is_refused(dense_base):
    refused(keras.Sequential([keras.layers.Dense(1)]), dense_base, "Build the model")
