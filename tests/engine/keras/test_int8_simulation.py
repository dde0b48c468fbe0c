"""Training with int8 simulated: one step by hand, what is saved, zeros in the exported file, and errors."""

import re
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from helpers.fits import STEPS, X, Y, build, hparams
from tfx_pruning import pruning_scope, strip_saved_model
from tfx_pruning.engine.int8_rounding import rounded_activation, rounded_weight
from tfx_pruning.stripper.export.model_export import export_model

VERSIONS = {"keras": keras, "tf_keras": tf_keras}
IMAGES = np.random.default_rng(1).normal(size=(64, 8, 8, 3)).astype("f")
DIGITS = np.random.default_rng(2).integers(0, 3, 64)


def compiled(model, version=keras, **options):
    model.compile(version.optimizers.SGD(0.05), "mse", **options)
    return model


def from_the_first_step(**fields):
    """Hyperparameters that round at once and prune nothing in the first steps."""
    later = {"begin_pruning_step": 100, "sparsity_function_begin_step": 100, "sparsity_function_end_step": 101}
    return hparams(**{"quantize": "int8", "quantize_begin_step": 1, **later, **fields})


def images(version=keras, last=3):
    """Every kind of layer that is rounded and has a kernel of its own in TFLite, 1x1 convolutions too."""
    version.utils.set_random_seed(3)
    layers = version.layers
    return version.Sequential(
        [
            layers.Input((8, 8, 3)),
            layers.Conv2D(6, 3, activation="relu"),
            layers.Conv2D(8, 1, use_bias=False),
            layers.BatchNormalization(),
            layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu"),
            layers.SeparableConv2D(9, 3, padding="same", depth_multiplier=2),
            layers.Conv2DTranspose(5, 3),
            layers.Reshape((36, 5)),
            layers.Conv1D(4, 3, activation="relu"),
            layers.EinsumDense("abc,cde->abde", (34, 2, 7)),
            layers.Flatten(),
            layers.Dense(last),
        ]
    )


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
@pytest.mark.parametrize("with_fit", [True, False], ids=["fit", "train_on_batch"])
def test_a_step_has_the_gradient_of_the_rounded_model(version, with_fit):
    version.utils.set_random_seed(1)
    model = compiled(build(version), version, jit_compile=False)
    kernel, bias, last, last_bias = (tf.constant(each) for each in model.get_weights())
    x, y = X[:16], Y[:16]
    rounded_kernel, rounded_last = rounded_weight(kernel, (-1,)), rounded_weight(last, (-1,))
    given = rounded_activation(tf.constant(x))
    hidden = tf.nn.relu(given @ rounded_kernel + bias)
    rounded_hidden = rounded_activation(hidden)
    answers = rounded_hidden @ rounded_last + last_bias
    back = 2 * (answers - y) / len(x)
    back_hidden = (back @ tf.transpose(rounded_last)) * tf.cast(hidden > 0, tf.float32)
    gradients = [
        tf.transpose(given) @ back_hidden,
        tf.reduce_sum(back_hidden, 0),
        tf.transpose(rounded_hidden) @ back,
        tf.reduce_sum(back, 0),
    ]
    with pruning_scope(from_the_first_step()):
        if with_fit:
            model.fit(x, y, batch_size=16, shuffle=False, verbose=0)
        else:
            model.train_on_batch(x, y)
    expected = [old - 0.05 * each for old, each in zip((kernel, bias, last, last_bias), gradients, strict=True)]
    for found, value in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-4, atol=1e-6)


def weights_after(fields, version=keras, **options):
    version.utils.set_random_seed(1)
    model = compiled(build(version), version, **options)
    with pruning_scope(hparams(**fields)):
        model.fit(X, Y, batch_size=16, epochs=3, shuffle=False, verbose=0)
    return model.get_weights()


