"""Candidates of a small network: what goes, how large they are, and what cannot be met."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning import Pruning, PruningHParams, strip_saved_model
from tfx_pruning.budget import Budget
from tfx_pruning.budget_fit.candidate_models import CandidateModels
from tfx_pruning.budget_fit.channel_pruning import ChannelPruning
from tfx_pruning.budget_fit.search import search_budget
from tfx_pruning.saved_model.saved_objects import SavedObjects

HPARAMS = PruningHParams(
    granularity="channel", allocation="global", target_sparsity=0.5, sparsity_function="constant", prune_option="weight"
)
# TensorFlow draws numbers into the files that it writes, which take more or fewer bytes.
_BYTES_OF_NAMES = 60


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(3)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 2), name="x"),
            layers.Conv2D(24, 3, activation="relu", bias_initializer="ones", name="first"),
            layers.Conv2D(16, 3, activation="relu", bias_initializer="ones", name="second"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(96, activation="relu", bias_initializer="ones", name="third"),
            layers.Dense(4, name="last"),
        ],
        name="net",
    )


@pytest.fixture(scope="module")
def dense(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dense")
    network.export(folder / "trained", verbose=False)
    strip_saved_model(folder / "trained", folder / "stripped")
    return str(folder / "stripped")


@pytest.mark.parametrize("cost", ["parameters", "flops"])
def test_the_channels_that_go_are_those_of_a_training_by_magnitude(network, dense, cost):
    hparams = dataclasses.replace(HPARAMS, cost=cost)
    # Masks hang from the weights, which other tests use too.
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    pruning = Pruning(hparams, copy)
    assert pruning.update_masks_if_due(10)
    expected = {path: mask.numpy() for path, mask in zip(pruning.paths, pruning.masks, strict=True)}
    found = ChannelPruning(SavedObjects.read(dense), hparams).pruned(0.5)
    assert sum(int((~mask).sum()) for mask in found.masks) > 0
    assert {weight.name for weight in found.weights} == set(expected)
    for weight, mask in zip(found.weights, found.masks, strict=True):
        np.testing.assert_array_equal(mask, expected[weight.name], err_msg=weight.name)
        np.testing.assert_array_equal(found.values[weight.node] != 0, mask)


def test_layers_that_are_excluded_keep_all(dense):
    hparams = dataclasses.replace(HPARAMS, exclude=("third/kernel",))
    found = ChannelPruning(SavedObjects.read(dense), hparams).pruned(0.2)
    masks = {weight.name: mask for weight, mask in zip(found.weights, found.masks, strict=True)}
    assert set(masks) == {"net/first/kernel", "net/first/bias", "net/second/kernel"}
    assert masks["net/second/kernel"].any(axis=(0, 1, 2)).all()
    with pytest.raises(ValueError, match="No channel of the model"):
        ChannelPruning(SavedObjects.read(dense), dataclasses.replace(HPARAMS, exclude=("kernel",)))


@pytest.fixture(scope="module")
def sizes(dense, tmp_path_factory):
    """Bytes of the dense model and of its half, as SavedModels."""
    models = CandidateModels(dense, HPARAMS, Budget(max_bytes=1), str(tmp_path_factory.mktemp("candidates")))
    assert models.at(0.5) is models.at(0.5 + 1e-9)
    return models.at(0.0).bytes, models.at(0.5).bytes


def test_a_budget_is_met_by_the_candidate_of_the_sparsity(dense, sizes, tmp_path):
    whole, half = sizes
    assert half < 0.8 * whole
    budget = Budget(max_bytes=half)
    plan = search_budget(dense, HPARAMS, budget)
    assert plan.dense.bytes == pytest.approx(whole, abs=_BYTES_OF_NAMES)
    candidate = CandidateModels(dense, HPARAMS, budget, str(tmp_path)).at(plan.next_sparsity())
    assert 0.95 * half <= candidate.bytes <= half + _BYTES_OF_NAMES
    assert len(plan.candidates) <= 8


def test_a_budget_below_the_smallest_model_is_refused_with_its_size(dense):
    with pytest.raises(ValueError, match="the smallest model, at the sparsity") as caught:
        search_budget(dense, HPARAMS, Budget(max_bytes="1kB"))
    smallest = int(str(caught.value).partition("max_bytes=")[2].partition(" ")[0])
    plan = search_budget(dense, HPARAMS, Budget(max_bytes=smallest + _BYTES_OF_NAMES))
    assert plan.smallest.delivered.bytes == pytest.approx(smallest, abs=_BYTES_OF_NAMES)


def test_a_dense_model_that_meets_the_budget_is_not_pruned(dense, sizes):
    plan = search_budget(dense, HPARAMS, Budget(max_bytes=sizes[0] + _BYTES_OF_NAMES))
    assert plan.dense_meets
    assert plan.next_sparsity() == 0.0
    assert [each.sparsity for each in plan.candidates] == [0.0]


def test_single_zeros_make_the_compressed_model_smaller(dense):
    hparams = PruningHParams(target_sparsity=0.5, allocation="global")
    plan = search_budget(dense, hparams, Budget(max_bytes="20kB", format="savedmodel_gz"), shrink=False)
    assert not plan.dense_meets
    fitting = [each for each in plan.candidates if each.sparsity == plan.next_sparsity()]
    assert all(each.delivered.bytes <= 20_000 for each in fitting)
    with pytest.raises(ValueError, match="needs granularity='channel'"):
        search_budget(dense, hparams, Budget(max_bytes="20kB"))


def test_a_format_that_the_model_cannot_be_of_is_refused_before_any_training(tmp_path):
    module = tf.Module()
    module.kernel = tf.Variable(tf.ones([3, 4]), name="kernel")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples):
        parsed = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([3], tf.float32)})
        return {"y": parsed["x"] @ module.kernel}

    tf.saved_model.save(module, tmp_path / "model", signatures={"serving_default": serve})
    hparams = dataclasses.replace(HPARAMS, granularity="element")
    budget = Budget(max_bytes=10, format="tflite")
    with pytest.raises(ValueError, match=r"cannot be a TFLite file: TFLite has no kernels for .*ParseExample"):
        CandidateModels(str(tmp_path / "model"), hparams, budget, str(tmp_path / "candidates")).at(0.0)
