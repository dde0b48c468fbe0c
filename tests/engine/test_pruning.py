import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning import Pruning, PruningHParams, apply_mask
from tfx_pruning.engine import summaries
from tfx_pruning.engine.weight_state import WeightState

RNG = np.random.default_rng(0)


def variable(*shape, name="kernel"):
    return tf.Variable(RNG.normal(size=shape).astype("float32"), name=name)


def one_shot(**fields):
    """Hyperparameters that prune to the target at step 1."""
    return PruningHParams(
        **{"sparsity_function_begin_step": 0, "sparsity_function_end_step": 1, "pruning_frequency": 1, **fields}
    )


def test_prunes_the_smallest_weights_and_sets_them_to_zero():
    weight = tf.Variable([[0.1, -5.0, 3.0], [-0.2, 0.4, -1.0]], name="kernel")
    pruning = Pruning(one_shot(target_sparsity=0.5), [weight])
    assert bool(pruning.conditional_mask_update(1))
    np.testing.assert_array_equal(pruning.masks[0], [[0, 1, 1], [0, 0, 1]])
    np.testing.assert_array_equal(weight, np.float32([[0, -5, 3], [0, 0, -1]]))
    assert float(pruning.states[0].threshold) == 1.0
    assert pruning.sparsity() == 0.5


@pytest.mark.parametrize(("order", "expected"), [("first", [1, 1, 0, 0]), ("second", [1, 0, 1, 0])])
def test_gradient_options_rank_by_the_moving_average_of_the_loss_gradients(order, expected):
    # Scores at step 2, first order: 2.25, 1.8, 1.5, 0.75; second order: 6.75, 4.32, 4.5, 0.75.
    weight = tf.Variable([1.0, 2.4, 0.5, 1.0], name="kernel")
    steps = [[3.0, 1.0, 0.0, 1.0], [3.0, 1.0, 6.0, 1.0]]
    hparams = one_shot(
        prune_option=f"{order}_order_gradient", begin_pruning_step=2, gradient_decay_rate=0.5, target_sparsity=0.5
    )
    pruning = Pruning(hparams, [weight])
    power = 1 if order == "first" else 2
    state = np.zeros(4)
    for step, gradient in enumerate(steps, start=1):
        pruning.conditional_mask_update(step, [tf.constant(gradient)])
        state = 0.5 * state + 0.5 * np.abs(gradient) ** power
        np.testing.assert_allclose(pruning.states[0].gradient, state, rtol=1e-6)
    np.testing.assert_array_equal(pruning.masks[0], expected)


def test_updates_happen_on_the_steps_of_the_window_only():
    hparams = PruningHParams(
        begin_pruning_step=4,
        end_pruning_step=17,
        pruning_frequency=5,
        sparsity_function_end_step=17,
        target_sparsity=0.5,
    )
    pruning = Pruning(hparams, [variable(10, 10)])
    updated = [step for step in range(1, 31) if bool(pruning.conditional_mask_update(step))]
    assert updated == [5, 10, 15]
    assert int(pruning.last_mask_update_step) == 15


def test_finish_makes_up_for_what_the_schedule_asked_since_the_last_update():
    hparams = PruningHParams(
        pruning_frequency=10, sparsity_function_end_step=25, end_pruning_step=25, target_sparsity=0.8
    )
    weight = variable(25, 4)
    pruning = Pruning(hparams, [weight])
    for step in range(1, 31):
        pruning.conditional_mask_update(step)
    assert pruning.sparsity() < 0.8
    pruning.finish(30)
    assert pruning.sparsity() == pytest.approx(0.8, abs=1e-12)
    assert np.count_nonzero(weight) == 20


def test_finish_does_nothing_before_the_window():
    pruning = Pruning(PruningHParams(begin_pruning_step=50), [variable(10, 10)])
    pruning.finish(49)
    assert pruning.sparsity() == 0.0


def test_uniform_allocation_prunes_every_weight_alike_and_the_map_differently():
    weights = [variable(20, 30, name="a/kernel"), variable(3, 3, 4, 7, name="b/kernel"), variable(11, name="c/kernel")]
    pruning = Pruning(one_shot(target_sparsity=0.83, weight_sparsity_map=["^b/:0.5", "^c/:0"]), weights)
    pruning.conditional_mask_update(1)
    assert [int(np.count_nonzero(w)) for w in weights] == [round(600 * (1 - 0.83)), 126, 11]
    assert pruning.sparsity_by_variable() == {"a/kernel": pytest.approx(1 - 102 / 600), "b/kernel": 0.5, "c/kernel": 0}


