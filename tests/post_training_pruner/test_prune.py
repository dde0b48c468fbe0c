"""prune_saved_model."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfx_pruning import PruningHParams, prune_saved_model
from tfx_pruning.engine.keras.delivered_sparsity import SparsityError
from tfx_pruning.saved_model.saved_objects import SavedObjects

KERNELS = ("conv", "dense")


def _values(folder):
    """The variables of a SavedModel, by key."""
    model = SavedObjects.read(str(folder))
    keys = map(model.graph.key, model.graph.variables)
    return {key: model.checkpoint.variable(key) for key in keys}


def _answers(folder, inputs):
    model = tf.saved_model.load(str(folder))
    signature = model.signatures["serving_default"]
    specs = signature.structured_input_signature[1]
    (answer,) = signature(**{key: tf.constant(value, specs[key].dtype) for key, value in inputs.items()}).values()
    return answer.numpy()


def _error(folder, source, inputs):
    """The mean squared error of a pruned model's answers, over that of zeros."""
    before, after = _answers(source, inputs), _answers(folder, inputs)
    return np.mean((after - before) ** 2) / np.mean(before**2)


def _smallest_gone(scores, sparsity):
    kept = round(scores.size * (1 - sparsity))
    return scores >= np.sort(scores.ravel())[-kept]


def test_magnitude_changes_kernels_alone(two_layers, tmp_path):
    pruned = tmp_path / "pruned"
    report = prune_saved_model(two_layers, pruned, None, PruningHParams(target_sparsity=0.75))
    before, after = _values(two_layers), _values(pruned)
    for key in KERNELS:
        mask = _smallest_gone(np.abs(before[key]), 0.75)
        np.testing.assert_array_equal(after.pop(key), np.where(mask, before.pop(key), 0))
    assert before.keys() == after.keys()
    for key, value in before.items():
        np.testing.assert_array_equal(after[key], value)
    assert [(each.path, each.nonzero, each.size) for each in report.weights] == [
        ("conv/kernel", 36, 144),
        ("dense/kernel", 48, 192),
    ]
    assert (report.sparsity, report.signature, report.num_examples) == (0.75, None, 0)
    assert report.total_parameters == 144 + 8 + 192 + 6 + 24 + 6


def test_all_other_files_stay(two_layers, tmp_path):
    pruned = tmp_path / "pruned"
    prune_saved_model(two_layers, pruned, None, PruningHParams(target_sparsity=0.5))
    for name in ("saved_model.pb", "assets.extra/note"):
        assert (pruned / name).read_bytes() == pathlib.Path(two_layers, name).read_bytes()
    assert tf.saved_model.experimental.read_fingerprint(str(pruned)) != tf.saved_model.experimental.read_fingerprint(
        two_layers
    )


def test_wanda_scores_by_the_norms_of_inputs(two_layers, images, tmp_path):
    pruned = tmp_path / "pruned"
    report = prune_saved_model(
        two_layers,
        pruned,
        images,
        PruningHParams(prune_option="wanda", target_sparsity=0.75, include=("dense/kernel",)),
    )
    before, after = _values(two_layers), _values(pruned)
    hidden = tf.nn.conv2d(images["image"], before["conv"], 2, "SAME") + before["conv_bias"]
    norms = np.linalg.norm(np.maximum(hidden, 0).reshape(-1, 32), axis=0)
    mask = _smallest_gone(np.abs(before["dense"]) * norms[:, None], 0.75)
    np.testing.assert_array_equal(after["dense"], np.where(mask, before["dense"], 0))
    np.testing.assert_array_equal(after["conv"], before["conv"])
    assert (report.signature, report.num_examples) == ("serving_default", 120)


def test_wanda_ranks_weights_of_all_layers_together(two_layers, images, tmp_path):
    hparams = PruningHParams(prune_option="wanda", target_sparsity=0.7, allocation="global")
    report = prune_saved_model(two_layers, tmp_path / "pruned", images, hparams)
    assert sum(each.nonzero for each in report.weights) == round(0.3 * 336)


def test_obc_is_the_least_squares_solution_for_its_mask(two_layers, images, tmp_path):
    pruned = tmp_path / "pruned"
    hparams = PruningHParams(prune_option="obc", target_sparsity=0.75)
    report = prune_saved_model(two_layers, pruned, images, hparams, damping=1e-9)
    assert [each.nonzero for each in report.weights] == [36, 48]
    before, after = _values(two_layers), _values(pruned)

    def inputs(values):
        hidden = tf.nn.conv2d(images["image"], values["conv"], 2, "SAME") + values["conv_bias"]
        return np.maximum(hidden, 0).reshape(-1, 32).astype(np.float64)

    wanted = inputs(before) @ before["dense"] + before["dense_bias"]
    given = np.c_[inputs(after), np.ones(120)]
    for column in range(6):
        kept = [*np.flatnonzero(after["dense"][:, column]), 32]
        best = np.linalg.lstsq(given[:, kept], wanted[:, column], rcond=None)[0]
        found = [*after["dense"][kept[:-1], column], after["dense_bias"][column]]
        np.testing.assert_allclose(found, best, rtol=2e-3, atol=2e-3)
    changed = {key for key in before if not np.array_equal(before[key], after[key])}
    assert changed == {"conv", "conv_bias", "dense", "dense_bias"}


