"""Masking and updating a large weight in few passes: bit for bit what many passes give."""

import keras
import numpy as np
import pytest

from helpers.fits import X, pruned_fit
from tfx_pruning.engine.compilation import is_large
from tfx_pruning.engine.weight_state import WeightState

UNITS = (600, 500)


def model(constraint=None):
    keras.utils.set_random_seed(5)
    # Half of the units are dead: what goes out of them has no gradient, and its scores by gradient tie at 0.
    dead = keras.initializers.Constant(np.where(np.arange(UNITS[0]) % 2, -1000.0, 0.0))
    return keras.Sequential(
        [
            keras.Input(X.shape[1:]),
            keras.layers.Dense(UNITS[0], activation="relu", bias_initializer=dead),
            keras.layers.Dense(UNITS[1], kernel_constraint=constraint),
            keras.layers.Dense(1),
        ]
    )


def users(optimizer):
    """A class of the user's: of what it assigns nothing is known, and masks follow its update."""
    return type("Users", (optimizer,), {"__module__": __name__})


@pytest.fixture
def assigned(monkeypatch):
    """Paths of the weights that are masked as they are assigned, one each time that is traced."""
    paths, assign_masked = [], WeightState.assign_masked

    def noted(state, *arguments):
        paths.append(state.path)
        assign_masked(state, *arguments)

    monkeypatch.setattr(WeightState, "assign_masked", noted)
    return paths


def weights(optimizer, constraint=None, **fields):
    trained = model(constraint)
    fields = {"prune_option": "weight", "gradient_decay_rate": 0.9, **fields}
    pruned_fit(trained, optimizer, epochs=3, target_sparsity=0.6, sparsity_function_end_step=14, **fields)
    return [weight.numpy() for weight in trained.weights]


def assert_same_bits(optimizer, assigned, **fields):
    own = weights(optimizer(0.01), **fields)
    assert set(assigned) == {"sequential/dense_1/kernel"}
    assigned.clear()
    for one, other in zip(own, weights(users(optimizer)(0.01), **fields), strict=True):
        np.testing.assert_array_equal(one.view(np.uint32), other.view(np.uint32))
    assert not assigned


@pytest.fixture(autouse=True)
def names():
    keras.backend.clear_session()


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"prune_option": "first_order_gradient"}, id="ties", marks=pytest.mark.numerical),
        pytest.param({"prune_option": "second_order_gradient"}, id="ties of squares", marks=pytest.mark.slow),
        pytest.param({"regrow": "gradient"}, id="regrowth", marks=pytest.mark.slow),
        pytest.param({"regrow": "gradient", "prune_option": "first_order_gradient"}, id="both", marks=pytest.mark.slow),
        pytest.param({"allocation": "global"}, id="global", marks=pytest.mark.slow),
    ],
)
def test_every_criterion_gives_the_same_bits(fields, assigned):
    assert_same_bits(keras.optimizers.Adam, assigned, **fields)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("Adadelta", "Adafactor", "Adagrad", "Adamax", "AdamW", "Ftrl", "Lamb", "Lion", "Muon", "Nadam", "RMSprop"),
        *("SGD", "ScheduleFreeAdamW"),
    ],
)
def test_every_optimizer_of_keras_gives_the_same_bits(name, assigned):
    assert_same_bits(getattr(keras.optimizers, name), assigned)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"gradient_accumulation_steps": 2},
        {"clipnorm": 0.1, "weight_decay": 0.1},
        {"loss_scale_factor": 8.0},
    ],
    ids=str,
)
def test_every_option_of_an_optimizer_gives_the_same_bits(options, assigned):
    def sgd(base):
        return lambda rate: base(rate, momentum=0.9, nesterov=True, **options)

    own, other = weights(sgd(keras.optimizers.SGD)(0.01)), assigned.copy()
    assert other
    for one, two in zip(own, weights(sgd(users(keras.optimizers.SGD))(0.01)), strict=True):
        np.testing.assert_array_equal(one.view(np.uint32), two.view(np.uint32))
    assert assigned == other


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "constraint"),
    [
        (lambda: keras.optimizers.SGD(0.01, use_ema=True, ema_overwrite_frequency=4), None),
        (lambda: keras.optimizers.SGD(0.01), keras.constraints.MaxNorm(0.5)),
    ],
    ids=["moving average", "constraint"],
)
def test_what_is_assigned_once_more_is_masked_afterwards(optimizer, constraint, assigned):
    weights(optimizer(), constraint)
    assert not assigned


def test_the_model_has_a_large_weight_and_small_ones():
    assert [is_large(layer.kernel.value) for layer in model().layers] == [False, True, False]


@pytest.mark.numerical
def test_a_large_weight_is_updated_after_its_gradient_is_observed():
    waits_for = {}

    class Noting(keras.optimizers.SGD):
        def update_step(self, gradient, variable, learning_rate):
            waits_for[tuple(variable.shape)] = [each.type for each in gradient.op.control_inputs]
            super().update_step(gradient, variable, learning_rate)

    weights(Noting(0.01), prune_option="first_order_gradient")
    observed = waits_for.pop(UNITS)
    assert observed == ["ReadVariableOp"]
    assert waits_for
    assert not any(waits_for.values())
