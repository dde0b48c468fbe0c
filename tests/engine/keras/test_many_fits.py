"""Many fits: each is pruned exactly, and nothing of one is left in memory when the next begins."""

import collections
import gc

import keras
import numpy as np
import pytest

from helpers.fits import BATCH, STEPS, X, Y, assert_exact, build, hparams, kernels
from tfx_pruning import pruning_scope

FITS = 30


def _objects() -> collections.Counter[str]:
    gc.collect()
    return collections.Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())


def _fit(model: keras.Model) -> None:
    model.fit(X, Y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0)


@pytest.mark.slow
def test_thirty_fits_of_a_model_in_one_scope_are_one_training_and_leave_nothing_in_memory() -> None:
    model = build()
    model.compile("adam", "mse", jit_compile=False)
    settled = _objects()  # to look for the first time makes objects itself
    # The last mask update is in the last fit.
    end = FITS * STEPS - 1
    with pruning_scope(
        hparams(prune_option="first_order_gradient", sparsity_function_end_step=end, target_sparsity=0.9)
    ) as scope:
        sparsities = []
        for number in range(FITS):
            if number == FITS - 20:
                settled = _objects()
            _fit(model)
            sparsities.append(scope.prunings[0].sparsity())
        grown = {name: count - settled[name] for name, count in _objects().items() if count - settled[name] >= 20}
    assert grown == {}
    ((_, pruning, step),) = scope.trainings
    assert step == FITS * STEPS
    assert sparsities == sorted(sparsities)
    assert len(set(sparsities)) > FITS / 2
    assert_exact(model, 0.9)
    for state in pruning.states:
        np.testing.assert_array_equal(state.mask.numpy() != 0, state.weight.numpy() != 0)


@pytest.mark.slow
def test_thirty_models_in_one_scope_are_pruned_exactly_and_go_with_it() -> None:
    def ours() -> int:
        return sum(count for name, count in _objects().items() if name.startswith("tfx_pruning."))

    before = ours()
    with pruning_scope(hparams(prune_option="first_order_gradient")) as scope:
        for number in range(FITS):
            model = build()
            model.compile("adam", "mse", jit_compile=False)
            _fit(model)
            _fit(model)
            # Each has steps and masks of its own.
            assert [step for _, _, step in scope.trainings] == [2 * STEPS] * (number + 1)
    assert len({id(state.weight) for pruning in scope.prunings for state in pruning.states}) == 2 * FITS
    for fitted, pruning, _ in scope.trainings:
        assert_exact(fitted)
        for state, kernel in zip(pruning.states, kernels(fitted), strict=True):
            np.testing.assert_array_equal(state.mask.numpy() != 0, kernel.numpy() != 0)
    assert ours() > before
    del scope, model, fitted, pruning, state, kernel
    assert ours() == before