@pytest.mark.filterwarnings("ignore:quantize='int8' has rounded nothing")
def test_steps_before_the_first_one_are_plain_bit_for_bit():
    plain = weights_after({})
    later = weights_after({"quantize": "int8", "quantize_begin_step": 3 * STEPS + 1})
    last_step = weights_after({"quantize": "int8", "quantize_begin_step": 3 * STEPS})
    np.testing.assert_array_equal(plain[0], later[0])
    assert np.any(plain[0] != last_step[0])
    np.testing.assert_allclose(plain[0], last_step[0], atol=0.01)


def test_the_model_is_plain_outside_of_training_steps():
    model = compiled(build())
    with pruning_scope(from_the_first_step()):
        history = model.fit(X, Y, batch_size=16, validation_data=(X, Y), verbose=0).history
        after = model.evaluate(X, Y, batch_size=16, verbose=0)
    kernel, bias, last, last_bias = model.get_weights()
    by_hand = np.mean((np.maximum(X @ kernel + bias, 0) @ last + last_bias - Y) ** 2)
    np.testing.assert_allclose([history["val_loss"][0], after], by_hand, rtol=1e-5)
    assert not any("call" in layer.__dict__ for layer in model.layers)


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
def test_every_kind_of_layer_is_rounded(version):
    """Rounded kernels of one scale each differ from the plain ones, so each layer's own gradients do."""
    found = {}
    for name, fields in {"plain": {"quantize": "", "quantize_begin_step": -1}, "rounded": {}}.items():
        model = images(version, last=1)
        compiled(model, version, jit_compile=False)
        with pruning_scope(from_the_first_step(**fields)):
            model.fit(IMAGES, np.zeros((64, 1), "f"), batch_size=64, shuffle=False, verbose=0)
        found[name] = model.get_weights()
    kernels = [(a, b) for a, b in zip(found["plain"], found["rounded"], strict=True) if a.ndim > 1]
    assert len(kernels) == 9
    assert all(np.any(plain != rounded) for plain, rounded in kernels)


