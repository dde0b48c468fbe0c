"""Scales behind convolutions, such as those of batch normalisation, that go into the kernels."""

import pathlib
from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from helpers.specimen import Specimen, drawn, without
from tfx_pruning import strip_saved_model
from tfx_pruning.stripper.check.relative_tolerance import RelativeTolerance
from tfx_pruning.stripper.export.model_export import export_model
from tfx_pruning.stripper.shrink import shrink

_CHANNELS = 6
_SCALE = np.array([0.5, -1.5, 2.0, 3.0, 0.25, 1.25], np.float32)


def _specimen(call, after=None, kernel=(3, 3, 2, _CHANNELS), shape=(None, 8, 8, 2), **more):
    """A convolution of which channel 1 is read by nothing."""
    rows = without(drawn(_CHANNELS, 3), 0, 1)
    weights = {"k": drawn(*kernel), "s": _SCALE, "t": drawn(_CHANNELS), "b": drawn(_CHANNELS), "d": rows, **more}
    return Specimen(weights, call, shape, {"k": (*kernel[:-1], 5)} if after is None else after)


def _convolved(weights, x):
    return tf.nn.conv2d(x, weights["k"], 1, "SAME")


def _scored(weights, y):
    """What is read of channels: their means over all places."""
    return tf.reduce_mean(y, list(range(1, len(y.shape) - 1))) @ weights["d"]


def _plain(weights, x):
    return _scored(weights, tf.nn.relu(_convolved(weights, x) * weights["s"] + weights["t"]))


def _shared(weights, x):
    y = _convolved(weights, x)
    return _scored(weights, y * weights["s"] + weights["t"] + y)


def _shared_bias(weights, x):
    y = tf.nn.bias_add(_convolved(weights, x), weights["b"])
    return _scored(weights, y * weights["s"] + y)


def _shared_below_bias(weights, x):
    y = _convolved(weights, x)
    return _scored(weights, tf.nn.bias_add(y, weights["b"]) * weights["s"] + y)


def _depthwise(weights, x):
    y = tf.nn.relu(tf.nn.conv2d(x, weights["k"], 1, "SAME"))
    y = tf.nn.depthwise_conv2d(y, weights["w"], [1, 1, 1, 1], "SAME")
    return _scored(weights, tf.nn.relu(y * weights["s"] + weights["t"]))


def _operations(folder: pathlib.Path) -> Counter:
    saved_model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    return Counter(node.op for each in saved_model.meta_graphs[0].graph_def.library.function for node in each.node_def)


def _value(folder: pathlib.Path, name: str) -> np.ndarray:
    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    return reader.get_tensor(f"{name}/.ATTRIBUTES/VARIABLE_VALUE")


def _shrunk(specimen: Specimen, folder: pathlib.Path, **options):
    """Shrinks a specimen; returns the report, after the answers were compared."""
    specimen.save(str(folder / "model"))
    report = strip_saved_model(folder / "model", folder / "shrunk", shrink=True, **options)
    x = specimen.inputs()
    answers = [
        tf.saved_model.load(str(folder / name)).signatures["serving_default"](x=x)["y"] for name in ("model", "shrunk")
    ]
    np.testing.assert_allclose(answers[1], answers[0], rtol=1e-5, atol=1e-5)
    assert {each.key: each.shape_after for each in report.shrink.variables}["k"] == specimen.after["k"]
    return report.shrink


_FOLDED = {
    "scale and shift": _specimen(_plain),
    "the factor first": _specimen(
        lambda w, x: _scored(w, tf.nn.relu(w["s"] * _convolved(w, x) + w["t"])),
    ),
    "of all axes": _specimen(
        lambda w, x: _scored(w, _convolved(w, x) * tf.reshape(w["s"], (1, 1, 1, -1)) + w["t"]),
    ),
    "a bias between": _specimen(
        lambda w, x: _scored(w, tf.nn.relu(tf.nn.bias_add(_convolved(w, x), w["b"]) * w["s"] + w["t"])),
    ),
    "a bias that is an addition, a scale of all axes": _specimen(
        lambda w, x: _scored(w, tf.nn.relu((w["b"] + _convolved(w, x)) * tf.reshape(w["s"], (1, 1, 1, -1)) + w["t"])),
    ),
    "a bias, and nothing added behind": _specimen(
        lambda w, x: _scored(w, tf.nn.relu(tf.nn.bias_add(_convolved(w, x), w["b"]) * w["s"])),
    ),
    "a scale alone": _specimen(lambda w, x: _scored(w, tf.nn.relu(_convolved(w, x) * w["s"]))),
    "a computed scale": _specimen(
        lambda w, x: _scored(w, _convolved(w, x) * tf.math.rsqrt(tf.square(w["s"]) + 1e-3) + w["t"]),
    ),
    "depthwise": Specimen(
        {
            "k": drawn(1, 1, 2, 3),
            "w": drawn(3, 3, 3, 2),
            "s": _SCALE,
            "t": drawn(_CHANNELS),
            # Nothing reads the two channels that are made of channel 1.
            "d": without(drawn(_CHANNELS, 3), 0, 2, 3),
        },
        _depthwise,
        (None, 8, 8, 2),
        {"k": (1, 1, 2, 2), "w": (3, 3, 2, 2), "s": (4,), "t": (4,), "d": (4, 3)},
    ),
    "of three axes": _specimen(
        lambda w, x: _scored(w, tf.nn.conv3d(x, w["k"], [1] * 5, "SAME") * w["s"] + w["t"]),
        kernel=(2, 2, 2, 2, _CHANNELS),
        shape=(None, 4, 4, 4, 2),
    ),
}


