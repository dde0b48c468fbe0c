"""prune_saved_model by gradients of a loss."""

import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning import PruningHParams, prune_saved_model
from tfx_pruning.engine.ranking import block_fisher


class _Classifier(tf.Module):
    """Two layers, and a signature that returns a loss."""

    def __init__(self):
        super().__init__()
        random = np.random.default_rng(0)
        self.first = tf.Variable(random.normal(size=(10, 12)).astype(np.float32), name="first/kernel")
        self.second = tf.Variable(random.normal(size=(12, 3)).astype(np.float32), name="second/kernel")

    def logits(self, x):
        return tf.nn.tanh(x @ self.first) @ self.second

    @tf.function(input_signature=[tf.TensorSpec([None, 10], name="x")], autograph=False)
    def serve(self, x):
        return {"logits": self.logits(x)}

    @tf.function(input_signature=[tf.TensorSpec([None, 10], name="x")], autograph=False)
    def probabilities(self, x):
        return {"p": tf.nn.softmax(self.logits(x)), "first": x}

    @tf.function(
        input_signature=[tf.TensorSpec([None, 10], name="x"), tf.TensorSpec([None], tf.int64, name="y")],
        autograph=False,
    )
    def loss(self, x, y):
        return {"loss": tf.nn.sparse_softmax_cross_entropy_with_logits(y, self.logits(x))}


@pytest.fixture(scope="module")
def model():
    return _Classifier()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("models") / "classifier")
    signatures = {"serving_default": model.serve, "probabilities": model.probabilities, "loss": model.loss}
    tf.saved_model.save(model, folder, signatures=signatures)
    return folder


@pytest.fixture(scope="module")
def examples(model):
    x = np.random.default_rng(1).normal(size=(60, 10)).astype(np.float32)
    return {"x": x, "y": np.argmax(model.logits(x), 1)}


def _gradients(model, examples):
    """The gradient of each example with respect to each kernel."""
    found = []
    for x, y in zip(examples["x"], examples["y"], strict=True):
        with tf.GradientTape() as tape:
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits([y], model.logits(x[None]))[0]
        found.append([each.numpy() for each in tape.gradient(loss, [model.first, model.second])])
    return [np.stack(each) for each in zip(*found, strict=True)]


def _kernels(folder):
    reader = tf.train.load_checkpoint(f"{folder}/variables/variables")
    return [reader.get_tensor(f"{name}/.ATTRIBUTES/VARIABLE_VALUE") for name in ("first", "second")]


def _one_round(monkeypatch):
    monkeypatch.setattr("tfx_pruning.post_training_pruner.gradient_pruning._MOST_ROUNDS", 1)


def test_diagonal_fisher_scores_by_gradients_of_single_examples(model, folder, examples, tmp_path, monkeypatch):
    _one_round(monkeypatch)
    hparams = PruningHParams(prune_option="second_order_gradient", target_sparsity=0.5)
    prune_saved_model(folder, tmp_path / "pruned", examples, hparams, label="y")
    for kernel, weight, gradients in zip(
        _kernels(tmp_path / "pruned"), (model.first, model.second), _gradients(model, examples), strict=True
    ):
        scores = np.square(weight) * np.mean(np.square(gradients), 0)
        mask = scores > np.median(scores)
        np.testing.assert_array_equal(kernel, np.where(mask, weight, 0))


def _fisher(gradients):
    """The blocks of the Fisher matrix of one weight, cut out of the whole."""
    flat = gradients.reshape(len(gradients), -1).astype(np.float64)
    flat = np.pad(flat, [(0, 0), (0, -flat.shape[1] % 16)])
    whole = flat.T @ flat / len(flat)
    return np.stack([whole[at : at + 16, at : at + 16] for at in range(0, len(whole), 16)])


def test_block_fisher_prunes_and_updates_as_optimal_brain_surgeon(model, folder, examples, tmp_path, monkeypatch):
    _one_round(monkeypatch)
    hparams = PruningHParams(
        prune_option="second_order_gradient", gradient_estimator="block_fisher", target_sparsity=0.5
    )
    prune_saved_model(folder, tmp_path / "pruned", examples, hparams, label="y", damping=0.1)
    for kernel, weight, gradients in zip(
        _kernels(tmp_path / "pruned"), (model.first, model.second), _gradients(model, examples), strict=True
    ):
        fisher = _fisher(gradients)
        fisher += 0.1 * np.mean(np.diagonal(fisher, axis1=1, axis2=2)) * np.eye(16)
        size = weight.numpy().size
        given = np.pad(weight.numpy().ravel(), (0, -size % 16)).reshape(-1, 16)
        scores = np.square(given) / np.diagonal(np.linalg.inv(fisher), axis1=1, axis2=2)
        mask = scores > np.median(scores.ravel()[:size])
        assert np.array_equal(mask.ravel()[:size], kernel.ravel() != 0)
        expected = np.zeros_like(given)
        for block, (matrix, old, kept) in enumerate(zip(fisher, given, mask, strict=True)):
            gone = ~kept
            pull = matrix[np.ix_(kept, gone)] @ old[gone]
            expected[block, kept] = old[kept] + np.linalg.solve(matrix[np.ix_(kept, kept)], pull)
        np.testing.assert_allclose(kernel.ravel(), expected.ravel()[:size], rtol=1e-3, atol=1e-4)