def test_mapped_sparsities_ramp_from_the_initial_sparsity_to_their_own_target():
    weights = [variable(100, 10, name="a/kernel"), variable(100, 10, name="b/kernel")]
    hparams = PruningHParams(
        initial_sparsity=0.2,
        target_sparsity=0.6,
        weight_sparsity_map=["^a/:0.9"],
        sparsity_function_end_step=100,
        sparsity_function_exponent=1.0,
        pruning_frequency=1,
    )
    pruning = Pruning(hparams, weights)
    pruning.conditional_mask_update(50)
    assert [int(np.count_nonzero(w)) for w in weights] == [450, 600]


def test_global_allocation_ranks_all_weights_together():
    small, large = tf.Variable(np.linspace(0.1, 1, 10, dtype="f")), tf.Variable(np.linspace(5, 9, 5, dtype="f"))
    pruning = Pruning(one_shot(target_sparsity=0.6, allocation="global"), [small, large])
    pruning.conditional_mask_update(1)
    assert np.count_nonzero(small) == 1
    assert np.count_nonzero(large) == 5
    assert pruning.sparsity() == pytest.approx(0.6)
    assert [share.most for share in pruning.shares_at_target()] == [6]


def test_live_weights_without_a_score_are_not_exchanged_for_dead_ones():
    weight = tf.Variable(RNG.normal(size=(20, 20)).astype("f"), name="kernel")
    gradient = np.ones((20, 20), "f")
    gradient[:10] = 0
    hparams = PruningHParams(
        prune_option="first_order_gradient",
        target_sparsity=0.3,
        pruning_frequency=1,
        sparsity_function_end_step=5,
        gradient_decay_rate=0.5,
    )
    pruning = Pruning(hparams, [weight])
    for step in range(1, 11):
        pruning.conditional_mask_update(step, [gradient])
    assert np.count_nonzero(weight) == 280
    assert np.all(weight.numpy()[10:])


def test_ties_are_broken_by_the_seed():
    def mask(seed):
        pruning = Pruning(one_shot(target_sparsity=0.5, seed=seed), [tf.Variable(tf.ones([50, 4]))])
        pruning.conditional_mask_update(1)
        assert pruning.sparsity() == 0.5
        return pruning.masks[0].numpy()

    np.testing.assert_array_equal(mask(1), mask(1))
    assert (mask(1) != mask(2)).any()


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("prune_option", ["weight", "first_order_gradient", "second_order_gradient"])
def test_update_inside_a_function_gives_the_masks_of_an_eager_one(prune_option, jit_compile):
    values = [RNG.normal(size=(30, 20)).astype("f"), RNG.normal(size=(3, 3, 2, 5)).astype("f")]
    gradients = [[RNG.normal(size=v.shape).astype("f") for v in values] for _ in range(12)]
    hparams = PruningHParams(
        prune_option=prune_option,
        target_sparsity=0.9,
        pruning_frequency=3,
        sparsity_function_end_step=10,
        allocation="global",
    )

    def run(compiled):
        pruning = Pruning(hparams, [tf.Variable(v) for v in values])
        update = pruning.conditional_mask_update
        if compiled:
            update = tf.function(update, jit_compile=jit_compile)
        seen = []
        for step, gradient in enumerate(gradients, start=1):
            update(tf.constant(step), [tf.constant(g) for g in gradient])
            seen.append([mask.numpy() for mask in pruning.masks])
        return seen

    for eager, compiled in zip(run(False), run(True), strict=True):
        for one, other in zip(eager, compiled, strict=True):
            np.testing.assert_array_equal(one, other)


class Network(tf.Module):
    def __init__(self):
        super().__init__()
        self.w1 = tf.Variable(RNG.normal(size=(8, 16)).astype("f"), name="w1")
        self.w2 = tf.Variable(RNG.normal(size=(16, 2)).astype("f"), name="w2")
        self.b = tf.Variable(tf.zeros(2), name="b")

    @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32)])
    def __call__(self, x):
        return tf.nn.relu(x @ apply_mask(self.w1)) @ apply_mask(self.w2) + self.b