def test_obc_is_nearer_than_wanda_and_magnitude(two_layers, images, tmp_path):
    errors = {}
    for option in ("weight", "wanda", "obc"):
        hparams = PruningHParams(prune_option=option, target_sparsity=0.6)
        prune_saved_model(two_layers, tmp_path / option, images, hparams)
        errors[option] = _error(tmp_path / option, two_layers, images)
    assert errors["obc"] < 0.5 * min(errors["weight"], errors["wanda"])


@pytest.mark.parametrize("option", ["weight", "wanda", "obc"])
def test_two_of_four_consecutive_inputs_stay(two_layers, images, tmp_path, option):
    hparams = PruningHParams(prune_option=option, n_of_m="2:4", target_sparsity=0.5, include=("dense/kernel",))
    prune_saved_model(two_layers, tmp_path / "pruned", images, hparams)
    kernel = _values(tmp_path / "pruned")["dense"]
    np.testing.assert_array_equal(np.count_nonzero(kernel.reshape(8, 4, 6), axis=1), 2)


def test_obc_prunes_whole_blocks(two_layers, images, tmp_path):
    hparams = PruningHParams(
        prune_option="obc", block_height=4, block_width=2, target_sparsity=0.5, include=("dense/kernel",)
    )
    prune_saved_model(two_layers, tmp_path / "pruned", images, hparams)
    blocks = np.count_nonzero(_values(tmp_path / "pruned")["dense"].reshape(8, 4, 3, 2), axis=(1, 3))
    assert sorted(blocks.ravel()) == [0] * 12 + [8] * 12


@pytest.mark.parametrize("library", [keras, tf_keras])
def test_keras_models_with_a_shared_layer(library, tmp_path):
    library.utils.set_random_seed(1)
    shared = library.layers.Dense(6, activation="relu", name="shared")
    x = library.layers.Input((6,), name="x")
    hidden = library.layers.LayerNormalization(name="norm")(shared(shared(x)))
    model = library.Model(x, library.layers.Dense(3, name="head")(hidden))
    model.export(str(tmp_path / "model"), **({"verbose": False} if library is keras else {}))
    inputs = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)
    (name,) = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"].structured_input_signature[1]
    hparams = PruningHParams(prune_option="obc", target_sparsity=0.5)
    report = prune_saved_model(tmp_path / "model", tmp_path / "pruned", {name: inputs}, hparams)
    assert [(each.path.rpartition("/")[0], each.nonzero) for each in report.weights] == [("shared", 18), ("head", 9)]
    # Keras 3 writes each variable twice, and both have the zeros.
    kernels = [value for value in _values(tmp_path / "pruned").values() if value.shape == (6, 6)]
    assert len(kernels) == (2 if library is keras else 1)
    assert {np.count_nonzero(kernel) for kernel in kernels} == {18}
    assert _error(tmp_path / "pruned", tmp_path / "model", {name: inputs}) < 0.5


def test_serialized_examples_are_parsed_for_the_signature(two_layers, images, tmp_path):
    records = []
    for image, word in zip(images["image"], images["word"], strict=True):
        example = tf.train.Example()
        example.features.feature["image"].float_list.value.extend(image.ravel())
        example.features.feature["word"].int64_list.value.append(int(word))
        records.append(example.SerializeToString())
    hparams = PruningHParams(prune_option="wanda", target_sparsity=0.75)
    for name, examples in (("arrays", images), ("records", records)):
        prune_saved_model(two_layers, tmp_path / name, examples, hparams)
    for key, value in _values(tmp_path / "arrays").items():
        np.testing.assert_array_equal(_values(tmp_path / "records")[key], value)


class _Loop(tf.Module):
    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32), name="loop/kernel")
        self.other = tf.Variable(np.random.default_rng(1).normal(size=(4, 4)).astype(np.float32), name="other/kernel")

    @tf.function(input_signature=[tf.TensorSpec([None, 4], name="x")], autograph=False)
    def serve(self, x):
        return tf.while_loop(lambda i, y: i < 2, lambda i, y: (i + 1, y @ self.kernel), (0, x @ self.other))[1]


def test_weights_in_a_loop_are_named_or_pruned_by_magnitude(tmp_path):
    model = _Loop()
    tf.saved_model.save(model, str(tmp_path / "model"), signatures=model.serve)
    examples = {"x": np.random.default_rng(2).normal(size=(32, 4)).astype(np.float32)}
    for option in ("wanda", "obc"):
        hparams = PruningHParams(prune_option=option, target_sparsity=0.5)
        with pytest.raises(ValueError, match=r"loop/kernel \(in a loop or branch\)"):
            prune_saved_model(tmp_path / "model", tmp_path / option, examples, hparams)
        assert not (tmp_path / option).exists()
        report = prune_saved_model(tmp_path / "model", tmp_path / option, examples, hparams, unseen="magnitude")
        assert report.by_magnitude == ("loop/kernel",)
        assert [each.nonzero for each in report.weights] == [8, 8]
        kernel = model.kernel.numpy()
        mask = _smallest_gone(np.abs(kernel), 0.5)
        np.testing.assert_array_equal(_values(tmp_path / option)["kernel"], np.where(mask, kernel, 0))


