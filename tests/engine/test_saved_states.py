"""What TensorFlow itself restores of the pruning in a SavedModel, before it is stripped."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfx_pruning import Pruning, PruningHParams, apply_mask, strip_saved_model
from tfx_pruning.engine import naming
from tfx_pruning.engine.weight_state import WeightState
from tfx_pruning.saved_model.variables import ROOT, SavedVariables

X = np.random.default_rng(0).standard_normal((5, 6)).astype("float32")
SPEC = [tf.TensorSpec([None, 6], name="x")]
HPARAMS = PruningHParams(
    target_sparsity=0.5, pruning_frequency=1, sparsity_function_end_step=1, prune_option="first_order_gradient"
)


def weight(seed, name="kernel", shape=(6, 6)):
    return tf.Variable(tf.random.stateless_normal(shape, [seed, 2]), name=name)


class Layer(tf.Module):
    def __init__(self, seed):
        super().__init__()
        self.kernel = weight(seed)

    def __call__(self, x):
        return tf.tanh(x @ apply_mask(self.kernel))


class Nested(tf.Module):
    """Weights in modules, in lists and dictionaries of modules, and in lists of variables, of one name."""

    def __init__(self):
        super().__init__()
        self.parts = {"first": [Layer(1), Layer(2)], "second": Layer(3)}
        self.kernels = [weight(4), (weight(5), {"third": weight(6)})]

    @tf.function(input_signature=SPEC)
    def serve(self, x):
        for layer in (*self.parts["first"], self.parts["second"]):
            x = layer(x)
        for kernel in (self.kernels[0], self.kernels[1][0], self.kernels[1][1]["third"]):
            x = x @ apply_mask(kernel)
        return {"y": x}


class Masked(keras.layers.Layer):
    def build(self, shape):
        self.kernels = [self.add_weight(shape=(shape[-1], 4), name=name) for name in ("a", "b")]

    def call(self, x):
        return x @ apply_mask(self.kernels[0]) + x @ apply_mask(self.kernels[1])


class Masked2(tf_keras.layers.Layer):
    def build(self, shape):
        self.kernels = [self.add_weight(shape=(shape[-1], 4), name=name) for name in ("a", "b")]

    def call(self, x):
        return x @ apply_mask(self.kernels[0]) + x @ apply_mask(self.kernels[1])


def save_module(path):
    model = Nested()
    model.serve(X)
    prune(list(model.trainable_variables))
    tf.saved_model.save(model, path, signatures=model.serve)
    return model.trainable_variables, model.serve(X)["y"]


def keras_model(library, layer):
    inputs = library.Input((6,), name="x")
    hidden = library.layers.Dense(6)(inputs)
    inner = library.Sequential([library.Input((6,)), layer(), layer()])
    return library.Model(inputs, inner(hidden))


def save_with_signature(model, path):
    serve = tf.function(lambda x: {"y": model(x)}, input_signature=SPEC)
    tf.saved_model.save(model, path, signatures=serve)


def save_keras(path):
    model = keras_model(keras, Masked)
    prune([layer_weight for layer_weight in model.trainable_variables if layer_weight.path.endswith(("a", "b"))])
    save_with_signature(model, path)
    return model.trainable_variables, model(X)


def export_keras(path):
    model = keras_model(keras, Masked)
    prune([layer_weight for layer_weight in model.trainable_variables if layer_weight.path.endswith(("a", "b"))])
    model.export(path, verbose=False)
    return model.trainable_variables, model(X)


def save_part_of_a_fitted_keras_model(path):
    model = keras_model(keras, Masked)
    prune(model)
    part = keras.Model(model.inputs, model.layers[-1].output)
    save_with_signature(part, path)
    return part.trainable_variables, part(X)


def save_keras2(path):
    model = keras_model(tf_keras, Masked2)
    prune([each for each in model.trainable_variables if each.name.endswith(("a:0", "b:0"))])
    model.save(path)
    return model.trainable_variables, model(X)


WRITERS = [save_module, save_keras, export_keras, save_part_of_a_fitted_keras_model, save_keras2]


def prune(weights):
    pruning = Pruning(HPARAMS, weights)
    given = weights if isinstance(weights, list) else weights.trainable_variables
    gradients = [tf.random.stateless_normal(each.shape, [index, 7]) for index, each in enumerate(given)]
    pruning.conditional_mask_update(3, gradients)
    assert 0.4 < pruning.sparsity() < 0.6
    return pruning


def served(model, x=X):
    (answer,) = model.signatures["serving_default"](tf.constant(x)).values()
    return answer.numpy()


@pytest.mark.parametrize("write", WRITERS)
def test_tensorflow_restores_masks_and_averages(write, tmp_path):
    weights, answer = write(str(tmp_path / "model"))
    states = [state for state in map(WeightState.existing, weights) if state is not None]
    assert len(states) >= 4
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    np.testing.assert_array_equal(served(loaded), answer)
    saved = SavedVariables(tmp_path / "model")
    values = [(each.name, saved.value(each)) for each in saved if naming.is_pruning_variable(each.name)]
    for state in states:
        for kind in ("mask", "gradient"):
            live = getattr(state, kind).numpy()
            assert any(kind in name and np.array_equal(live, value) for name, value in values)
    # Once more from what was loaded: the masks are still restored.
    tf.saved_model.save(loaded, str(tmp_path / "again"), signatures=loaded.signatures["serving_default"])
    np.testing.assert_array_equal(served(tf.saved_model.load(str(tmp_path / "again"))), answer)


@pytest.mark.parametrize("write", WRITERS)
def test_stripping_removes_all_of_it(write, tmp_path):
    _, answer = write(str(tmp_path / "model"))
    strip_saved_model(str(tmp_path / "model"), str(tmp_path / "stripped"))
    saved = SavedVariables(tmp_path / "stripped")
    assert not [each.name for each in saved if naming.is_pruning_variable(each.name)]
    assert not {naming.STATES, naming.MODEL_STATE} & saved.children(ROOT).keys()
    np.testing.assert_array_equal(served(tf.saved_model.load(str(tmp_path / "stripped"))), answer)


@pytest.mark.slow
def test_saved_model_cli_runs_it(tmp_path):
    _, answer = save_module(str(tmp_path / "model"))
    np.save(tmp_path / "x.npy", X)
    code = "from tensorflow.python.tools.saved_model_cli import main; main()"
    arguments = ["run", "--dir", tmp_path / "model", "--tag_set", "serve", "--signature_def", "serving_default"]
    files = ["--inputs", f"x={tmp_path / 'x.npy'}", "--outdir", tmp_path]
    subprocess.run([sys.executable, "-c", code, *map(str, [*arguments, *files])], check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), answer, rtol=1e-6)


def run(kernel, pruning, steps):
    for step in steps:
        with tf.GradientTape() as tape:
            used = apply_mask(kernel) if pruning.states[0].masked_forward else kernel
            loss = tf.reduce_sum(tf.square(X @ used - 1.0 - step))
        (gradient,) = tape.gradient(loss, [kernel])
        kernel.assign_sub(0.01 * gradient)
        pruning.conditional_mask_update(step, [gradient])


@pytest.mark.parametrize("masked", [True, False])
def test_a_training_goes_on_from_the_saved_model(masked, tmp_path):
    hparams = PruningHParams(
        target_sparsity=0.7, pruning_frequency=2, sparsity_function_end_step=16, prune_option="first_order_gradient"
    )
    kernels = {}
    for name in ("unbroken", "broken"):
        model = tf.Module()
        model.kernel = weight(1)
        if masked:
            apply_mask(model.kernel)
        model.pruning = Pruning(hparams, [model.kernel])
        run(model.kernel, model.pruning, range(1, 10))
        if name == "broken":
            tf.saved_model.save(model, str(tmp_path))
            loaded = tf.saved_model.load(str(tmp_path))
            state = WeightState.existing(loaded.kernel)
            assert state.masked_forward == masked
            np.testing.assert_array_equal(state.gradient, model.pruning.states[0].gradient)
            pruning = Pruning(hparams, [loaded.kernel])
            pruning.last_mask_update_step.assign(loaded.pruning.last_mask_update_step)
            model.kernel, model.pruning = loaded.kernel, pruning
        run(model.kernel, model.pruning, range(10, 20))
        state = model.pruning.states[0]
        kernels[name] = [each.numpy() for each in (model.kernel, state.mask, state.gradient, state.threshold)]
    assert np.mean(kernels["unbroken"][1]) == pytest.approx(0.3, abs=0.02)
    for unbroken, broken in zip(*kernels.values(), strict=True):
        np.testing.assert_array_equal(unbroken, broken)


def test_saving_leaves_the_object_as_it_is(tmp_path):
    plain = tf.Module()
    plain.kernel = weight(1)
    tf.saved_model.save(plain, str(tmp_path / "plain"))
    assert naming.STATES not in SavedVariables(tmp_path / "plain").children(ROOT)
    masked = Layer(1)
    masked(X)
    before = set(tf.train.TrackableView.children(masked))
    tf.saved_model.save(masked, str(tmp_path / "masked"))
    assert naming.STATES in SavedVariables(tmp_path / "masked").children(ROOT)
    assert set(tf.train.TrackableView.children(masked)) == before