def test_apply_mask_gives_one_weight_one_mask_and_multiplies_by_it():
    weight = tf.Variable([1.0, 2.0, 3.0], name="kernel")
    np.testing.assert_array_equal(apply_mask(weight), [1, 2, 3])
    mask = WeightState.existing(weight).mask
    apply_mask(weight)
    assert WeightState.existing(weight).mask is mask
    mask.assign([True, False, True])
    np.testing.assert_array_equal(apply_mask(weight), [1, 0, 3])
    assert mask.name == "kernel/pruning/mask:0"
    assert not mask.trainable


def test_weights_under_apply_mask_are_pruned_but_keep_their_value(tmp_path):
    network = Network()
    x = tf.constant(RNG.normal(size=(4, 8)), tf.float32)
    network(x)
    before = [network.w1.numpy(), network.w2.numpy()]
    pruning = Pruning(one_shot(target_sparsity=0.75), network)
    assert pruning.paths == ["w1", "w2"]
    pruning.conditional_mask_update(1)
    for weight, value, mask in zip([network.w1, network.w2], before, pruning.masks, strict=True):
        np.testing.assert_array_equal(weight, value)
        assert np.count_nonzero(mask) == mask.shape.num_elements() / 4
    first, second = (value * mask.numpy() for value, mask in zip(before, pruning.masks, strict=True))
    masked = np.maximum(x @ first, 0) @ second
    np.testing.assert_allclose(network(x), masked, rtol=1e-5, atol=1e-5)
    tf.saved_model.save(network, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_array_equal(loaded(x), network(x))


def test_apply_mask_in_a_keras_layer_survives_export(tmp_path):
    class Masked(keras.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 3), name="kernel")

        def call(self, x):
            return x @ apply_mask(self.kernel)

    model = keras.Sequential([keras.layers.Input((6,)), Masked()])
    pruning = Pruning(one_shot(target_sparsity=0.5), model)
    pruning.conditional_mask_update(1)
    kernel = model.layers[0].kernel.numpy()
    x = RNG.normal(size=(4, 6)).astype("f")
    expected = x @ (kernel * pruning.masks[0].numpy())
    assert np.count_nonzero(kernel) == 18
    np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-6)
    model.export(str(tmp_path / "export"), verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "export"))
    np.testing.assert_allclose(loaded.serve(x), expected, rtol=1e-5, atol=1e-6)
    tf.saved_model.save(model, str(tmp_path / "saved"))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    (served,) = loaded.signatures["serving_default"](tf.constant(x)).values()
    np.testing.assert_allclose(served, expected, rtol=1e-5, atol=1e-6)


def test_a_loop_of_ones_own_prunes_exactly():
    weight = tf.Variable(RNG.normal(size=(20, 1)).astype("f"), name="w")
    bias = tf.Variable(0.0, name="b")
    x = tf.constant(RNG.normal(size=(64, 20)), tf.float32)
    y = x[:, :1] - 2 * x[:, 3:4]
    optimizer = keras.optimizers.SGD(0.05)
    hparams = PruningHParams(
        prune_option="first_order_gradient",
        target_sparsity=0.9,
        gradient_decay_rate=0.8,
        pruning_frequency=5,
        begin_pruning_step=20,
        sparsity_function_begin_step=20,
        sparsity_function_end_step=60,
        include=["^w$"],
    )
    pruning = Pruning(hparams, [weight, bias])

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((x @ weight + bias - y) ** 2)
        gradients = tape.gradient(loss, [weight, bias])
        optimizer.apply_gradients(zip(gradients, [weight, bias], strict=True))
        pruning.conditional_mask_update(optimizer.iterations, gradients)

    for _ in range(100):
        step()
        np.testing.assert_array_equal(weight.numpy()[pruning.masks[0].numpy() == 0], 0)
    assert list(np.flatnonzero(weight)) == [0, 3]


def test_checkpoints_of_the_weights_hold_the_masks(tmp_path):
    network = Network()
    network(tf.zeros([1, 8]))
    Pruning(one_shot(target_sparsity=0.5), network).conditional_mask_update(1)
    path = tf.train.Checkpoint(network).save(str(tmp_path / "checkpoint"))
    restored = Network()
    restored(tf.zeros([1, 8]))
    tf.train.Checkpoint(restored).restore(path).assert_existing_objects_matched()
    np.testing.assert_array_equal(WeightState.existing(restored.w1).mask, WeightState.existing(network.w1).mask)