def codes_by_shape(content):
    """The constants of a TFLite file that have a scale for each channel, int8, by shape."""
    interpreter = tf.lite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    wanted = [each for each in interpreter.get_tensor_details() if each["dtype"] == np.int8]
    wanted = [each for each in wanted if each["quantization_parameters"]["scales"].size > 1]
    found = {tuple(each["shape"]): interpreter.get_tensor(each["index"]) for each in wanted}
    assert len(found) == len(wanted)
    return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The model of `images`, pruned and trained with rounding; the folder of what was saved, and of int8 files."""
    model = images()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    folder = tmp_path_factory.mktemp("int8")
    with pruning_scope(hparams(target_sparsity=0.8, quantize="int8")) as scope:
        model.fit(IMAGES, DIGITS, batch_size=16, epochs=4, verbose=0)
    serve = tf.function(lambda x: {"y": model(x)}, input_signature=[tf.TensorSpec([None, 8, 8, 3], name="x")])
    tf.saved_model.save(model, str(folder / "trained"), signatures={"serving_default": serve})
    strip_saved_model(folder / "trained", folder / "stripped")
    records = [
        tf.train.Example(
            features=tf.train.Features(
                feature={"x": tf.train.Feature(float_list=tf.train.FloatList(value=image.ravel()))}
            )
        ).SerializeToString()
        for image in IMAGES
    ]
    files = export_model(folder / "stripped", folder / "out", ["tflite_int8"], examples=records, tolerance=1.0)
    return model, scope.prunings[0], folder, files


def test_every_pruned_weight_is_zero_and_so_is_its_code_in_the_file(exported):
    _, pruning, _, (file,) = exported
    with open(file.path, "rb") as stream:
        codes = codes_by_shape(stream.read())
    assert len(pruning.states) == 9
    for state in pruning.states:
        weight, mask = state.weight.numpy(), state.mask.numpy()
        assert np.all(weight[~mask] == 0)
        if "depthwise" in state.path:
            order = weight.reshape(1, *weight.shape[:2], -1)
        elif "einsum" in state.path:
            order = weight.reshape(weight.shape[0], -1).T
        elif "transpose" in state.path:
            order = np.transpose(weight, (2, 0, 1, 3))
        else:
            order = np.moveaxis(weight, -1, 0)
        order = order[:, np.newaxis] if "conv1d" in state.path else order
        assert np.all(codes[order.shape][order == 0] == 0)
        # The largest of a channel has the largest code.
        assert np.max(np.abs(codes[order.shape])) == 127


def test_what_is_saved_is_a_plain_float_model(exported):
    model, _, folder, _ = exported
    loaded = tf.saved_model.load(str(folder / "stripped"))
    signature = loaded.signatures["serving_default"]
    graphs = [signature.graph.as_graph_def()]
    kinds = {node.op for graph in graphs for node in graph.node}
    kinds |= {node.op for graph in graphs for function in graph.library.function for node in function.node_def}
    assert not kinds & {"Round", "Rint", "If", "StatelessIf", "FakeQuantWithMinMaxVars", "DivNoNan"}
    np.testing.assert_array_equal(
        signature(x=tf.constant(IMAGES))["y"], model.predict(IMAGES, batch_size=64, verbose=0)
    )


def test_a_training_that_was_backed_up_goes_on_to_the_same_bits(tmp_path):
    class Killed(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def train(*callbacks):
        keras.utils.set_random_seed(1)
        model = compiled(build())
        with pruning_scope(hparams(quantize="int8", sparsity_function_end_step=5)):
            model.fit(X, Y, batch_size=16, epochs=4, shuffle=False, verbose=0, callbacks=list(callbacks))
        return model.get_weights()

    backup = str(tmp_path / "backup")
    with pytest.raises(KeyboardInterrupt):
        train(keras.callbacks.BackupAndRestore(backup), Killed())
    resumed, whole = train(keras.callbacks.BackupAndRestore(backup)), train()
    for found, expected in zip(resumed, whole, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_layers_of_other_precision_are_refused_before_the_first_step(policy):
    model = compiled(build(dtype=policy))
    before = model.get_weights()
    kind = policy.removeprefix("mixed_")
    with (
        pytest.raises(ValueError, match=rf"{re.escape(model.layers[0].name)}' computes in {kind}, .*policy 'float32'"),
        pruning_scope(from_the_first_step()),
    ):
        model.fit(X, Y, batch_size=16, verbose=0)
    for found, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert not any("call" in layer.__dict__ for layer in model.layers)


@keras.saving.register_keras_serializable("tests")
class Own(keras.layers.Dense):
    def call(self, inputs):
        return super().call(inputs)


def test_a_model_without_a_layer_to_round_is_refused():
    model = compiled(keras.Sequential([keras.Input((12,)), Own(4), Own(1)]))
    with pytest.raises(ValueError, match="finds nothing to round in 'sequential"), pruning_scope(from_the_first_step()):
        model.fit(X, Y, batch_size=16, verbose=0)


def test_pruned_weights_that_are_not_rounded_get_one_warning():
    model = compiled(keras.Sequential([keras.Input((12,)), Own(4, name="mine"), keras.layers.Dense(1)]))
    with pruning_scope(from_the_first_step()):
        with pytest.warns(UserWarning, match="quantize='int8' does not round [^,]*mine/kernel: it rounds in"):
            model.fit(X, Y, batch_size=16, verbose=0)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            model.fit(X, Y, batch_size=16, verbose=0)


def test_a_training_that_ends_before_the_first_rounded_step_is_told():
    model = compiled(build())
    with (
        pytest.warns(UserWarning, match=rf"has rounded nothing: .* ended at step {STEPS}, .* from step 50 on"),
        pruning_scope(hparams(quantize="int8", quantize_begin_step=50)),
    ):
        model.fit(X, Y, batch_size=16, verbose=0)


class Late(tf_keras.Model):
    def build(self, input_shape):
        self.inner = tf_keras.layers.Dense(1, name="late_layer")
        super().build(input_shape)

    def call(self, inputs):
        return self.inner(inputs)


def test_layers_that_are_made_while_the_step_is_traced_are_refused():
    model = compiled(Late(), tf_keras)
    with pytest.raises(ValueError, match="came too late for late_layer"), pruning_scope(from_the_first_step()):
        model.fit(X, Y, batch_size=16, verbose=0)