@pytest.fixture
def compared(monkeypatch):
    """The tolerances that shrunk models were held to."""
    found = []
    compare = shrink._largest_difference
    monkeypatch.setattr(shrink, "_largest_difference", lambda *args: found.append(args[-1]) or compare(*args))
    return found


@pytest.mark.parametrize("name", _FOLDED)
def test_a_scale_goes_into_the_kernel_and_what_is_added_into_one_bias(name, tmp_path):
    specimen = _FOLDED[name]
    report = _shrunk(specimen, tmp_path)
    before, after = _operations(tmp_path / "model"), _operations(tmp_path / "shrunk")
    assert report.folded_scales == 1
    # Where there was a bias, the two vectors that were added are added to each other.
    assert after["BiasAdd"] == (name != "a scale alone")
    assert before["AddV2"] + before["BiasAdd"] == after["AddV2"] + after["BiasAdd"]
    # A multiplication of the kernel, and of the bias, for one of what the convolution made.
    assert after["Mul"] == before["Mul"] + ("bias" in name)
    for key, shape in specimen.after.items():
        cut = [axis for axis, size in enumerate(shape) if size < specimen.weights[key].shape[axis]]
        dead = [2, 3] if specimen.weights[key].shape[cut[0]] == _CHANNELS and name == "depthwise" else 1
        np.testing.assert_array_equal(_value(tmp_path / "shrunk", key), np.delete(specimen.weights[key], dead, cut[0]))


@pytest.mark.parametrize(
    "specimen",
    [
        pytest.param(_specimen(_shared), id="others read the convolution"),
        pytest.param(_specimen(_shared_bias), id="others read what has the bias"),
        pytest.param(_specimen(_shared_below_bias), id="others read what gets the bias"),
        pytest.param(_specimen(lambda w, x: _scored(w, _convolved(w, x) * x[..., :1])), id="a factor by place"),
        pytest.param(
            _specimen(lambda w, x: _scored(w, _convolved(w, x) * tf.reduce_max(x) * w["s"])), id="a factor of the input"
        ),
        pytest.param(_specimen(lambda w, x: _scored(w, _convolved(w, x) * 2.0)), id="one number"),
        pytest.param(
            _specimen(_plain, kernel=(3, 3, 8, _CHANNELS), shape=(None, 2, 2, 8)), id="the kernel is the larger"
        ),
        pytest.param(
            _specimen(lambda w, x: _scored(w, tf.tanh(_convolved(w, x)) * w["s"])), id="an activation between"
        ),
    ],
)
def test_other_multiplications_stay_where_they_are(specimen, compared, tmp_path):
    assert _shrunk(specimen, tmp_path).folded_scales == 0
    assert _operations(tmp_path / "shrunk")["Mul"] == _operations(tmp_path / "model")["Mul"]
    # No model with folded scales was compared, and refused.
    assert compared == [RelativeTolerance(1e-5)]


def test_a_convolution_that_is_returned_keeps_its_scale_behind_it(compared, tmp_path):
    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 2], name="x")])
    def serve(x):
        y = _convolved(weights, tf.nn.relu(tf.nn.conv2d(x, weights["first"], 1, "SAME")))
        return {"y": y, "z": y * weights["s"]}

    weights = {"first": tf.Variable(drawn(1, 1, 2, 3)), "k": tf.Variable(without(drawn(3, 3, 3, _CHANNELS), 2, 1))}
    weights["s"] = tf.Variable(_SCALE)
    module = tf.Module()
    module.weights = weights
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"serving_default": serve})
    report = strip_saved_model(tmp_path / "model", tmp_path / "shrunk", shrink=True).shrink
    assert len(report.variables) == 2
    assert (report.folded_scales, len(compared)) == (0, 1)
    x = drawn(3, 8, 8, 2)
    answers = tf.saved_model.load(str(tmp_path / "shrunk")).signatures["serving_default"](x=tf.constant(x))
    for name, answer in serve(x).items():
        np.testing.assert_allclose(answers[name], answer, rtol=1e-5, atol=1e-5)