def test_rounds_reach_exactly_the_target_over_all_weights(folder, examples, tmp_path):
    hparams = PruningHParams(
        prune_option="second_order_gradient",
        gradient_estimator="block_fisher",
        target_sparsity=0.8,
        allocation="global",
    )
    report = prune_saved_model(folder, tmp_path / "pruned", examples, hparams, label="y")
    assert sum(each.nonzero for each in report.weights) == round(0.2 * 156)
    without = prune_saved_model(folder, tmp_path / "without", examples, hparams, label="y", update=False)
    assert sum(each.nonzero for each in without.weights) == round(0.2 * 156)
    for old, new in zip(_kernels(folder), _kernels(tmp_path / "without"), strict=True):
        np.testing.assert_array_equal(new[new != 0], old[new != 0])


def test_two_of_four_in_rounds(folder, examples, tmp_path):
    hparams = PruningHParams(
        prune_option="second_order_gradient", gradient_estimator="block_fisher", n_of_m="2:4", target_sparsity=0.5
    )
    prune_saved_model(folder, tmp_path / "pruned", examples, hparams, label="y", signature="serving_default")
    second = _kernels(tmp_path / "pruned")[1]
    np.testing.assert_array_equal(np.count_nonzero(second.reshape(3, 4, 3), axis=1), 2)


@pytest.mark.parametrize(
    "how",
    [
        {"signature": "loss", "output": "loss"},
        {"signature": "probabilities", "label": "y", "output": "p"},
    ],
)
def test_losses_of_other_signatures_prune_alike(folder, examples, tmp_path, how, monkeypatch):
    _one_round(monkeypatch)
    hparams = PruningHParams(prune_option="first_order_gradient", target_sparsity=0.5)
    prune_saved_model(folder, tmp_path / "logits", examples, hparams, label="y", signature="serving_default")
    prune_saved_model(folder, tmp_path / "other", examples, hparams, **how)
    for one, other in zip(_kernels(tmp_path / "logits"), _kernels(tmp_path / "other"), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "give label, the name of the feature"),
        ({"label": "z"}, r"\['z'\] is missing"),
        ({"label": "y", "loss": "hinge"}, "loss must be one of auto"),
        ({"label": "y", "signature": "probabilities"}, "returns .*and none was named: name the output"),
        (
            {"label": "y", "signature": "probabilities", "output": "p", "loss": "sigmoid_cross_entropy"},
            "comes out of a softmax",
        ),
        ({"signature": "probabilities", "output": "first"}, "no gradient with respect to first/kernel"),
    ],
)
def test_refused(folder, examples, tmp_path, more, message):
    hparams = PruningHParams(prune_option="second_order_gradient", gradient_estimator="block_fisher")
    with pytest.raises(ValueError, match=message):
        prune_saved_model(folder, tmp_path / "pruned", examples, hparams, **more)
    assert not (tmp_path / "pruned").exists()


def test_gradients_that_are_not_finite_are_refused(folder, examples, tmp_path):
    hparams = PruningHParams(prune_option="first_order_gradient", target_sparsity=0.5)
    wrong = {**examples, "x": np.where(examples["x"] > 1, np.nan, examples["x"])}
    with pytest.raises(ValueError, match="first/kernel gradients that are not finite"):
        prune_saved_model(folder, tmp_path / "pruned", wrong, hparams, label="y")


def test_blocks_are_of_consecutive_weights():
    weight = tf.reshape(tf.range(36.0), [4, 9])
    found = block_fisher.blocks(weight)
    assert found.shape == (3, 16)
    np.testing.assert_array_equal(found[2], [32, 33, 34, 35, *[0] * 12])
    np.testing.assert_array_equal(block_fisher.elements(found, weight), weight)


def test_after_a_refusal_a_strategy_can_be_entered():
    # The refusals above are raised while gradients are traced.
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        assert tf.Variable(1.0).numpy() == 1.0
