import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning import PruningHParams, pruning_scope

# A training for each.
pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
ROWS, BATCH, DECAY = 64, 16, 0.5
LABELS = RNG.normal(size=(ROWS, 2)).astype("f")
SEQUENCES = RNG.normal(size=(ROWS, 5, 4)).astype("f")
IMAGES = RNG.normal(size=(ROWS, 6, 6, 3)).astype("f")
TOKENS = RNG.integers(0, 30, size=(ROWS, 5))
FEATURES = RNG.normal(size=(ROWS, 8)).astype("f")


def recurrent():
    inputs = keras.layers.Input((5, 4))
    x = keras.layers.LSTM(6, return_sequences=True, name="lstm")(inputs)
    x = keras.layers.GRU(5, name="gru")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(x))


def attention():
    inputs = keras.layers.Input((5, 4))
    x = keras.layers.MultiHeadAttention(2, 3, name="attention")(inputs, inputs)
    x = keras.layers.EinsumDense("abc,cd->abd", output_shape=(None, 6), name="einsum")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(keras.layers.GlobalAveragePooling1D()(x)))


def depthwise():
    inputs = keras.layers.Input((6, 6, 3))
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(inputs)
    x = keras.layers.SeparableConv2D(5, 2, name="separable")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(keras.layers.GlobalAveragePooling2D()(x)))


def embedding():
    inputs = keras.layers.Input((5,), dtype="int32")
    x = keras.layers.Embedding(30, 4, name="embedding")(inputs)
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(keras.layers.GlobalAveragePooling1D()(x)))


def shared_and_frozen():
    inputs = keras.layers.Input((8,))
    shared = keras.layers.Dense(8, activation="tanh", name="shared")
    frozen = keras.layers.Dense(8, name="frozen", trainable=False)
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(frozen(shared(shared(inputs)))))


HEAD = {"head/kernel"}
CASES = {
    "recurrent": (
        recurrent,
        SEQUENCES,
        (),
        HEAD
        | {f"{cell}/{cell}_cell/{kernel}" for cell in ("lstm", "gru") for kernel in ("kernel", "recurrent_kernel")},
    ),
    "attention": (
        attention,
        SEQUENCES,
        (),
        HEAD
        | {"einsum/kernel"}
        | {f"attention/{part}/kernel" for part in ("query", "key", "value", "attention_output")},
    ),
    "depthwise": (
        depthwise,
        IMAGES,
        (),
        HEAD | {"depthwise/kernel", "separable/depthwise_kernel", "separable/pointwise_kernel"},
    ),
    "embedding": (embedding, TOKENS, ["embedding/embeddings", "kernel$"], HEAD | {"embedding/embeddings"}),
    "shared_and_frozen": (shared_and_frozen, FEATURES, (), HEAD | {"shared/kernel"}),
}


class ByHand(keras.callbacks.Callback):
    """The moving averages of |gradient|, and whether pruned weights are zero, at every batch."""

    def __init__(self, x, scope):
        super().__init__()
        self.x, self.scope = x, scope
        self.averages = {}

    def on_train_batch_begin(self, batch, logs=None):
        rows = slice(batch * BATCH, (batch + 1) * BATCH)
        weights = self.model.trainable_weights
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self.model(self.x[rows], training=True) - LABELS[rows]) ** 2)
        for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
            sample = np.abs(tf.convert_to_tensor(gradient).numpy())
            self.averages[weight.path] = DECAY * self.averages.get(weight.path, 0) + (1 - DECAY) * sample

    def on_train_batch_end(self, batch, logs=None):
        for state in self.scope.prunings[0].states:
            assert not np.any(state.weight.numpy()[state.mask.numpy() == 0]), state.path


def fit(model, x, callbacks=lambda scope: [], **fields):
    hparams = PruningHParams(
        **{
            "prune_option": "first_order_gradient",
            "target_sparsity": 0.6,
            "begin_pruning_step": 2,
            "sparsity_function_begin_step": 2,
            "sparsity_function_end_step": 6,
            "pruning_frequency": 2,
            "gradient_decay_rate": DECAY,
            **fields,
        }
    )
    model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False)
    with pruning_scope(hparams) as scope:
        model.fit(x, LABELS, batch_size=BATCH, epochs=2, shuffle=False, verbose=0, callbacks=callbacks(scope))
    return scope.prunings[0]