@pytest.mark.parametrize("values", [[1.0, 1.0 + 1.2e-7], [-3e38, 3e38], [1e-45, 2e-45], [7.0, 7.0]])
def test_summaries_take_close_huge_and_tiny_weights_of_any_name(values, tmp_path, monkeypatch):
    weight = variable(10, 10, name="dense/kernel")
    weight.assign(np.resize(np.float32(values), (10, 10)))
    pruning = Pruning(one_shot(target_sparsity=0.5, name="run"), [weight])
    monkeypatch.setattr(pruning, "_paths", ["a\x1b\ud800"])
    writer = tf.summary.create_file_writer(str(tmp_path))
    with writer.as_default():
        pruning.add_pruning_summaries(tf.constant(7))
        summaries.write_logs({"los\ufffe": 0.5}, 7)
    writer.close()
    (file,) = tmp_path.iterdir()
    seen = {
        value.tag: tf.make_ndarray(value.tensor)
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    }
    assert seen[r"los\ufffe"] == 0.5
    counts = seen[r"run/a\x1b\ud800/weights"][:, 2]
    assert counts.sum() == 100


def test_summaries_are_written(tmp_path):
    weight = variable(10, 10, name="dense/kernel")
    hparams = one_shot(target_sparsity=0.5, prune_option="first_order_gradient", name="run")
    pruning = Pruning(hparams, [weight])
    pruning.conditional_mask_update(1, [tf.ones([10, 10])])
    writer = tf.summary.create_file_writer(str(tmp_path))
    with writer.as_default():
        tf.function(lambda: pruning.add_pruning_summaries(tf.constant(7)))()
    writer.close()
    (file,) = tmp_path.iterdir()
    seen = {
        value.tag: (event.step, tf.make_ndarray(value.tensor))
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    }
    assert seen["run/sparsity"][0] == 7
    assert seen["run/sparsity"][1] == pytest.approx(0.5)
    assert seen["run/dense/kernel/sparsity"][1] == pytest.approx(0.5)
    assert seen["run/dense/kernel/threshold"][1] == pytest.approx(float(pruning.states[0].threshold))
    assert set(seen) == {"run/sparsity", "run/last_mask_update_step"} | {
        f"run/dense/kernel/{name}"
        for name in ("sparsity", "threshold", "gradient", "gradient_sparsity", "abs_gradient", "weights", "scores")
    }
    scores = np.abs(weight.numpy()) * pruning.states[0].gradient.numpy()
    for name, values in (("weights", weight.numpy()), ("scores", scores), ("abs_gradient", pruning.states[0].gradient)):
        step, buckets = seen[f"run/dense/kernel/{name}"]
        left, right, counts = buckets.T
        assert step == 7
        assert (left[0], right[-1]) == pytest.approx((np.min(values), np.max(values)), rel=1e-5)
        assert counts.sum() == 100
        if name != "abs_gradient":  # which is the same everywhere
            np.testing.assert_array_equal(counts, np.histogram(values, [*left, right[-1]])[0])


def test_default_choice_is_kernels_without_biases_norms_and_embeddings():
    model = keras.Sequential(
        [
            keras.layers.Input((6,)),
            keras.layers.Embedding(10, 4, name="embed"),
            keras.layers.LSTM(5, return_sequences=True, name="lstm"),
            keras.layers.Conv1D(3, 2, name="conv"),
            keras.layers.LayerNormalization(),
            keras.layers.Dense(2, name="dense"),
        ]
    )
    paths = Pruning(PruningHParams(), model).paths
    assert [path.split("/", 1)[1] for path in paths] == [
        "lstm/lstm_cell/kernel",
        "lstm/lstm_cell/recurrent_kernel",
        "conv/kernel",
        "dense/kernel",
    ]
    assert Pruning(PruningHParams(exclude=["lstm"]), model).paths == paths[2:]
    assert Pruning(PruningHParams(include=["embeddings"]), model).paths[0].endswith("embed/embeddings")


