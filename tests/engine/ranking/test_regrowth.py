import dataclasses
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning import Pruning, PruningHParams, apply_mask, pruning_scope
from tfx_pruning.engine.keras.delivered_sparsity import delivered_sparsity

BEGIN, END, FREQUENCY, FRACTION, RATE = 2, 22, 4, 0.6, 0.1
SHAPES = {"a/kernel": (12, 16), "b/kernel": (16, 8), "c/kernel": (3, 3, 4, 8)}
ALLOCATIONS = {
    "uniform": {},
    "global": {"allocation": "global"},
    "global with floors": {"allocation": "global", "min_layer_density": 0.15},
    "erk": {"allocation": "erk"},
    "groups": {"group_pruning": True, "group_sparsity_map": ["^[ab]/:0.6"]},
    "groups with floors": {"group_pruning": True, "min_layer_density": 0.2},
}
GRANULARITIES = {
    "blocks": {"block_height": 2, "block_width": 4},
    "largest of blocks": {"block_height": 4, "block_width": 4, "block_pooling_function": "MAX"},
    "2:4": {"n_of_m": "2:4", "target_sparsity": 0.5, "regrow_fraction": 0.9},
    "runs of 8": {"intra_block_sparsity": True, "block_width": 8, "target_sparsity": 0.5},
}
CASES = ALLOCATIONS | GRANULARITIES


def hparams(**fields):
    return PruningHParams(
        **{
            "regrow": "gradient",
            "regrow_fraction": FRACTION,
            "target_sparsity": 0.7,
            "begin_pruning_step": BEGIN,
            "end_pruning_step": END,
            "sparsity_function_begin_step": BEGIN,
            "sparsity_function_end_step": 18,
            "pruning_frequency": FREQUENCY,
            "gradient_decay_rate": 0.5,
            **fields,
        }
    )


def largest(values, count):
    """Where the `count` largest of a vector are."""
    chosen = np.zeros(len(values), bool)
    chosen[np.argsort(-values, kind="stable")[:count]] = True
    return chosen


def regrown(scores, live, gradients, kept, fraction, floors):
    """The mask of one part, from vectors of each weight's units; as simple as it can be said."""
    of = np.repeat(np.arange(len(scores)), [len(score) for score in scores])
    scores, live, gradients = (np.concatenate(vectors) for vectors in (scores, live, gradients))
    room = min(math.floor(fraction * kept + 1e-6), kept - sum(floors))
    staying = np.where(live, scores, -1)
    sure = np.zeros(len(scores), bool)
    for index, floor in enumerate(floors):
        sure |= largest(np.where(of == index, staying, -2), floor)
    mask = largest(np.where(sure, np.inf, staying), kept - room) & live
    candidates = np.where(mask, 0, gradients)
    mask |= largest(candidates, room) & (candidates > 0)
    mask = largest(np.where(mask, np.inf, scores), kept)
    return np.split(mask, np.flatnonzero(np.diff(of)) + 1)


