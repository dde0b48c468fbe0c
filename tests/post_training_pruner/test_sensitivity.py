"""sensitivity."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfx_pruning
from tfx_pruning import PruningHParams, Sensitivity, prune_saved_model, sensitivity
from tfx_pruning.post_training_pruner.calibration import Calibration
from tfx_pruning.post_training_pruner.layer_statistics import LayerStatistics
from tfx_pruning.post_training_pruner.saved_weights import saved_weights
from tfx_pruning.post_training_pruner.traced_signature import TracedSignature
from tfx_pruning.saved_model.saved_objects import SavedObjects

FIRST = np.array([[1.0, -4.0], [3.0, 2.0], [0.5, 0.25]], np.float32)
SECOND = np.array([[2.0, -1.0], [0.5, 3.0]], np.float32)
X = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 2, 100)


def _loss(logits):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(logits)), Y]))


def _answer(first=FIRST, second=SECOND):
    return (X @ first) @ second


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Two layers, and a third whose product is multiplied by zero."""
    module = tf.Module()
    module.first = tf.Variable(FIRST, name="first/kernel")
    module.second = tf.Variable(SECOND, name="second/kernel")
    module.idle = tf.Variable(np.ones((3, 2), np.float32), name="idle/kernel")

    @tf.function(input_signature=[tf.TensorSpec([None, 3], name="x")], autograph=False)
    def serve(x):
        return {"logits": (x @ module.first) @ module.second + 0.0 * (x @ module.idle)}

    @tf.function(
        input_signature=[tf.TensorSpec([None, 3], name="x"), tf.TensorSpec([None], tf.int64, name="y")], autograph=False
    )
    def loss(x, y):
        return {"loss": tf.nn.sparse_softmax_cross_entropy_with_logits(y, (x @ module.first) @ module.second)}

    folder = str(tmp_path_factory.mktemp("models") / "model")
    tf.saved_model.save(module, folder, signatures={"serving_default": serve, "loss": loss})
    return folder


def _measured(found):
    return {layer.path: dict(layer.measured) for layer in found.layers}


@pytest.mark.parametrize("call", [{"label": "y"}, {"signature": "loss", "output": "loss"}], ids=["label", "output"])
def test_the_loss_is_that_of_the_model_with_one_layer_pruned(model, call):
    hparams = PruningHParams(include=("first", "second"))
    found = sensitivity(model, {"x": X, "y": Y}, hparams, sparsities=[0.75, 0.5], repair=False, **call)
    assert found.dense == pytest.approx(_loss(_answer()), rel=1e-5)
    measured = _measured(found)
    assert list(measured) == ["first/kernel", "second/kernel"]
    large = np.where(np.abs(FIRST) >= 2, FIRST, 0)
    assert measured["first/kernel"][0.5] == pytest.approx(_loss(_answer(first=large)), rel=1e-5)
    assert measured["second/kernel"][0.5] == pytest.approx(_loss(_answer(second=np.diag([2.0, 3.0]))), rel=1e-5)
    assert measured["second/kernel"][0.75] == pytest.approx(_loss(_answer(second=np.diag([0.0, 3.0]))), rel=1e-5)
    assert (found.measure, found.num_examples) == ("softmax_cross_entropy" if "label" in call else "output", 100)


def test_without_a_label_it_is_the_distance_from_the_dense_answers(model):
    found = sensitivity(model, {"x": X}, sparsities=[0.5], repair=False)
    wrong = _answer(second=np.diag([2.0, 3.0])) - _answer()
    expected = np.square(wrong).sum() / np.square(_answer()).sum()
    assert (found.measure, found.dense) == ("distance", 0.0)
    assert _measured(found)["second/kernel"][0.5] == pytest.approx(expected, rel=1e-5)


def test_a_layer_that_does_nothing_costs_nothing(model):
    found = sensitivity(model, {"x": X}, sparsities=[0.5, 0.8])
    (idle,) = [layer for layer in found.layers if layer.path == "idle/kernel"]
    assert found.curve(idle).points == ((0.5, 0.0), (0.8, 0.0))
    assert found.layer_sparsities(0.1875)["idle/kernel"] == 0.5  # all three zeros of 16
    assert "^idle/kernel$:0.5=0;0.8=0" in found.fields["sensitivity_map"]


def test_wanda_chooses_by_the_inputs(model, tmp_path):
    hparams = PruningHParams(prune_option="wanda", include=("first",), target_sparsity=0.5)
    examples = {"x": X * [1, 100, 0.01], "y": Y}
    found = sensitivity(model, examples, hparams, sparsities=[0.5], label="y", repair=False)
    prune_saved_model(model, tmp_path / "pruned", {"x": examples["x"]}, hparams)
    pruned = tf.saved_model.load(str(tmp_path / "pruned"))
    logits = pruned.signatures["serving_default"](x=tf.constant(examples["x"], tf.float32))["logits"].numpy()
    assert _measured(found)["first/kernel"][0.5] == pytest.approx(_loss(logits), rel=1e-4)
    assert found.prune_option == "wanda"


