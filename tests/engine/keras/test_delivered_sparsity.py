import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning import PruningHParams, pruning_scope
from tfx_pruning.engine.keras.delivered_sparsity import SparsityError, delivered_sparsity

X = np.random.default_rng(0).normal(size=(64, 10)).astype("f")


def model_of(units=20):
    return keras.Sequential([keras.layers.Input((10,)), keras.layers.Dense(units), keras.layers.Dense(1)])


def prune(model, epochs=4, **fields):
    model.compile("adam", "mse", jit_compile=False)
    defaults = {"target_sparsity": 0.8, "pruning_frequency": 1, "sparsity_function_end_step": 6}
    with pruning_scope(PruningHParams(**{**defaults, **fields})) as scope:
        model.fit(X, X[:, :1], epochs=epochs, verbose=0)
    return scope


@pytest.fixture(scope="module")
def pruned():
    """A model whose kernels are pruned to 80 %, and the scope it was pruned in."""
    model = model_of()
    return model, prune(model)


@pytest.fixture
def changed_kernel(pruned):
    """The second kernel of the pruned model, which a test may change."""
    kernel = pruned[0].layers[1].kernel
    before = kernel.numpy()
    yield kernel
    kernel.assign(before)


@pytest.mark.parametrize("save", [lambda m, p: tf.saved_model.save(m, p), lambda m, p: m.export(p, verbose=False)])
def test_counts_what_was_saved(tmp_path, pruned, save):
    model, scope = pruned
    save(model, str(tmp_path))
    report = delivered_sparsity(scope, str(tmp_path))
    assert [(w.path, w.size, w.nonzero) for w in report.weights] == [
        (layer.kernel.path, size, nonzero)
        for layer, size, nonzero in zip(model.layers, [200, 20], [40, 4], strict=True)
    ]
    assert (report.prunable_parameters, report.nonzero_parameters, report.total_parameters) == (220, 44, 241)
    assert report.sparsity == pytest.approx(0.8)
    assert report.total_sparsity == scope.total_sparsities[0] == pytest.approx(176 / 241)


def test_global_sparsity_is_checked_in_sum(tmp_path):
    model = model_of()
    scope = prune(model, allocation="global")
    tf.saved_model.save(model, str(tmp_path))
    report = delivered_sparsity(scope, str(tmp_path))
    assert report.nonzero_parameters == 44
    assert report.weights[0].sparsity != report.weights[1].sparsity


def test_a_clone_saved_under_other_names_is_recognised_by_its_values(tmp_path, pruned):
    model, scope = pruned
    clone = model_of()
    clone.set_weights(model.get_weights())
    tf.saved_model.save(clone, str(tmp_path))
    assert delivered_sparsity(scope, str(tmp_path)).nonzero_parameters == 44


def test_blocks_of_unequal_size_are_counted_as_they_are(tmp_path):
    layers = [keras.layers.Input((10,)), keras.layers.Dense(5, name="first"), keras.layers.Dense(1, name="last")]
    model = keras.Sequential(layers)
    scope = prune(model, target_sparsity=0.5, block_height=4, block_width=2, exclude=["last"])
    tf.saved_model.save(model, str(tmp_path))
    report = delivered_sparsity(scope, str(tmp_path))
    [weight] = report.weights
    kernel = model.layers[0].kernel.numpy()
    assert (weight.size, weight.nonzero) == (50, np.count_nonzero(kernel))
    blocks = np.pad(kernel, [[0, 2], [0, 1]]).reshape(3, 4, 3, 2)
    assert np.count_nonzero(np.any(blocks, axis=(1, 3))) == round(9 * 0.5)


def refused(scope, path, *words):
    with pytest.raises(SparsityError) as caught:
        delivered_sparsity(scope, str(path))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("allocation", ["uniform", "global"])
def test_a_training_too_short_for_its_schedule_fails(tmp_path, allocation):
    model = model_of()
    scope = prune(model, epochs=2, sparsity_function_end_step=50, allocation=allocation)
    tf.saved_model.save(model, str(tmp_path))
    subject = model.layers[0].kernel.path if allocation == "uniform" else "all 2 pruned weights"
    refused(scope, tmp_path, subject, "asked for", "80.0000%", "4 steps", "step 50", "for_steps(4")


def test_weights_changed_after_fit_fail(tmp_path, pruned, changed_kernel):
    model, scope = pruned
    changed_kernel.assign(tf.ones([20, 1]))
    tf.saved_model.save(model, str(tmp_path))
    refused(scope, tmp_path, changed_kernel.path, "16 zeros of 20", "has 0", "changed after fit")


def test_more_zeros_than_asked_for_fail(tmp_path, pruned, changed_kernel):
    model, scope = pruned
    changed_kernel.assign(tf.zeros([20, 1]))
    tf.saved_model.save(model, str(tmp_path))
    refused(scope, tmp_path, changed_kernel.path, "16 zeros of 20", "has 20", "zero all the same")


def test_another_model_than_the_pruned_one_fails(tmp_path, pruned):
    _, scope = pruned
    other = model_of(units=7)
    tf.saved_model.save(other, str(tmp_path))
    refused(scope, tmp_path, "not the one that was pruned", other.layers[0].kernel.path)


def test_no_saved_model_fails(tmp_path, pruned):
    _, scope = pruned
    with pytest.raises(ValueError, match="holds no SavedModel"):
        delivered_sparsity(scope, str(tmp_path))
