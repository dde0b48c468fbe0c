"""A teacher's answers in the loss of a pruned training: which loss, of which teachers, and what no file holds."""

import pathlib
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from helpers.fits import hparams
from tfx_pruning import Pruning, pruning_scope
from tfx_pruning.engine.keras.divergence import divergence

RNG = np.random.default_rng(5)
X = RNG.normal(size=(8, 4)).astype("f")
CLASSES = RNG.integers(0, 3, 8)
WEIGHTS = RNG.uniform(0.5, 2.0, 8).astype("f")
SHARE = 0.4
VERSIONS = {"keras": keras, "tf_keras": tf_keras}
# A loss, the activation of its output, how `distill_loss` names it, and labels.
LOSSES = {
    "logits": (lambda k: k.losses.SparseCategoricalCrossentropy(from_logits=True), None, "categorical_from_logits"),
    "softmax": (lambda k: "sparse_categorical_crossentropy", "softmax", "categorical"),
    "sigmoid": (lambda k: k.losses.BinaryCrossentropy(), "sigmoid", "binary"),
    "binary logits": (lambda k: k.losses.BinaryFocalCrossentropy(from_logits=True), None, "binary_from_logits"),
    "regression": (lambda k: "mse", None, "squared_error"),
    "sum": (lambda k: k.losses.Huber(reduction="sum"), None, "squared_error"),
}


def labels(kind):
    return CLASSES if kind.startswith("categorical") else np.eye(3, dtype="f")[CLASSES]


def network(version, activation=None, seed=1, hidden=6, **layer):
    version.utils.set_random_seed(seed)
    layers = version.layers
    return version.Sequential(
        [layers.Input((4,)), layers.Dense(hidden, "tanh", **layer), layers.Dense(3, activation, name="answer")]
    )


def of_teacher(**fields):
    """Hyperparameters that prune nothing in the first steps."""
    later = {"begin_pruning_step": 100, "sparsity_function_begin_step": 100, "sparsity_function_end_step": 101}
    return hparams(**{"distill_weight": SHARE, "temperature": 2.0, **later, **fields})


def one_step(model, loss, y, teacher, x=X, compile_args=None, fit_args=None, **fields):
    """How one step of plain gradient descent at rate 1 changes the weights: the gradient of the loss, negative."""
    version = keras if isinstance(model, keras.Model) else tf_keras
    model.compile(version.optimizers.SGD(1.0), loss, **{"jit_compile": False, **(compile_args or {})})
    before = model.get_weights()
    with pruning_scope(of_teacher(**fields), teacher=teacher):
        model.fit(x, y, batch_size=len(X), shuffle=False, verbose=0, **(fit_args or {}))
    return [new - old for new, old in zip(model.get_weights(), before, strict=True)]


def expected_step(model, loss):
    """The same by hand, for a function without arguments that computes the loss."""
    with tf.GradientTape() as tape:
        value = loss()
    variables = model.trainable_variables
    gradients = zip(tape.gradient(value, variables), variables, strict=True)
    return [-tf.convert_to_tensor(variable * 0.0 if each is None else each).numpy() for each, variable in gradients]


def mixed(loss, kind, model, teacher, y, weights=None):
    """The loss that `one_step` is to have, with the defaults of Keras's reduction or a sum."""

    def value():
        student = model(X)
        values = divergence(kind, teacher(X), student, 2.0) * (1.0 if weights is None else weights)
        reduced = tf.reduce_sum(values) if getattr(loss, "reduction", "") == "sum" else tf.reduce_mean(values)
        return (1 - SHARE) * loss(y, student, sample_weight=weights) + SHARE * reduced

    return value