def test_weights_that_are_kept_are_repaired_by_least_squares(model):
    found = sensitivity(model, {"x": X}, PruningHParams(include=("second",)), sparsities=[0.5], damping=1e-9)
    hidden, wanted = X @ FIRST, _answer()
    # The diagonal is kept, so each column is the least-squares fit of one input.
    fits = [float(hidden[:, at] @ wanted[:, at] / (hidden[:, at] @ hidden[:, at])) for at in (0, 1)]
    expected = np.square(hidden * fits - wanted).sum() / np.square(wanted).sum()
    assert _measured(found)["second/kernel"][0.5] == pytest.approx(expected, rel=1e-3)
    plain = sensitivity(model, {"x": X}, PruningHParams(include=("second",)), sparsities=[0.5], repair=False)
    assert expected < _measured(plain)["second/kernel"][0.5]
    assert (found.layers[0].repaired, plain.layers[0].repaired) == (True, False)


def test_a_layer_of_many_inputs_is_not_repaired(tmp_path):
    module = tf.Module()
    module.wide = tf.Variable(np.random.default_rng(0).normal(size=(5000, 2)).astype(np.float32), name="wide/kernel")
    serve = tf.function(lambda x: {"y": x @ module.wide}, input_signature=[tf.TensorSpec([None, 5000], name="x")])
    tf.saved_model.save(module, tmp_path / "model", signatures=serve)
    found = sensitivity(tmp_path / "model", {"x": np.ones((3, 5000))}, sparsities=[0.5])
    assert not found.layers[0].repaired
    assert found.layers[0].multiply_adds == 10000


def test_a_layers_own_bias_takes_up_the_means(tmp_path):
    network = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 2), keras.layers.Flatten()])
    network.export(tmp_path / "model", verbose=False)
    random = np.random.default_rng(2)
    images = random.normal(size=(50, 4, 4, 1)).astype(np.float32) + 3
    (name,) = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"].structured_input_signature[1]
    examples = {name: images}
    found = sensitivity(str(tmp_path / "model"), examples, sparsities=[0.5], damping=1e-9)
    kernel = network.layers[0].kernel.numpy().reshape(4, 2)
    patches = tf.image.extract_patches(images, [1, 2, 2, 1], [1, 1, 1, 1], [1, 1, 1, 1], "VALID").numpy().reshape(-1, 4)
    wanted, error = patches @ kernel, 0.0
    kept = np.abs(kernel) >= np.sort(np.abs(kernel).ravel())[-4]
    for column in range(2):
        given = np.c_[patches[:, kept[:, column]], np.ones(len(patches))].astype(np.float64)
        best = np.linalg.lstsq(given, wanted[:, column], rcond=None)[0]
        error += np.square(given @ best - wanted[:, column]).sum()
    assert found.layers[0].measured[0][1] == pytest.approx(error / np.square(wanted).sum(), rel=1e-2)


def test_multiply_adds_and_bytes_of_convolutions_and_matrices(two_layers, images):
    found = sensitivity(two_layers, images, sparsities=[0.5])
    assert [(each.path, each.multiply_adds, each.bytes, each.units) for each in found.layers] == [
        ("conv/kernel", 2 * 2 * 144, 4 * 144, 144),
        ("dense/kernel", 192, 4 * 192, 192),
    ]


def test_the_model_is_only_read(model):
    def files():
        return {file: file.read_bytes() for file in pathlib.Path(model).rglob("*") if file.is_file()}

    before = files()
    twice = [sensitivity(model, {"x": X, "y": Y}, sparsities=[0.5], label="y") for _ in range(2)]
    assert files() == before
    assert twice[0] == twice[1]


def test_a_weight_is_left_out_where_it_would_lose_all(model):
    found = sensitivity(model, {"x": X}, sparsities=[0.5, 0.9])
    assert {path: list(points) for path, points in _measured(found).items()} == {
        "first/kernel": [0.5, 0.9],
        "second/kernel": [0.5],
        "idle/kernel": [0.5, 0.9],
    }


def test_json_can_be_read_back(model):
    found = sensitivity(model, {"x": X}, sparsities=[0.5])
    assert Sensitivity.from_json(found.to_json()) == found
    with pytest.raises(ValueError, match=r"Expected the JSON of Sensitivity.to_json .*KeyError: 'layers'"):
        Sensitivity.from_json("{}")