class Plain:
    """Regrowth in NumPy: weights and masks as units by members, float32."""

    def __init__(self, fields, shapes):
        self.fields, self.shapes = fields, shapes
        self.state = [np.zeros(shape, "f") for shape in shapes]
        self.masks = [np.ones(shape, bool) for shape in shapes]

    def units(self, array):
        """[units, members]"""
        if "block_height" in self.fields:
            height, width = self.fields["block_height"], self.fields["block_width"]
            grid = array.reshape(array.shape[0] // height, height, array.shape[1] // width, width)
            return grid.transpose(0, 2, 1, 3).reshape(-1, height * width)
        return array.reshape(-1, 1)

    def whole(self, units, shape):
        """The shape of the weight, from a vector of units."""
        if "block_height" in self.fields:
            height, width = self.fields["block_height"], self.fields["block_width"]
            grid = units.reshape(shape[0] // height, shape[1] // width)
            return np.kron(grid, np.ones((height, width), bool))
        return units.reshape(shape)

    def observe(self, gradients):
        for state, gradient in zip(self.state, gradients, strict=True):
            state[...] = np.float32(0.5) * state + np.float32(0.5) * np.abs(gradient)

    def update(self, weights, parts, kept, fraction, floors):
        pool = np.max if self.fields.get("block_pooling_function") == "MAX" else np.mean
        scores = [pool(self.units(np.abs(weight)), axis=1) for weight in weights]
        live = [self.units(mask).any(axis=1) for mask in self.masks]
        gradients = [
            pool(self.units(state), axis=1) * (self.units(weight) != 0).all(axis=1)
            for state, weight in zip(self.state, weights, strict=True)
        ]
        for part, count in zip(parts, kept, strict=True):
            least = [floors[index] if len(part) > 1 else 0 for index in part]
            of_part = [[each[index] for index in part] for each in (scores, live, gradients)]
            for index, mask in zip(part, self.ranked(*of_part, count, fraction, least, part), strict=True):
                self.masks[index] = self.whole(mask, self.shapes[index])

    def ranked(self, scores, live, gradients, count, fraction, floors, part):
        length = 4 if "n_of_m" in self.fields else self.fields.get("block_width", 0)
        if not length or "block_height" in self.fields:
            return regrown(scores, live, gradients, count, fraction, floors)
        # Runs along the axis before the last, or the last.
        shape, axis = self.shapes[part[0]], -2 if "n_of_m" in self.fields else -1
        moved = [np.moveaxis(each[0].reshape(shape), axis, -1) for each in (scores, live, gradients)]
        runs = zip(*(each.reshape(-1, length) for each in moved), strict=True)
        kept = count * length // math.prod(shape)
        masks = [regrown(*([values] for values in run), kept, fraction, [0])[0] for run in runs]
        return [np.moveaxis(np.reshape(masks, moved[0].shape), -1, axis).reshape(-1)]


@pytest.mark.parametrize("name", CASES)
def test_masks_are_those_of_plain_numpy(name):
    fields = CASES[name]
    rng = np.random.default_rng(1)
    wanted = hparams(**fields)
    weights = [
        tf.Variable(rng.normal(size=shape).astype("f"), name=path)
        for path, shape in SHAPES.items()
        if len(shape) == 2 or "block_height" not in fields
    ]
    pruning = Pruning(wanted, weights)
    without = Pruning(dataclasses.replace(wanted, regrow=""), [tf.Variable(w, name=w.name[:-2]) for w in weights])
    plain = Plain(fields, [tuple(weight.shape) for weight in weights])
    came_back = 0
    for step in range(1, 27):
        gradients = [rng.normal(size=weight.shape).astype("f") for weight in weights]
        if "block_height" not in fields:
            # A third of the weights does not move.
            gradients = [gradient * (rng.random(gradient.shape) > 0.3) for gradient in gradients]
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.assign_sub(RATE * gradient)
        plain.observe(gradients)
        moved = [weight.numpy() for weight in weights]
        before = [mask.numpy() for mask in pruning.masks]
        updated = bool(pruning.conditional_mask_update(step, gradients))
        without.conditional_mask_update(step, gradients)
        assert updated == (step in (4, 8, 12, 16, 20))
        if updated:
            progress = (step - BEGIN) / (END - BEGIN)
            fraction = wanted.regrow_fraction / 2 * (1 + math.cos(math.pi * progress))
            floors = [math.ceil(round(wanted.min_layer_density * len(plain.units(mask)), 9)) for mask in plain.masks]
            kept = [share.kept for share in without.shares_at_target()]
            plain.update(moved, pruning.parts, kept, fraction, floors)
        for mask, expected, weight, value in zip(pruning.masks, plain.masks, weights, moved, strict=True):
            np.testing.assert_array_equal(mask, expected, err_msg=f"step {step}")
            np.testing.assert_array_equal(weight, np.where(expected, value, 0))
            assert np.count_nonzero(weight) == np.count_nonzero(expected)
        came_back += sum(int(np.sum(~old & new.numpy())) for old, new in zip(before, pruning.masks, strict=True))
    assert came_back > 0


def test_the_weights_with_the_largest_gradients_come_back_where_the_smallest_go():
    weight = tf.Variable([5.0, 4.0, 3.0, 2.0, 1.0, 0.9, 0.8, 0.7], name="kernel")
    pruning = Pruning(
        PruningHParams(
            regrow="gradient",
            regrow_fraction=0.5,
            gradient_decay_rate=0.0,
            sparsity_function="constant",
            begin_pruning_step=1,
            end_pruning_step=3,
            pruning_frequency=1,
        ),
        [weight],
    )
    # Of the four that are kept, two make room: 5 and 4 stay. Of the rest, just dropped all, 2 and 0.7 have gradients.
    gradient = np.float32([0, 0, 0, -9, 0, 0, 0, 8])
    pruning.conditional_mask_update(1, [gradient])
    np.testing.assert_array_equal(weight, np.float32([5, 4, 0, 2, 0, 0, 0, 0.7]))
    # The step moved two pruned weights, and half way one weight makes room for one of them.
    weight.assign(np.float32([5, 4, -0.3, 2, 0, 0.1, 0, 0.7]))
    pruning.conditional_mask_update(2, [np.float32([9, 9, 1, 9, 9, 2, 9, 1])])
    np.testing.assert_array_equal(weight, np.float32([5, 4, 0, 2, 0, 0.1, 0, 0]))


def test_where_no_pruned_weight_has_a_gradient_none_makes_room():
    weight = tf.Variable(np.arange(1.0, 11.0, dtype="f"), name="kernel")
    pruning = Pruning(hparams(), [weight])
    for step in range(1, 23):
        pruning.conditional_mask_update(step, [np.zeros(10, "f")])
    np.testing.assert_array_equal(weight, np.where(np.arange(1, 11) > 7, np.arange(1.0, 11.0), 0))


def test_a_weight_that_came_back_stays_before_dead_ones_though_its_score_is_none():
    weight = tf.Variable([4.0, 3.0, 2.0, 1.0], name="kernel")
    wanted = hparams(prune_option="first_order_gradient", target_sparsity=0.5, gradient_decay_rate=0.0)
    pruning = Pruning(dataclasses.replace(wanted, sparsity_function="constant"), [weight])
    pruning.conditional_mask_update(4, [np.float32([2, 1, 0, 1])])
    before = weight.numpy()
    assert np.count_nonzero(before) == 2
    weight.assign(np.where(before != 0, before, [0, 1e-3, 1e-3, 1e-3]))
    pruning.conditional_mask_update(8, [np.zeros(4, "f")])
    np.testing.assert_array_equal(weight, before)


@pytest.mark.parametrize(
    ("name", "jit_compile"),
    [
        ("global with floors", False),
        pytest.param("global with floors", True, marks=pytest.mark.slow),
        pytest.param("2:4", True, marks=pytest.mark.slow),
    ],
)
def test_graphs_and_xla_give_the_masks_of_an_eager_update_ties_included(name, jit_compile):
    values = {path: np.sign(np.random.default_rng(2).normal(size=shape)) for path, shape in SHAPES.items()}

    def masks(compiled):
        weights = [tf.Variable(value.astype("f"), name=path) for path, value in values.items()]
        pruning = Pruning(hparams(**CASES[name]), weights)

        def step(number):
            gradients = [tf.sign(weight) + 2 for weight in weights]
            for weight in weights:
                weight.assign_add(tf.ones_like(weight) * 0.5)
            pruning.conditional_mask_update(number, gradients)

        if compiled:
            step = tf.function(step, jit_compile=jit_compile)
        for number in (4, 8, 12):
            step(tf.constant(number, tf.int64))
        return [mask.numpy() for mask in pruning.masks]

    for one, other in zip(masks(True), masks(False), strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_under_apply_mask_are_refused():
    weight = tf.Variable(np.ones((4, 4), "f"), name="mine/kernel")
    apply_mask(weight)
    with pytest.raises(ValueError, match=r"regrow='gradient'.*apply_mask.*mine/kernel"):
        Pruning(hparams(), [weight])


def test_weights_that_apply_mask_meets_later_are_refused_at_the_mask_update():
    weight = tf.Variable(np.ones((4, 4), "f"), name="mine/kernel")
    pruning = Pruning(hparams(), [weight])
    apply_mask(weight)
    with pytest.raises(ValueError, match=r"regrow='gradient'.*apply_mask.*mine/kernel"):
        pruning.conditional_mask_update(4, [np.ones((4, 4), "f")])


def test_gradients_are_needed_for_magnitude_too():
    pruning = Pruning(hparams(), [tf.Variable(np.ones((4, 4), "f"))])
    with pytest.raises(ValueError, match="regrow='gradient' needs the gradients"):
        pruning.conditional_mask_update(4)


RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 12)).astype("f")
Y = np.stack([X[:, 0] * 2 - X[:, 3], X[:, 5]], axis=1)


def network():
    return keras.Sequential(
        [
            keras.layers.Input((12,)),
            keras.layers.Dense(16, activation="tanh", name="first"),
            keras.layers.Dense(8, activation="tanh", name="second"),
            keras.layers.Dense(2),
        ]
    )


class Returns(keras.callbacks.Callback):
    """Counts the weights that come back."""

    def __init__(self, scope):
        super().__init__()
        self.scope, self.zeros, self.count = scope, None, 0

    def on_train_batch_end(self, batch, logs=None):
        del batch, logs
        zeros = [weight.numpy() == 0 for weight in self.scope.prunings[0].weights]
        if self.zeros is not None:
            self.count += sum(int(np.sum(old & ~new)) for old, new in zip(self.zeros, zeros, strict=True))
        self.zeros = zeros


def fit(model, epochs=4, optimizer=None, jit_compile=False, callbacks=(), **fields):
    """24 steps; the masks are updated at 4, 8, ... 20. Returns the pruning and how many weights came back."""
    if getattr(model, "optimizer", None) is None:
        model.compile(optimizer or keras.optimizers.Adam(0.01), "mse", jit_compile=jit_compile)
    with pruning_scope(hparams(**fields)) as scope:
        returns = Returns(scope)
        model.fit(X, Y, batch_size=16, epochs=epochs, shuffle=False, verbose=0, callbacks=[returns, *callbacks])
    return scope, returns.count


def asked_for(scope, step):
    """How many weights each part keeps at `step`, by the allocation, and how many are not zero."""
    (pruning,) = scope.prunings
    kept = [share.most for share in pruning._masks.shares(min(step, END))]
    return kept, [sum(int(np.count_nonzero(pruning.weights[index])) for index in part) for part in pruning.parts]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "prune_option", "epochs"),
    [
        ("uniform", "weight", 2),
        ("global with floors", "first_order_gradient", 4),
        ("erk", "second_order_gradient", 2),
        ("groups", "weight", 4),
        ("2:4", "weight", 4),
    ],
)
def test_fit_delivers_exactly_what_the_schedule_asks_for(name, prune_option, epochs):
    fields = CASES[name]
    if "group_sparsity_map" in fields:
        fields = {**fields, "group_sparsity_map": ["^sequential.*/(first|second)/:0.6"]}
    scope, came_back = fit(network(), epochs, prune_option=prune_option, **fields)
    kept, nonzero = asked_for(scope, 6 * epochs)
    assert nonzero == kept
    assert came_back > 0


