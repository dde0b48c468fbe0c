"""`granularity='channel'` of `Pruning`, in loops of one's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning import Pruning, PruningHParams, apply_mask

NOW = {"sparsity_function_end_step": 1, "pruning_frequency": 1, "gradient_decay_rate": 0.0}


def hparams(**fields):
    return PruningHParams(**{"granularity": "channel", "allocation": "global", **NOW, **fields})


def variables(*shapes):
    rng = np.random.default_rng(0)
    return [tf.Variable(rng.normal(size=shape).astype("f"), name=f"w{at}") for at, shape in enumerate(shapes)]


def mlp():
    """Kernel, bias, kernel, bias, and the forward pass."""
    weights = variables((6, 4), (4,), (4, 3), (3,))
    one, bias, other, last = weights
    return weights, lambda: tf.nn.relu(tf.ones([2, 6]) @ one + bias) @ other + last


def test_a_channel_goes_with_its_bias_and_the_rows_that_read_it():
    weights, forward = mlp()
    pruning = Pruning(hparams(target_sparsity=0.5), weights, forward=forward)
    assert pruning.paths == ["w0", "w1", "w2"]  # the bias of what is returned stays
    assert bool(pruning.conditional_mask_update(1))
    kept = pruning.masks[1].numpy()
    assert kept.sum() == 2
    np.testing.assert_array_equal(pruning.masks[0], np.broadcast_to(kept, (6, 4)))
    np.testing.assert_array_equal(pruning.masks[2], np.broadcast_to(kept[:, None], (4, 3)))
    for weight, mask in zip(pruning.weights, pruning.masks, strict=True):
        np.testing.assert_array_equal(weight.numpy() != 0, mask)
    assert pruning.sparsity() == pruning.reached() == 0.5


@pytest.mark.parametrize(
    ("prune_option", "score"),
    [
        ("weight", lambda weight, gradient: weight**2),
        ("first_order_gradient", lambda weight, gradient: abs(weight * gradient)),
        ("second_order_gradient", lambda weight, gradient: weight**2 * gradient**2),
    ],
)
def test_the_score_is_the_sum_over_all_that_would_go(prune_option, score):
    weights, forward = mlp()
    gradients = [tf.constant(np.random.default_rng(1).normal(size=each.shape), tf.float32) for each in weights]
    pruning = Pruning(hparams(prune_option=prune_option, target_sparsity=0.25), weights, forward=forward)
    before = [weight.numpy() for weight in weights]
    pruning.conditional_mask_update(0, gradients)  # sparsity 0: only observes
    one, bias, other, _ = (score(weight, gradient.numpy()) for weight, gradient in zip(before, gradients, strict=True))
    expected = one.sum(0) + bias + other.sum(1)
    for index in range(3):
        np.testing.assert_allclose(pruning.scores(index), expected, rtol=1e-5)
    pruning.conditional_mask_update(1, gradients)
    assert np.flatnonzero(~pruning.masks[1].numpy()).tolist() == [expected.argmin()]
    assert float(pruning.states[0].threshold) == pytest.approx(np.sort(expected)[1], rel=1e-5)


def test_a_weight_that_is_in_a_channel_by_two_axes_counts_once():
    first, square, head = variables((3, 4), (4, 4), (4, 2))

    def forward():
        y = tf.ones([1, 3]) @ first
        return (y + tf.nn.relu(y @ square)) @ head

    pruning = Pruning(hparams(target_sparsity=0.0), [first, square, head], forward=forward)
    of_square = [square[at, :] ** 2 + square[:, at] ** 2 for at in range(4)]
    expected = [
        tf.reduce_sum(first[:, at] ** 2)
        + tf.reduce_sum(of_square[at])
        - square[at, at] ** 2
        + tf.reduce_sum(head[at] ** 2)
        for at in range(4)
    ]
    np.testing.assert_allclose(pruning.scores(0), expected, rtol=1e-5)


def test_the_output_of_a_dead_channel_is_zero():
    layers = keras.layers
    x = keras.Input((8, 8, 3))
    y = layers.BatchNormalization(name="norm")(layers.Conv2D(6, 3, name="conv")(x))
    y = layers.ReLU(name="relu")(y)
    z = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(y)
    y = layers.Add(name="sum")([y, z])
    model = keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling2D()(y)))
    for weight in model.weights:
        weight.assign(np.random.default_rng(0).uniform(0.5, 1.5, weight.shape))
    pruning = Pruning(hparams(target_sparsity=0.5), model)
    pruning.conditional_mask_update(1)
    kept = dict(zip(pruning.paths, pruning.masks, strict=True))["conv/bias"].numpy()
    assert 0 < kept.sum() < 6
    inner = keras.Model(x, [model.get_layer("norm").output, model.get_layer("sum").output])
    for answer in inner(tf.random.normal([4, 8, 8, 3])):
        assert not np.any(answer.numpy()[..., ~kept])
        assert np.all(np.any(answer.numpy()[..., kept], axis=(0, 1, 2)))


def test_multiply_adds_are_counted_for_one_example():
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((9, 9, 1)),
            layers.Conv2D(8, 3),
            layers.Conv2D(16, 3),
            layers.GlobalMaxPooling2D(),
            layers.Dense(32, activation="relu"),
            layers.Dense(10),
        ]
    )
    total = 49 * 9 * 8 + 25 * 9 * 8 * 16 + 16 * 32 + 32 * 10
    pruning = Pruning(hparams(target_sparsity=0.7, cost="flops"), model)
    pruning.conditional_mask_update(1)
    masks = dict(zip((path.partition("/")[2] for path in pruning.paths), pruning.masks, strict=True))
    first, second, hidden = (
        int(tf.reduce_sum(tf.cast(mask, tf.int32))) for path, mask in masks.items() if path.endswith("bias")
    )
    left = 49 * 9 * first + 25 * 9 * first * second + second * hidden + hidden * 10
    (share,) = pruning.shares_at_target()
    assert (share.counted, share.total, share.kept) == ("multiply-adds", total, left)
    assert share.is_delivered
    assert share.most == round(total * 0.3)
    assert pruning.reached() == pytest.approx(1 - left / total)
    assert pruning.sparsity() == pytest.approx(
        1 - sum(np.count_nonzero(mask) for mask in pruning.masks) / sum(mask.numpy().size for mask in pruning.masks)
    )


def test_weights_under_apply_mask_keep_their_values():
    first, head = variables((5, 4), (4, 2))
    pruning = None

    def forward():
        return tf.nn.relu(tf.ones([1, 5]) @ apply_mask(first)) @ head

    pruning = Pruning(hparams(target_sparsity=0.5), [first, head], forward=forward)
    before = first.numpy()
    pruning.conditional_mask_update(1)
    np.testing.assert_array_equal(first, before)
    kept = pruning.masks[0].numpy()[0]
    assert kept.sum() == 2
    np.testing.assert_array_equal(head.numpy() != 0, np.broadcast_to(kept[:, None], (4, 2)))
    np.testing.assert_array_equal(apply_mask(first), before * kept)


def test_excluded_weights_stay_whole():
    weights, forward = mlp()
    with pytest.raises(ValueError, match=r"No channel to prune in the weights \['w0', 'w1', 'w2', 'w3'\]"):
        Pruning(hparams(exclude=["w2"]), weights, forward=forward)


def test_pruned_channels_stay_pruned_and_the_ramp_is_followed():
    weights, forward = mlp()
    pruning = Pruning(
        hparams(target_sparsity=0.75, sparsity_function_end_step=8, sparsity_function_exponent=1.0),
        weights,
        forward=forward,
    )
    dead = np.zeros(4, bool)
    for step in range(1, 9):
        for weight in weights:
            weight.assign_add(tf.random.normal(weight.shape, stddev=0.1))
        pruning.conditional_mask_update(step)
        now = ~pruning.masks[1].numpy()
        assert np.all(now >= dead)
        dead = now
        assert dead.sum() == np.ceil(4 * 0.75 * step / 8)


def test_zeros_that_are_there_become_the_masks():
    weights, forward = mlp()
    pruning = Pruning(hparams(target_sparsity=0.5), weights, forward=forward)
    kept = np.array([True, False, False, True])
    for weight, shape in zip(weights[:3], ([1, 4], [4], [4, 1]), strict=True):
        weight.assign(weight * kept.reshape(shape))
    assert pruning.adopt_zeros(1)
    assert pruning.masks[1].numpy().tolist() == kept.tolist()
    pruning.finish(1)
    assert pruning.masks[1].numpy().tolist() == kept.tolist()


def test_a_forward_pass_that_is_a_concrete_function():
    first, head = variables((5, 4), (4, 2))
    model = tf.function(lambda x: tf.nn.relu(x @ first) @ head)
    forward = model.get_concrete_function(tf.TensorSpec([None, 5]))
    pruning = Pruning(hparams(target_sparsity=0.5), [first, head], forward=forward)
    pruning.conditional_mask_update(1)
    assert pruning.sparsity() == 0.5


def refused(match, *, weights=None, forward=None, **fields):
    given, own = mlp()
    with pytest.raises((ValueError, TypeError), match=match):
        Pruning(hparams(**fields), weights or given, forward=forward or own)


def test_what_cannot_be_had_is_refused():
    refused(r"more than can go: every layer keeps one channel, so that 30 of 40 weights", target_sparsity=0.9)
    refused(r"min_layer_density=0.5 of its channels", target_sparsity=0.6, min_layer_density=0.5)
    refused(
        r"every layer keeps 3 channels \(channel_multiple\) or all, so that 10 of 40 weights can. Lower it to 0.25",
        target_sparsity=0.5,
        channel_multiple=3,
    )
    refused(r"forward must be a ConcreteFunction or a function without arguments, got int", forward=3)
    refused(r"cannot be traced: RuntimeError: no such thing", forward=failing)
    refused(r"include holds 'nothing', which matches none of the variables", include=["nothing"])
    with pytest.raises(ValueError, match=r"which Pruning is not given and cannot make of a list of variables"):
        Pruning(hparams(), variables((3, 4), (4, 2)))


def failing():
    raise RuntimeError("no such thing")


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"allocation": "erk"}, r"does not go with allocation='erk'"),
        ({"allocation": "uniform", "weight_sparsity_map": ["a:0.5"]}, r"does not go with weight_sparsity_map"),
        ({"allocation": "uniform", "group_pruning": True}, r"does not go with group_pruning"),
        ({"regrow": "gradient"}, r"does not go with regrow='gradient'.*no gradient once it is gone"),
        ({"cost": "latency"}, r"cost must be one of parameters, flops, got 'latency'"),
        ({"granularity": "element", "cost": "flops"}, r"cost='flops' is for granularity='channel'"),
        ({"granularity": "element", "channel_multiple": 8}, r"channel_multiple=8 is for granularity='channel'"),
        ({"channel_multiple": 0}, r"channel_multiple must be positive, got 0"),
    ],
)
def test_contradictions_are_refused_at_construction(fields, match):
    with pytest.raises(ValueError, match=match):
        hparams(**fields)