def test_a_trained_model_is_pruned_with_the_fields(model, tmp_path):
    found = sensitivity(model, {"x": X}, sparsities=[0.25, 0.5, 0.75])
    hparams = PruningHParams(target_sparsity=0.5, **found.fields)
    report = prune_saved_model(model, tmp_path / "pruned", None, PruningHParams.parse(hparams.to_string()))
    assert report.sparsity == 0.5
    wanted = found.layer_sparsities(0.5)
    assert {each.path: each.sparsity for each in report.weights} == pytest.approx(wanted)
    assert wanted["idle/kernel"] == pytest.approx(1 - 2 / 6)


@pytest.mark.parametrize(
    ("hparams", "call", "error", "message"),
    [
        ({}, {"sparsities": [0.5, 90]}, ValueError, r"fractions in \(0, 1\), got \[0.5, 90.0\]. Write 0.9 for 90 %"),
        ({}, {"sparsities": []}, ValueError, r"fractions in \(0, 1\), got \[\]"),
        ({}, {"sparsities": "0.5"}, TypeError, "must be numbers such as"),
        ({}, {"sparsities": [0.95]}, ValueError, "first/kernel, second/kernel, idle/kernel would lose all"),
        ({"include": ("third",)}, {}, ValueError, "'third', which matches none of the variables"),
        ({"prune_option": "first_order_gradient"}, {}, ValueError, "Use 'weight' or 'wanda'"),
        ({"prune_option": "obc"}, {}, ValueError, "Use 'weight' or 'wanda'"),
        ({"n_of_m": "2:4", "target_sparsity": 0.5}, {}, ValueError, "nothing to share out"),
        ({}, {"label": "z"}, ValueError, r"\['z'\] is missing"),
        ({}, {"loss": "hinge"}, ValueError, "loss must be one of"),
    ],
)
def test_bad_input_is_refused(model, hparams, call, error, message):
    with pytest.raises(error, match=message):
        sensitivity(model, {"x": X, "y": Y}, PruningHParams(**hparams), **call)


def test_examples_that_the_model_cannot_read_are_refused(model):
    with pytest.raises(ValueError, match="takes 'x'"):
        sensitivity(model, [b"no example"])
    with pytest.raises(TypeError, match="examples is None"):
        sensitivity(model, None)
    with pytest.raises(ValueError, match="The measure of the dense model, 'softmax_cross_entropy', is nan"):
        sensitivity(model, {"x": X * np.nan, "y": Y}, label="y")


def test_names_are_public():
    assert {"sensitivity", "Sensitivity", "LayerSensitivity"} <= set(tfx_pruning.__all__)


def test_a_training_shares_out_the_zeros_as_it_was_measured(tmp_path):
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(2)])
    network.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    network.export(tmp_path / "model", verbose=False)
    (name,) = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"].structured_input_signature[1]
    found = sensitivity(tmp_path / "model", {name: X, "y": Y}, label="y")
    with tfx_pruning.pruning_scope(PruningHParams.for_steps(10, target_sparsity=0.7, **found.fields)):
        network.fit(X, Y, batch_size=10, verbose=0)
    kernels = [layer.kernel for layer in network.layers]
    got = {kernel.path: float(np.mean(kernel.numpy() == 0)) for kernel in kernels}
    assert got == pytest.approx(found.layer_sparsities(0.7))
    assert sum(int(np.count_nonzero(kernel.numpy() == 0)) for kernel in kernels) == 28  # 70 % of 40


@pytest.mark.parametrize(("an_input", "samples"), [(None, 480), (50, 480), (10, 256), (2, 128)])
def test_statistics_of_convolutions_leave_out_batches_evenly(two_layers, images, an_input, samples):
    model = SavedObjects.read(two_layers)
    weights, _ = saved_weights(model)
    signature = TracedSignature.of(model, "serving_default", weights)
    calibration = Calibration.of(images, signature.specs, signature.name)
    (use,) = [use for use in signature.uses.products if use.node.op == "Conv2D"]
    # Four batches, of 32 images at most, with four places and 18 inputs each.
    found = LayerStatistics.of(signature, calibration, use, {}, an_input)
    patches = tf.image.extract_patches(images["image"], [1, 3, 3, 1], [1, 2, 2, 1], [1, 1, 1, 1], "SAME").numpy()
    taken = {480: patches, 256: np.concatenate([patches[:32], patches[64:96]]), 128: patches[:32]}[samples]
    taken = taken.reshape(-1, 18).astype(np.float64)
    assert found.samples == samples
    np.testing.assert_allclose(found.hessian[0], taken.T @ taken, rtol=1e-4, atol=1e-3)
