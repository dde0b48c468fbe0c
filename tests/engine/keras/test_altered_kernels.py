"""Layers that do not multiply by their kernel as it is: LoRA adds to it, or it is quantized. It is said, and once."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers.fits import BATCH, X, Y, assert_exact, hparams, kernels
from helpers.user_warnings import warned
from tfx_pruning import pruning_scope
from tfx_pruning.engine.keras.delivered_sparsity import SparsityError, delivered_sparsity

LORA = "has the product of LoRA's matrices added to it"
HIDDEN = 0  # index of the layer


def compiled():
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.layers.Input((12,)),
            keras.layers.Dense(10, activation="relu", name="hidden"),
            keras.layers.Dense(1, name="out"),
        ],
        name="model",
    )
    return recompiled(model)


def recompiled(model):
    model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False)
    return model


def fit(model, epochs=2):
    model.fit(X, Y, batch_size=BATCH, epochs=epochs, verbose=0)


def enable_lora(model):
    model.layers[HIDDEN].enable_lora(2)


def quantize(mode="int8"):
    def quantized(model):
        model.layers[HIDDEN].quantize(mode)
        # As `Model.quantize` does.
        model.train_function = None

    return quantized


def quantized_with_lora(model):
    quantize()(model)
    enable_lora(model)


ALTERATIONS = pytest.mark.parametrize(
    ("alter", "how"),
    [
        (enable_lora, LORA),
        (quantize("int8"), "is quantized to int8"),
        (quantize("int4"), "is quantized to int4"),
        (quantized_with_lora, f"is quantized to int8 and {LORA}"),
    ],
)


@ALTERATIONS
def test_before_fit_the_layer_is_said_to_stay_dense(alter, how):
    model = compiled()
    alter(model)
    recompiled(model)
    with warned(rf"^Pruning leaves dense: \S*hidden/kernel, which .*{how}.*exclude"), pruning_scope(hparams()) as scope:
        fit(model)
        fit(recompiled(model), epochs=1)
    assert [path.rpartition("out/")[1:] for path in scope.prunings[0].paths] == [("out/", "kernel")]
    assert np.count_nonzero(model.layers[1].kernel) == 3


@pytest.mark.parametrize("fields", [{"exclude": ["hidden/kernel"]}, {"include": ["out/kernel"]}])
@ALTERATIONS
def test_a_layer_that_is_not_asked_for_gets_no_warning(fields, alter, how):
    model = compiled()
    alter(model)
    recompiled(model)
    with warned(), pruning_scope(hparams(**fields)):
        fit(model)
    assert np.count_nonzero(model.layers[1].kernel) == 3


def test_if_all_layers_are_altered_the_warning_says_why_none_is_left():
    model = compiled()
    for layer in model.layers:
        layer.enable_lora(1)
    recompiled(model)
    with (
        warned(rf"Pruning leaves dense: \S*hidden/kernel, \S*out/kernel, which {LORA}"),
        pytest.raises(ValueError, match="No weight to prune"),
        pruning_scope(hparams()),
    ):
        fit(model)


def test_quantized_embeddings_are_said_if_they_are_asked_for():
    def model():
        made = keras.Sequential(
            [
                keras.layers.Input((3,)),
                keras.layers.Embedding(20, 4, name="words"),
                keras.layers.Flatten(),
                keras.layers.Dense(1, name="out"),
            ]
        )
        made.layers[0].quantize("int8")
        return recompiled(made)

    x = np.random.default_rng(0).integers(0, 20, size=(96, 3))
    with warned(), pruning_scope(hparams()):
        model().fit(x, Y, batch_size=BATCH, epochs=2, verbose=0)
    asked = hparams(include=["words/", "out/kernel"])
    with (
        warned("Pruning leaves dense: .*words/embeddings, which is quantized to int8"),
        pytest.raises(ValueError, match="include holds 'words/'"),
        pruning_scope(asked),
    ):
        model().fit(x, Y, batch_size=BATCH, epochs=2, verbose=0)


@ALTERATIONS
@pytest.mark.parametrize("go_on", [fit, lambda model: model.train_on_batch(X, Y)])
def test_between_fits_the_next_is_refused(alter, how, go_on):
    model = compiled()
    with warned(r"hidden/kernel, which"), pruning_scope(hparams()):
        fit(model)
        alter(recompiled(model))
        before = model.get_weights()
        with pytest.raises(ValueError, match=rf"hidden/kernel was pruned, and .*{how}.*was not begun"):
            go_on(model)
        after = model.get_weights()
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


@ALTERATIONS
def test_after_the_last_fit_the_scope_says_that_its_zeros_are_not_what_is_used(alter, how):
    model = compiled()
    with warned(rf"^Pruned, and changed since: \S*hidden/kernel, which .*{how}"), pruning_scope(hparams()):
        fit(model)
        alter(model)


@pytest.mark.parametrize("value", [0, 1])
def test_the_check_refuses_what_lora_adds_to_a_pruned_kernel(value, tmp_path):
    model = compiled()
    with warned("changed since"), pruning_scope(hparams()) as scope:
        fit(model)
        enable_lora(model)
        model.layers[HIDDEN].lora_kernel_b.assign(np.full([2, 10], value))
    tf.saved_model.save(model, str(tmp_path))
    if value == 0:  # What is served is the pruned kernel.
        assert [weight.nonzero for weight in delivered_sparsity(scope, str(tmp_path)).weights] == [36, 3]
        return
    with pytest.raises(SparsityError, match=rf"hidden/kernel {LORA}, and that was trained after fit"):
        delivered_sparsity(scope, str(tmp_path))


def fitted_and_quantized(mode, path, change=lambda model: None):
    """The scope, and the file, whose optimizer still holds the kernel in float."""
    model = compiled()
    with warned("changed since"), pruning_scope(hparams()) as scope:
        fit(model)
        quantize(mode)(model)
    change(model)
    tf.saved_model.save(model, path)
    held = tf.saved_model.load(path).optimizer._trainable_variables
    assert [np.count_nonzero(each) for each in held if each.shape == (12, 10)] == [36]
    return model, scope


def test_the_check_does_not_count_a_kernel_that_is_not_served(tmp_path):
    _, scope = fitted_and_quantized("int4", str(tmp_path))
    with pytest.raises(SparsityError, match=r"not the one that was pruned: it lacks \S*hidden/kernel"):
        delivered_sparsity(scope, str(tmp_path))


def test_the_check_counts_the_int8_kernel_that_is_served(tmp_path):
    model, scope = fitted_and_quantized("int8", str(tmp_path))
    served = np.count_nonzero(model.layers[HIDDEN].kernel)
    assert served == 36
    assert [weight.nonzero for weight in delivered_sparsity(scope, str(tmp_path)).weights] == [served, 3]


@pytest.mark.parametrize(("value", "found"), [(1, "has 0 .*changed after fit"), (0, "has 120 .*quantized")])
def test_the_check_refuses_an_int8_kernel_of_another_sparsity(value, found, tmp_path):
    def change(model):
        model.layers[HIDDEN].kernel.assign(np.full([12, 10], value, np.int8))

    _, scope = fitted_and_quantized("int8", str(tmp_path), change)
    with pytest.raises(SparsityError, match=f"hidden/kernel: asked for 84 zeros of 120 .*{found}"):
        delivered_sparsity(scope, str(tmp_path))


@pytest.mark.parametrize("save", [tf.saved_model.save, lambda model, path: model.export(path, verbose=False)])
def test_the_check_still_finds_what_is_served_as_it_was_pruned(save, tmp_path):
    model = compiled()
    with warned(), pruning_scope(hparams()) as scope:
        fit(model)
    save(model, str(tmp_path))
    assert [weight.nonzero for weight in delivered_sparsity(scope, str(tmp_path)).weights] == [36, 3]


def test_float8_keeps_the_float_kernel_and_is_said_once():
    model = compiled()
    quantize("float8")(model)
    recompiled(model)
    with warned("hidden/kernel is quantized to float8: its sparsity is that of the float"), pruning_scope(hparams()):
        fit(model)
        fit(recompiled(model), epochs=1)
    assert_exact(model)
    assert len(kernels(model)) == 2


def test_a_layer_of_a_tower_is_named_by_its_tower():
    def tower(name):
        inputs = keras.layers.Input((12,))
        outputs = keras.layers.Dense(10, name="hidden")(inputs)
        return keras.Model(inputs, outputs, name=name)

    inputs = keras.layers.Input((12,))
    towers = [tower("user"), tower("item")]
    outputs = keras.layers.Dense(1, name="out")(keras.layers.Add()([each(inputs) for each in towers]))
    model = keras.Model(inputs, outputs)
    towers[0].layers[-1].enable_lora(2)
    recompiled(model)
    with warned("Pruning leaves dense: user/hidden/kernel, which"), pruning_scope(hparams()):
        fit(model)
    assert np.count_nonzero(towers[1].layers[-1].kernel) == 36
    assert np.count_nonzero(towers[0].layers[-1].kernel) == 120