def test_an_embedding_takes_sparse_gradients():
    table = tf.Variable(tf.reshape(tf.range(1.0, 9.0), [4, 2]), name="embeddings")
    pruning = Pruning(one_shot(prune_option="first_order_gradient", target_sparsity=0.75), [table])
    gradient = tf.IndexedSlices(tf.constant([[1.0, 1.0], [1.0, 0.0]]), tf.constant([1, 1]), tf.constant([4, 2]))
    pruning.conditional_mask_update(1, [gradient])
    np.testing.assert_array_equal(np.flatnonzero(table), [2, 3])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"include": ["nothing"]}, ["include", "'nothing'", "a/kernel", "b/bias"]),
        ({"exclude": ["nothing"]}, ["exclude", "'nothing'", "a/kernel"]),
        ({"exclude": ["."]}, ["No weight to prune", "a/kernel"]),
        ({"weight_sparsity_map": ["nothing:0.1"]}, ["weight_sparsity_map", "'nothing'", "a/kernel"]),
        ({"weight_sparsity_map": ["a:0.1", "kernel:0.2"]}, ["a/kernel", "2 patterns", "'kernel'"]),
        ({"target_sparsity": 0.995}, ["a/kernel", "0.995", "none of the 20", "global"]),
        ({"target_sparsity": 0.995, "allocation": "global"}, ["target_sparsity=0.995", "none of the 20"]),
    ],
    ids=lambda value: str(value)[:50],
)
def test_hyperparameters_that_fit_no_weight_are_refused(fields, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        Pruning(PruningHParams(**fields), [variable(5, 4, name="a/kernel"), variable(4, name="b/bias")])
    for word in words:
        assert word in str(caught.value)


def test_missing_gradients_are_refused():
    weight, bias = variable(5, 4), variable(4, name="bias")
    pruning = Pruning(PruningHParams(prune_option="first_order_gradient"), [weight, bias])
    with pytest.raises(ValueError, match="needs the gradients"):
        pruning.conditional_mask_update(1)
    with pytest.raises(ValueError, match="each of the 2 variables"):
        pruning.conditional_mask_update(1, [tf.ones([5, 4])])
    with pytest.raises(ValueError, match="no gradient with respect to kernel"):
        pruning.conditional_mask_update(1, [None, tf.ones(4)])


def test_wrong_types_are_refused():
    with pytest.raises(TypeError, match=r"PruningHParams\.parse"):
        Pruning("target_sparsity=0.5", [variable(5, 4)])
    with pytest.raises(TypeError, match=r"takes a tf\.Variable"):
        apply_mask(tf.ones(3))
    with pytest.raises(TypeError, match="int32"):
        apply_mask(tf.Variable([1, 2], name="count"))
    with pytest.raises(ValueError, match=r"counts.*int32"):
        Pruning(PruningHParams(include=["counts"]), [tf.Variable([[1, 2]], name="counts")])
    for wrong in (None, "kernel", [tf.ones(3)], variable(2, 2)):
        with pytest.raises(TypeError, match="variables"):
            Pruning(PruningHParams(), wrong)
    with pytest.raises(ValueError, match="no trainable variables"):
        Pruning(PruningHParams(), [])


def test_a_variable_takes_the_place_of_the_schedule_and_is_read_at_every_update():
    sparsity = tf.Variable(0.25)
    weight = tf.Variable(np.arange(1, 9, dtype="f"))
    pruning = Pruning(PruningHParams(pruning_frequency=1), [weight], sparsity)
    update = tf.function(pruning.conditional_mask_update)
    kept = []
    for step, value in enumerate([0.25, 0.5, 0.875], start=1):
        sparsity.assign(value)
        update(tf.constant(step, tf.int64))
        kept.append(np.flatnonzero(weight).tolist())
    assert kept == [[2, 3, 4, 5, 6, 7], [4, 5, 6, 7], [7]]


def test_a_callable_takes_the_place_of_the_schedule_of_n_of_m_too():
    weight = tf.Variable(np.arange(1, 9, dtype="f").reshape(8, 1))
    pruning = Pruning(PruningHParams(pruning_frequency=1, n_of_m="2:4"), [weight], lambda step: 0.25 * float(step))
    pruning.conditional_mask_update(1)
    assert np.flatnonzero(weight).tolist() == [1, 2, 3, 5, 6, 7]
    pruning.conditional_mask_update(3)
    assert np.flatnonzero(weight).tolist() == [3, 7]


def test_a_number_in_place_of_the_schedule_is_refused():
    with pytest.raises(TypeError, match="a variable or a callable step -> sparsity, got"):
        Pruning(PruningHParams(), [tf.Variable([1.0, 2.0])], 0.5)


def test_pruned_weights_are_zero_without_a_sign_so_that_they_compress():
    weight = tf.Variable([-0.1, 0.1, -2.0, 2.0])
    Pruning(one_shot(target_sparsity=0.5), [weight]).conditional_mask_update(1)
    assert weight.numpy().tobytes() == np.float32([0, 0, -2, 2]).tobytes()