def test_a_scale_that_would_be_lost_in_the_kernel_stays_behind_the_convolution(compared, tmp_path, caplog):
    # Within the kernel it would make numbers below the least of float32; within what the convolution makes it does not.
    tiny, huge = np.float32(1e-30), np.float32(1e30)
    specimen = _specimen(
        lambda w, x: _scored(w, (tf.nn.conv2d(x * huge, w["k"] * tiny, 1, "SAME") * (w["s"] * 1e-15) + 1e-15) * 1e15),
        after={"k": (3, 3, 2, 5), "s": (5,), "d": (5, 3)},
    )
    assert _shrunk(specimen, tmp_path).folded_scales == 0
    assert _operations(tmp_path / "shrunk")["BiasAdd"] == 0
    assert compared == [RelativeTolerance(5e-6), RelativeTolerance(1e-5)]
    assert "more than 5e-06 * (1 + |answer|), half of shrink_tolerance" in caplog.text


def test_answers_keep_half_the_tolerance_for_examples_that_were_not_compared(compared, tmp_path):
    report = _shrunk(_specimen(_plain), tmp_path, shrink_tolerance=1e-4)
    assert compared == [RelativeTolerance(5e-5)]
    assert (report.folded_scales, report.tolerance) == (1, 1e-4)


def test_signatures_of_one_function_share_its_scale(tmp_path):
    weights = {name: tf.Variable(value) for name, value in _specimen(_plain).weights.items()}
    module = tf.Module()
    module.weights = weights
    inner = tf.function(lambda x: _plain(weights, x), autograph=False)
    spec = [tf.TensorSpec([None, 8, 8, 2], name="x")]
    signatures = {
        "one": tf.function(lambda x: {"y": inner(x)}, input_signature=spec),
        "two": tf.function(lambda x: {"y": 2.0 * inner(x)}, input_signature=spec),
    }
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=signatures)
    report = strip_saved_model(tmp_path / "model", tmp_path / "shrunk", shrink=True).shrink
    assert report.folded_scales == 1
    x = tf.constant(drawn(3, 8, 8, 2))
    served = tf.saved_model.load(str(tmp_path / "shrunk")).signatures
    np.testing.assert_allclose(served["one"](x=x)["y"], _plain(weights, x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(served["two"](x=x)["y"], 2 * _plain(weights, x), rtol=1e-5, atol=1e-5)


def _network():
    x = keras.Input((16, 16, 3), name="x")
    y = keras.layers.Conv2D(8, 3, name="conv")(x)
    y = keras.layers.ReLU()(keras.layers.BatchNormalization(name="norm")(y))
    y = keras.layers.DepthwiseConv2D(3, use_bias=False, name="depthwise")(y)
    y = keras.layers.ReLU()(keras.layers.BatchNormalization(name="norm_of_depthwise")(y))
    model = keras.Model(x, keras.layers.Dense(2, name="score")(keras.layers.GlobalAveragePooling2D()(y)))
    for weight in model.weights:
        values = drawn(*weight.shape)
        weight.assign(np.abs(values) if "variance" in weight.name else values)
    score = model.get_layer("score")
    score.set_weights([without(score.get_weights()[0], 0, 1, 5), score.get_weights()[1]])
    return model


def test_models_of_keras_are_shrunk_again_after_their_scales_were_folded(tmp_path):
    model = _network()
    model.export(str(tmp_path / "model"), verbose=False)
    assert strip_saved_model(tmp_path / "model", tmp_path / "once", shrink=True).shrink.folded_scales == 2

    loaded = tf.saved_model.load(str(tmp_path / "once"))
    variables = next(iter(loaded.signatures.values())).variables
    (score,) = [each for each in variables if each.shape == (6, 2)]
    score.assign(without(score.numpy(), 0, 2))
    tf.saved_model.save(loaded, str(tmp_path / "pruned"), signatures=loaded.signatures)
    report = strip_saved_model(tmp_path / "pruned", tmp_path / "twice", shrink=True).shrink
    assert {(each.shape_before, each.shape_after) for each in report.variables} == {
        ((3, 3, 3, 6), (3, 3, 3, 5)),
        ((3, 3, 6, 1), (3, 3, 5, 1)),
        ((6,), (5,)),
        ((6, 2), (5, 2)),
    }
    kernel, bias = model.get_layer("score").get_weights()
    model.get_layer("score").set_weights([without(kernel, 0, 3), bias])
    x = tf.constant(drawn(3, 16, 16, 3))
    answers = tf.saved_model.load(str(tmp_path / "twice")).signatures["serving_default"](x=x)
    np.testing.assert_allclose(next(iter(answers.values())), model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("export", ["tflite", "frozen_graph"])
def test_exports_of_a_model_with_folded_scales_answer_alike(export, tmp_path):
    _network().export(str(tmp_path / "model"), verbose=False)
    strip_saved_model(tmp_path / "model", tmp_path / "shrunk", shrink=True)
    (exported,) = export_model(tmp_path / "shrunk", tmp_path / "exports", [export])
    assert exported.max_abs_difference < 1e-5