def assert_same_step(found, wanted):
    assert any(np.abs(each).max() > 1e-3 for each in wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", LOSSES)
def test_the_loss_is_chosen_from_the_compiled_one_and_counts_sample_weights(case, version):
    version = VERSIONS[version]
    make, activation, kind = LOSSES[case]
    model, teacher = network(version, activation), network(version, activation, seed=2, hidden=5)
    compiled = version.losses.get(make(version)) if not isinstance(make(version), str) else None
    loss = (
        compiled
        or {
            "mse": version.losses.MeanSquaredError(),
            "sparse_categorical_crossentropy": version.losses.SparseCategoricalCrossentropy(),
        }[make(version)]
    )
    y = labels(kind)
    wanted = expected_step(model, mixed(loss, kind, model, teacher, y, WEIGHTS))
    taught = teacher.get_weights()
    assert_same_step(one_step(model, make(version), y, teacher, fit_args={"sample_weight": WEIGHTS}), wanted)
    for now, before in zip(teacher.get_weights(), taught, strict=True):
        np.testing.assert_array_equal(now, before)


def test_divergences_are_zero_at_equal_answers_and_take_logits_and_probabilities_alike():
    one, other = (tf.constant(RNG.normal(size=(5, 3)), tf.float32) for _ in range(2))
    softmax, sigmoid = tf.nn.softmax, tf.sigmoid
    for kind, probabilities in (("categorical", softmax), ("binary", sigmoid)):
        found = divergence(f"{kind}_from_logits", one, other, 3.0)
        np.testing.assert_allclose(found, divergence(kind, probabilities(one), probabilities(other), 3.0), rtol=1e-4)
        np.testing.assert_allclose(divergence(f"{kind}_from_logits", one, one, 3.0), np.zeros(5), atol=1e-6)
    # Its default, the same loss by name, compares the logits themselves: see findings/.
    peer = keras.distillation.LogitsDistillation(3.0, keras.losses.KLDivergence())
    keras_loss = peer.compute_loss(one, other)
    np.testing.assert_allclose(tf.reduce_mean(divergence("categorical_from_logits", one, other, 3.0)), keras_loss, 1e-5)
    pair = (tf.stack([each, tf.zeros_like(each)], -1) for each in (one, other))
    of_pairs = tf.reduce_mean(divergence("categorical_from_logits", *pair, 3.0), -1)
    np.testing.assert_allclose(divergence("binary_from_logits", one, other, 3.0), of_pairs, rtol=1e-4)
    np.testing.assert_allclose(
        divergence("categorical_from_logits", tf.transpose(one), tf.transpose(other), 3.0, axis=0),
        divergence("categorical_from_logits", one, other, 3.0),
        rtol=1e-5,
    )
    certain = tf.constant([[1.0, 0.0, 0.0]])
    assert np.isfinite(divergence("categorical", certain, certain[:, ::-1], 1.0)).all()


@pytest.mark.parametrize("version", VERSIONS)
def test_regularisation_counts_whole_and_evaluation_has_no_teacher(version):
    version = VERSIONS[version]
    model = network(version, kernel_regularizer=version.regularizers.L2(0.1))
    teacher = network(version, seed=2)
    loss = version.losses.MeanSquaredError()
    y = labels("squared_error")
    alone = mixed(loss, "squared_error", model, teacher, y)
    wanted = expected_step(model, lambda: alone() + tf.add_n(model.losses))
    model.compile(version.optimizers.SGD(1.0), "mse", jit_compile=False)
    before = model.get_weights()
    with pruning_scope(of_teacher(), teacher=teacher):
        history = model.fit(X, y, batch_size=8, validation_data=(X, y), verbose=0).history
        found = [new - old for new, old in zip(model.get_weights(), before, strict=True)]
    assert_same_step(found, wanted)
    assert history["val_loss"] == pytest.approx([model.evaluate(X, y, verbose=0)], rel=1e-5)
    assert model.evaluate(X, y, verbose=0) == pytest.approx(float(loss(y, model(X)) + model.losses[0]), rel=1e-5)


def two_outputs(version, seed, structure):
    version.utils.set_random_seed(seed)
    x = version.Input((4,), name="features")
    hidden = version.layers.Dense(5, "tanh")(x)
    outputs = {name: version.layers.Dense(size, name=name)(hidden) for name, size in (("b", 3), ("a", 1))}
    return version.Model(x, outputs if structure is dict else list(outputs.values()))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("structure", [dict, list])
def test_several_outputs_are_compared_by_name_with_their_own_losses_and_weights(structure, version):
    version = VERSIONS[version]
    model, teacher = (two_outputs(version, seed, structure) for seed in (1, 2))
    losses = {"a": "mse", "b": version.losses.SparseCategoricalCrossentropy(from_logits=True)}
    y = {"a": X[:, :1], "b": CLASSES}

    def named(outputs):
        return outputs if structure is dict else dict(zip(("b", "a"), outputs, strict=True))

    def loss():
        student, taught = named(model(X)), named(teacher(X))
        of_labels = 2.0 * tf.reduce_mean((student["a"] - y["a"]) ** 2) + 0.5 * losses["b"](y["b"], student["b"])
        of_a = divergence("squared_error", taught["a"], student["a"], 2.0)
        of_b = divergence("categorical_from_logits", taught["b"], student["b"], 2.0)
        return (1 - SHARE) * of_labels + SHARE * tf.reduce_mean(2.0 * of_a + 0.5 * of_b)

    wanted = expected_step(model, loss)
    assert_same_step(
        one_step(
            model,
            losses if structure is dict else [losses["b"], losses["a"]],
            y if structure is dict else [y["b"], y["a"]],
            teacher,
            compile_args={"loss_weights": {"a": 2.0, "b": 0.5} if structure is dict else [0.5, 2.0]},
        ),
        wanted,
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_an_output_without_a_loss_has_no_teacher(version):
    version = VERSIONS[version]
    model, teacher = (two_outputs(version, seed, list) for seed in (1, 2))

    def loss():
        student = model(X)[1]
        of_teacher = divergence("squared_error", teacher(X)[1], student, 2.0)
        return (1 - SHARE) * tf.reduce_mean((student - X[:, :1]) ** 2) + SHARE * tf.reduce_mean(of_teacher)

    wanted = expected_step(model, loss)
    found = one_step(model, [None, "mse"], [CLASSES, X[:, :1]], teacher, exclude=["b/"])
    assert_same_step(found, wanted)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_keras_masks_or_a_loss_ignores_has_no_teacher(version):
    ignored = {} if version == "tf_keras" else {"ignore_class": 2}  # of these, tf_keras averages in zeros
    version = VERSIONS[version]
    tokens = np.array([[1, 2, 0], [3, 0, 0]])
    y = np.array([[0, 1, 2], [2, 1, 0]])
    models = []
    for seed in (1, 2):
        version.utils.set_random_seed(seed)
        layers = [version.layers.Embedding(4, 5, mask_zero=True), version.layers.Dense(3)]
        models.append(version.Sequential([version.layers.Input((3,), dtype="int32"), *layers]))
    model, teacher = models
    loss = version.losses.SparseCategoricalCrossentropy(from_logits=True, **ignored)
    counted = tf.constant((tokens > 0) & ((y != 2) | (not ignored)))

    def value():
        student = model(tokens)
        values = tf.boolean_mask(divergence("categorical_from_logits", teacher(tokens), student, 2.0), counted)
        logits, classes = tf.boolean_mask(student, counted), tf.boolean_mask(y, counted)
        of_labels = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
        return tf.reduce_mean((1 - SHARE) * of_labels + SHARE * values)

    assert np.count_nonzero(counted) == (2 if ignored else 3)
    wanted = expected_step(model, value)
    assert_same_step(one_step(model, loss, y, teacher, x=tokens), wanted)


class OwnStep(keras.Sequential):
    """A train_step of one's own, which computes the loss by compute_loss."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x=x, y=y, y_pred=self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}


class OwnLoss(keras.Sequential):
    """A compute_loss of one's own, of an older form."""

    def compute_loss(self, x, y, y_pred, sample_weight=None):
        return tf.reduce_mean(tf.abs(y_pred - y))


class NoComputeLoss(keras.Sequential):
    """A train_step that a teacher has no part in."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.abs(self(x) - y))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}


def own(kind):
    keras.utils.set_random_seed(1)
    return kind([keras.Input((4,)), keras.layers.Dense(6, "tanh"), keras.layers.Dense(3)])


def test_a_train_step_and_a_compute_loss_of_ones_own_have_the_teacher():
    y, teacher = labels("squared_error"), network(keras, seed=2)
    model = own(OwnStep)
    wanted = expected_step(model, mixed(keras.losses.MeanSquaredError(), "squared_error", model, teacher, y))
    assert_same_step(one_step(model, "mse", y, teacher), wanted)

    def absolute(y, student, sample_weight):
        return tf.reduce_mean(tf.abs(student - y))

    model = own(OwnLoss)
    with pytest.raises(ValueError, match=r"output_0 of .* has no compiled loss, .* distill_loss='categorical'"):
        one_step(model, None, y, teacher)
    wanted = expected_step(model, mixed(absolute, "squared_error", model, teacher, y))
    assert_same_step(one_step(model, None, y, teacher, distill_loss="squared_error"), wanted)


def test_a_loss_that_does_not_tell_what_the_answers_are_is_refused_unless_it_is_named():
    y, teacher, model = labels("squared_error"), network(keras, seed=2), network(keras)

    def of_mine(y, student):
        return tf.reduce_mean((student - y) ** 2, -1)

    with pytest.raises(ValueError, match=r"has the loss 'of_mine', which does not tell"):
        one_step(model, of_mine, y, teacher)
    loss = keras.losses.MeanSquaredError()
    wanted = expected_step(model, mixed(loss, "binary_from_logits", model, teacher, y))
    assert_same_step(one_step(model, of_mine, y, teacher, distill_loss="binary_from_logits"), wanted)


def refused(teacher, match, kind=ValueError, model=None, x=X, y=None, **fields):
    y = np.zeros((8, 3), "f") if y is None else y
    model = network(keras) if model is None else model
    before = model.get_weights()
    with pytest.raises(kind, match=match):
        one_step(model, "mse", y, teacher, x=x, **fields)
    for now, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, old)


def test_teachers_that_do_not_fit_are_refused_before_the_first_step():
    student = network(keras)
    refused(None, "distill_weight=0.4 needs a teacher")
    refused(network(keras), "teacher is given, but distill_weight is 0", distill_weight=0.0)
    refused(3, "must be a Keras model, .* got 3 of type int", TypeError)
    refused("nowhere", "The teacher 'nowhere' is no SavedModel")
    refused(keras.Sequential([keras.layers.Dense(3)], name="raw"), "'raw' has no weights yet, so it was never trained")
    refused(student, "have 4 weights in common, which are pruned", model=student)
    wide = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    refused(wide, r"output for \w+ has shape \(\w+, 2\), that of .* \(\w+, 3\)")
    refused(two_outputs(keras, 1, list), r"has the outputs 2 without names, '\w+' has \['\w+'\]")
    refused(two_outputs(keras, 1, dict), r"has the outputs \['a', 'b'\]")
    other = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)], name="five")
    refused(other, r"(?s)'five' cannot read the batches of .* to have value 5")


def test_a_train_step_without_compute_loss_is_refused():
    with pytest.raises(ValueError, match=r"The teacher has no part in the loss .* Let it call self.compute_loss"):
        one_step(own(NoComputeLoss), "mse", np.zeros((8, 3), "f"), network(keras, seed=2))


def test_a_loop_of_ones_own_refuses_distill_weight():
    pruning = Pruning(of_teacher(), network(keras))
    with pytest.raises(ValueError, match="add the teacher's part there, and leave distill_weight at 0"):
        pruning.conditional_mask_update(1, [])


@pytest.mark.parametrize("version", VERSIONS)
def test_no_file_and_no_count_has_the_teacher(version, tmp_path):
    version = VERSIONS[version]
    callbacks, suffix = version.callbacks, ".weights.h5"
    model, teacher = network(version), network(version, seed=2, hidden=17)
    teacher_path = tmp_path / "teacher"
    (teacher.export if version is keras else teacher.save)(str(teacher_path))
    model.compile("adam", "mse", jit_compile=False)
    y = labels("squared_error")
    saving = [
        callbacks.ModelCheckpoint(str(tmp_path / "epoch.keras")),
        callbacks.ModelCheckpoint(str(tmp_path / f"epoch{suffix}"), save_weights_only=True),
        callbacks.LambdaCallback(on_epoch_end=lambda *_: tf.saved_model.save(model, str(tmp_path / "saved"))),
        callbacks.LambdaCallback(
            on_epoch_end=lambda *_: tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
        ),
        callbacks.BackupAndRestore(str(tmp_path / "backup"), delete_checkpoint=False),
    ]
    with pruning_scope(of_teacher(), teacher=str(teacher_path)) as scope:
        model.fit(X, y, batch_size=8, callbacks=saving, verbose=0)
        assert len(model.trainable_weights) == 4
        assert model.count_params() == 4 * 6 + 6 + 6 * 3 + 3
        assert [state.weight.shape for state in scope.prunings[0].states] == [(4, 6), (6, 3)]
    assert "compute_loss" not in vars(model)
    files = [file for file in tmp_path.rglob("*") if file.is_file() and teacher_path not in file.parents]
    assert {"epoch.keras", f"epoch{suffix}", "saved_model.pb", "checkpoint.index"} <= {file.name for file in files}
    for file in files:
        assert 17 not in dimensions(file), file


def dimensions(file: pathlib.Path) -> set[int]:
    """The sizes of all dimensions of the arrays in a file; none for other files."""
    found: list[tuple[int, ...]] = []

    def note(_: str, each: object) -> None:
        if isinstance(each, h5py.Dataset):
            found.append(each.shape)

    if file.suffix == ".keras":
        with zipfile.ZipFile(file) as archive, archive.open("model.weights.h5") as stream, h5py.File(stream) as arrays:
            arrays.visititems(note)
        assert (4, 6) in found
    elif file.suffix == ".h5":
        with h5py.File(file) as arrays:
            arrays.visititems(note)
        assert (4, 6) in found
    elif file.suffix == ".index":
        found = list(tf.train.load_checkpoint(str(file.with_suffix(""))).get_variable_to_shape_map().values())
        assert [4, 6] in found
    return {size for shape in found for size in shape}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_sparsity_is_exact_with_a_teacher_and_fits_go_on(version):
    version = VERSIONS[version]
    model, teacher = network(version, hidden=20), network(version, seed=2)
    model.compile("adam", "mse", jit_compile=False)
    y = labels("squared_error")
    with pruning_scope(hparams(distill_weight=0.9), teacher=teacher) as scope:
        model.fit(X, y, batch_size=2, epochs=2, verbose=0)
        for _ in range(2):
            model.train_on_batch(X, y)
        model.fit(X, y, batch_size=4, verbose=0)
    assert [int(np.count_nonzero(state.weight)) for state in scope.prunings[0].states] == [24, 18]
    before = model.get_weights()
    model.fit(X, y, batch_size=8, verbose=0)  # outside the scope, without teacher and masks
    assert np.count_nonzero(model.get_weights()[0]) > np.count_nonzero(before[0])


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_replicas_have_the_step_of_one_device(version):
    version = VERSIONS[version]
    y, teacher = labels("categorical"), network(version, "softmax", seed=2)
    loss, devices = "sparse_categorical_crossentropy", tf.config.list_logical_devices("CPU")
    wanted = one_step(network(version, "softmax", kernel_regularizer="l2"), loss, y, teacher)
    with tf.distribute.MirroredStrategy([device.name for device in devices]).scope():
        model = network(version, "softmax", kernel_regularizer="l2")
        model.compile(version.optimizers.SGD(1.0), loss)
    before = model.get_weights()
    with pruning_scope(of_teacher(), teacher=teacher):
        model.fit(X, y, batch_size=len(X), shuffle=False, verbose=0)
    assert_same_step([new - old for new, old in zip(model.get_weights(), before, strict=True)], wanted)


@pytest.mark.slow
def test_a_saved_teacher_works_under_xla_in_half_precision_and_with_the_hessian(tmp_path):
    network(keras, seed=2).export(str(tmp_path / "teacher"), verbose=False)
    loss, y = keras.losses.SparseCategoricalCrossentropy(from_logits=True), labels("categorical")
    wanted = one_step(network(keras), loss, y, str(tmp_path / "teacher"))
    found = one_step(network(keras), loss, y, str(tmp_path / "teacher"), compile_args={"jit_compile": True})
    assert_same_step(found, wanted)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = one_step(network(keras), loss, y, str(tmp_path / "teacher"))
    finally:
        keras.config.set_dtype_policy("float32")
    for one, other in zip(half, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=5e-3)
    model = network(keras)
    model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=False)
    second = hparams(distill_weight=0.5, prune_option="second_order_gradient", gradient_estimator="hutchinson")
    with pruning_scope(second, teacher=str(tmp_path / "teacher")) as scope:
        model.fit(X, y, batch_size=2, epochs=3, verbose=0)
    assert all(np.any(state.gradient.numpy()) for state in scope.prunings[0].states)