def test_more_zeros_than_asked_for_are_refused(tmp_path):
    model = _Loop()
    model.other.assign(tf.eye(4))
    tf.saved_model.save(model, str(tmp_path / "model"), signatures=model.serve)
    with pytest.raises(SparsityError, match="other/kernel has 12 zeros, 8 were asked for"):
        prune_saved_model(tmp_path / "model", tmp_path / "pruned", None, PruningHParams(target_sparsity=0.5))
    assert not (tmp_path / "pruned").exists()


def _hparams(**fields):
    return PruningHParams(**{"prune_option": "wanda", "target_sparsity": 0.5, **fields})


@pytest.mark.parametrize(
    ("hparams", "more", "examples", "message"),
    [
        (
            *(_hparams(prune_option="first_order_gradient", gradient_estimator="weight_delta"), {}, None),
            "gradient_estimator='weight_delta' needs a training",
        ),
        (_hparams(prune_option="first_order_gradient"), {}, None, "looks at the gradients of a loss: give it examples"),
        (_hparams(regrow="gradient"), {}, None, "regrow='gradient' needs a training"),
        (_hparams(quantize="int8"), {}, None, "quantize='int8' needs a training"),
        (_hparams(prune_option="obc", allocation="global"), {}, ..., "cannot be ranked together"),
        (_hparams(), {}, None, "give it examples"),
        (_hparams(), {}, {"image": np.zeros([3, 4, 4, 2])}, r"\['word'\] is missing"),
        (_hparams(), {}, {"image": np.zeros([3, 4, 4, 2]), "word": np.zeros(2)}, "one row for each example"),
        (_hparams(), {}, {"image": np.zeros([3, 4, 4, 1]), "word": np.zeros(3)}, r"takes \(None, 4, 4, 2\)"),
        (_hparams(), {}, [b"\xff\xff"], "are no tf.Examples"),
        (_hparams(), {}, [], "examples is empty"),
        (_hparams(), {"signature": "predict"}, ..., "it has no 'predict'"),
        (_hparams(), {"unseen": "skip"}, ..., "unseen must be one of error, magnitude"),
        (_hparams(), {"damping": 0.0}, ..., "damping must be a positive number"),
        (_hparams(include=("nothing",)), {}, ..., "include holds 'nothing', which matches none"),
        (_hparams(include=("embeddings",)), {}, ..., r"table/embeddings \(in no matrix product or convolution\)"),
        (_hparams(exclude=("kernel",)), {}, ..., "No weight to prune"),
    ],
)
def test_refused(two_layers, images, tmp_path, hparams, more, examples, message):
    with pytest.raises(ValueError, match=message):
        prune_saved_model(two_layers, tmp_path / "pruned", images if examples is ... else examples, hparams, **more)
    assert not (tmp_path / "pruned").exists()


@pytest.mark.parametrize("option", ["wanda", "obc"])
def test_examples_with_nan_are_refused(two_layers, images, tmp_path, option):
    wrong = {**images, "image": np.where(images["image"] > 1, np.nan, images["image"])}
    with pytest.raises(ValueError, match="inputs that are not finite"):
        prune_saved_model(two_layers, tmp_path / "pruned", wrong, _hparams(prune_option=option))


def test_refused_types(two_layers, tmp_path):
    with pytest.raises(TypeError, match="hparams must be PruningHParams, got str"):
        prune_saved_model(two_layers, tmp_path / "pruned", None, "target_sparsity=0.5")
    with pytest.raises(TypeError, match="examples is int"):
        prune_saved_model(two_layers, tmp_path / "pruned", 3, _hparams())
    with pytest.raises(TypeError, match=r"examples\[0\] is str"):
        prune_saved_model(two_layers, tmp_path / "pruned", ["record"], _hparams())


def test_a_model_with_masks_must_be_stripped_first(tmp_path):
    model = tf.Module()
    model.kernel = tf.Variable(tf.ones([2, 2]), name="kernel")
    model.mask = tf.Variable(tf.ones([2, 2]), name="kernel/pruning/mask")
    spec = tf.TensorSpec([None, 2], name="x")
    serve = tf.function(lambda x: x @ model.kernel, input_signature=[spec], autograph=False)
    tf.saved_model.save(model, str(tmp_path / "model"), signatures=serve)
    with pytest.raises(ValueError, match=r"holds variables of pruning, such as .* Strip it first"):
        prune_saved_model(tmp_path / "model", tmp_path / "pruned", None, PruningHParams())


def test_trainings_refuse_criteria_of_inputs():
    from tfx_pruning import PruningTrainer, pruning_scope

    message = "scores weights by the inputs of their layers"
    with pytest.raises(ValueError, match=message), pruning_scope(_hparams()):
        pass
    with pytest.raises(ValueError, match=message):
        PruningTrainer(hparams=_hparams(), run_fn="module.run_fn", examples=object())
