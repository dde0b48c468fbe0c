"""Ours against google-research `model_pruning` itself, which runs in a process of its own.

Random walks have no two scores alike, and the reference's averages start from |w|, not from zero: no tie is broken in
any of these cases, so the masks must be equal, whatever the random numbers. Nor is size * (1 - sparsity) ever a half
here, which the reference's float32 rounds up or down as it happens.
"""

import importlib
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning import Pruning, PruningHParams, apply_mask

# The reference needs a TensorFlow process of its own for each case.
pytestmark = pytest.mark.e2e

_SHAPES = {"dense/kernel": (20, 31), "conv/kernel": (3, 3, 5, 8), "out/kernel": (31, 4)}
_GRADIENT_OPTIONS = ("first_order_gradient", "second_order_gradient")


def _walk(seed, steps, size=0.1):
    rng = np.random.default_rng(seed)
    weights = {name: rng.normal(size=shape) for name, shape in _SHAPES.items()}
    trajectory = []
    for _ in range(steps):
        weights = {name: value + size * rng.normal(size=value.shape) for name, value in weights.items()}
        trajectory.append({name: value.astype(np.float32) for name, value in weights.items()})
    return trajectory


def _training(seed, steps):
    """Gradient descent towards a random point, as in a training: changes shrink, and so does the second difference."""
    rng = np.random.default_rng(seed)
    weights = {name: rng.normal(size=shape) for name, shape in _SHAPES.items()}
    goal = {name: rng.normal(size=shape) for name, shape in _SHAPES.items()}
    rates = {name: rng.uniform(0.01, 0.2, size=shape) for name, shape in _SHAPES.items()}
    trajectory = []
    for _ in range(steps):
        weights = {name: value + rates[name] * (goal[name] - value) for name, value in weights.items()}
        trajectory.append({name: value.astype(np.float32) for name, value in weights.items()})
    return trajectory


_SCHEDULES = {
    "every step": {"pruning_frequency": 1, "sparsity_function_end_step": 19, "target_sparsity": 0.9},
    "frequency that divides nothing, late begin, initial sparsity": {
        "pruning_frequency": 7,
        "begin_pruning_step": 3,
        "sparsity_function_begin_step": 2,
        "sparsity_function_end_step": 29,
        "initial_sparsity": 0.25,
        "target_sparsity": 0.8,
        "gradient_decay_rate": 0.9,
    },
    "another exponent, an end": {
        "pruning_frequency": 4,
        "begin_pruning_step": 6,
        "end_pruning_step": 30,
        "sparsity_function_end_step": 28,
        "sparsity_function_exponent": 1.7,
        "initial_sparsity": 0.1,
        "target_sparsity": 0.63,
        "gradient_decay_rate": 0.5,
    },
}
_TRAJECTORIES = {"random walk": _walk(seed=0, steps=36), "training": _training(seed=1, steps=36)}
_CASES = {
    f"{option}, {walk}, {schedule}": (trajectory, {"prune_option": option, **values})
    for option in ("weight", *_GRADIENT_OPTIONS)
    for walk, trajectory in _TRAJECTORIES.items()
    for schedule, values in _SCHEDULES.items()
}
# Blocks that fit into the kernels: where they do not, the reference pools other blocks than those that it prunes.
_BLOCKS = {
    "rows": {"block_width": -1},
    "rows by their largest": {"block_width": -1, "block_pooling_function": "MAX"},
}
_CASES |= {
    f"{option}, {blocks}": (
        _TRAJECTORIES["random walk"],
        {"prune_option": option, "pruning_frequency": 2, "sparsity_function_end_step": 30, **values},
    )
    for option in ("weight", *_GRADIENT_OPTIONS)
    for blocks, values in _BLOCKS.items()
}


@pytest.fixture(scope="module")
def reference():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(pathlib.Path(__file__).parents[2] / "benchmarks")
        runs = importlib.import_module("reference").reference_runs(list(_CASES.values()))
    return dict(zip(_CASES, runs, strict=True))


@pytest.mark.parametrize("case", _CASES)
def test_masks_and_state_equal_the_references_step_by_step(case, reference):
    trajectory, values = _CASES[case]
    weights = [tf.Variable(value, name=name) for name, value in trajectory[0].items()]
    for weight in weights:
        apply_mask(weight)
    pruning = Pruning(PruningHParams(gradient_estimator="weight_delta", include=("kernel",), **values), weights)
    update = tf.function(pruning.conditional_mask_update)
    sparsities = set()
    for step, (at_step, expected) in enumerate(zip(trajectory, reference[case], strict=True)):
        for weight, value in zip(weights, at_step.values(), strict=True):
            weight.assign(value)
        update(tf.constant(step, tf.int64))
        for state, name in zip(pruning.states, at_step, strict=True):
            np.testing.assert_array_equal(state.mask, expected.masks[name], err_msg=f"mask of {name} at step {step}")
            if name in expected.gradients:
                np.testing.assert_allclose(state.gradient, expected.gradients[name], rtol=2e-6, atol=1e-9)
                np.testing.assert_array_equal(state.old_weight, expected.old_weights[name])
        sparsities.add(round(pruning.sparsity(), 6))
    assert len(sparsities) > 3, "the case is void: the masks hardly changed"