@pytest.mark.parametrize("case", CASES)
def test_layers_are_pruned_exactly_by_their_gradients(case):
    build, x, include, paths = CASES[case]
    model, callbacks = build(), []
    untouched = {weight.path: weight.numpy() for weight in model.non_trainable_weights}

    def by_hand(scope):
        callbacks.append(ByHand(x, scope))
        return callbacks

    pruning = fit(model, x, by_hand, include=include)
    assert set(pruning.paths) == paths
    for state in pruning.states:
        assert np.count_nonzero(state.weight) == round(state.size * (1 - 0.6)), state.path
        np.testing.assert_allclose(state.gradient, callbacks[0].averages[state.path], rtol=1e-3, atol=1e-7)
    for weight in model.trainable_weights:
        if weight.path not in paths:
            assert np.any(weight), weight.path
    for weight in model.non_trainable_weights:
        np.testing.assert_array_equal(weight, untouched[weight.path])


class AwayFromZero(keras.constraints.Constraint):
    """Leaves no weight nearer to zero than 0.05: it would bring pruned ones back."""

    def __call__(self, w):
        return tf.where(tf.abs(w) < 0.05, 0.05, w)


def norms(weight):
    return np.sqrt(np.sum(weight**2, axis=0))


CONSTRAINTS = {
    "unit_norm": (keras.constraints.UnitNorm(axis=0), lambda w: np.allclose(norms(w)[norms(w) > 0], 1, atol=1e-5)),
    "min_max_norm": (
        keras.constraints.MinMaxNorm(0.4, 0.6, axis=0),
        lambda w: np.all((norms(w)[norms(w) > 0] > 0.4 - 1e-5) & (norms(w) < 0.6 + 1e-5)),
    ),
    "max_norm": (keras.constraints.MaxNorm(0.3, axis=0), lambda w: np.all(norms(w) < 0.3 + 1e-5)),
    "non_neg": (keras.constraints.NonNeg(), lambda w: np.all(w >= 0)),
    "away_from_zero": (AwayFromZero(), lambda w: np.all(np.abs(w[w != 0]) >= 0.05)),
}


class ConstraintsHold(keras.callbacks.Callback):
    """Asserts after every batch that each layer's constraint holds and that pruned weights are zero."""

    def __init__(self, scope):
        super().__init__()
        self.scope = scope

    def on_train_batch_end(self, batch, logs=None):
        for state in self.scope.prunings[0].states:
            weight, name = state.weight.numpy(), state.path.split("/")[0]
            assert not np.any(weight[state.mask.numpy() == 0]), name
            assert name not in CONSTRAINTS or CONSTRAINTS[name][1](weight), name


def test_constraints_of_the_layers_hold_and_bring_nothing_back():
    inputs = x = keras.layers.Input((8,))
    for name, (constraint, _) in CONSTRAINTS.items():
        x = keras.layers.Dense(10, kernel_constraint=constraint, activation="tanh", name=name)(x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(x))
    # The last mask update is made up for after the last step.
    schedule = {"pruning_frequency": 3, "sparsity_function_end_step": 8}
    pruning = fit(model, FEATURES, lambda scope: [ConstraintsHold(scope)], prune_option="weight", **schedule)
    assert int(pruning.last_mask_update_step) == 6
    for state in pruning.states:
        kept, weight, name = round(state.size * (1 - 0.6)), state.weight.numpy(), state.path.split("/")[0]
        assert np.count_nonzero(state.mask) == kept, name
        # NonNeg sets weights to zero by itself.
        assert np.count_nonzero(weight) == kept or name == "non_neg", name
        assert not np.any(weight[state.mask.numpy() == 0]), name
        assert name not in CONSTRAINTS or CONSTRAINTS[name][1](weight), name