@pytest.mark.slow
@pytest.mark.parametrize("steps", [4, 6])
def test_a_training_that_ends_at_a_mask_update_or_after_it_delivers_the_sparsity_of_that_step(steps):
    model = network()
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    with pruning_scope(hparams()) as scope:
        model.fit(X, Y, batch_size=16, steps_per_epoch=steps, verbose=0)
    kept, nonzero = asked_for(scope, steps)
    assert nonzero == kept
    assert nonzero < [12 * 16, 16 * 8, 16]


@pytest.mark.slow
def test_the_saved_model_passes_the_check_of_its_sparsity(tmp_path):
    model = network()
    scope, came_back = fit(model, allocation="global")
    tf.saved_model.save(model, str(tmp_path))
    assert came_back > 0
    assert delivered_sparsity(scope, str(tmp_path)).nonzero_parameters == round(0.3 * (12 * 16 + 16 * 8 + 16))


@pytest.mark.slow
def test_every_way_to_run_a_fit_gives_the_same_masks():
    def masks(jit_compile=False, run_eagerly=False):
        keras.utils.set_random_seed(0)
        model = network()
        model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit_compile, run_eagerly=run_eagerly)
        scope, _ = fit(model)
        return [mask.numpy() for mask in scope.prunings[0].masks]

    graph = masks()
    for other in (masks(jit_compile=True), masks(run_eagerly=True)):
        for one, two in zip(graph, other, strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_replicas_give_the_masks_of_one():
    devices = tf.config.list_logical_devices("CPU")
    masks, came_back = [], []
    for strategy in (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy([d.name for d in devices])):
        keras.utils.set_random_seed(0)
        with strategy.scope():
            model = network()
            model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
        scope, count = fit(model)
        masks.append([mask.numpy() for mask in scope.prunings[0].masks])
        came_back.append(count)
        kept, nonzero = asked_for(scope, 24)
        assert nonzero == kept
    assert came_back[0] == came_back[1] > 0
    for one, other in zip(*masks, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_moving_averages_of_the_weights_are_as_sparse():
    scope, came_back = fit(network(), optimizer=keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9))
    kept, nonzero = asked_for(scope, 24)
    assert nonzero == kept
    assert came_back > 0


@pytest.mark.slow
def test_a_training_that_broke_off_goes_on_with_its_gradients(tmp_path):
    def build():
        keras.utils.set_random_seed(0)
        model = network()
        model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False)
        return model

    whole = build()
    fit(whole)
    file = str(tmp_path / "model.keras")
    fit(build(), epochs=2, callbacks=[keras.callbacks.ModelCheckpoint(file)])
    with pruning_scope(hparams()):
        model = keras.models.load_model(file)
        model.fit(X, Y, batch_size=16, epochs=4, initial_epoch=2, shuffle=False, verbose=0)
    for one, other in zip(model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
