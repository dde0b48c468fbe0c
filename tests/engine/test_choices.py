import dataclasses
import importlib.util
import pathlib
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfx_pruning
from helpers import own_names
from tfx_pruning import Pruning, PruningHParams, pruning_scope
from tfx_pruning.engine.choices import CRITERIA, GRANULARITIES, SCHEDULES
from tfx_pruning.engine.ranking.radix_select import PART

FIELDS = {
    "prune_option": "root_mean_square",
    "gradient_decay_rate": 0.5,
    "target_sparsity": 0.5,
    "pruning_frequency": 1,
    "begin_pruning_step": 3,
    "sparsity_function": "one_shot",
    "sparsity_function_end_step": 3,
}


def largest(scores, kept):
    mask = np.zeros(scores.size, bool)
    mask[np.argsort(scores.ravel())[-kept:]] = True
    return mask.reshape(scores.shape)


@pytest.mark.parametrize("registry", [CRITERIA, SCHEDULES, GRANULARITIES])
def test_every_built_in_name_is_accepted_and_loads(registry):
    for name, entry in registry.built_in.items():
        fields = {registry.field: name}
        if registry is CRITERIA:
            for estimator, load in entry.items():
                assert load() is load()
                PruningHParams(**fields, gradient_estimator=estimator)
        else:
            assert callable(entry.load() if registry is SCHEDULES else entry())
            PruningHParams(**fields)


def test_a_loop_of_ones_own_is_pruned_by_a_registered_criterion():
    rng = np.random.default_rng(0)
    weight = tf.Variable(rng.normal(size=(12, 10)).astype("f"))
    before, average = weight.numpy(), np.zeros((12, 10), "f")
    pruning = Pruning(PruningHParams(**FIELDS), [weight])
    for step in range(1, 4):
        gradient = rng.normal(size=(12, 10)).astype("f")
        average = np.float32(0.5) * average + np.float32(0.5) * gradient**2
        pruning.conditional_mask_update(step, [tf.constant(gradient)])
    np.testing.assert_array_equal(pruning.masks[0].numpy(), largest(np.abs(before) * np.sqrt(average), 60))


def test_fit_is_pruned_by_a_registered_criterion():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 6)).astype("f"), rng.normal(size=(32, 5)).astype("f")
    model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(5, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=False)
    before, average = model.layers[0].kernel.numpy(), np.zeros((6, 5))
    for batch in np.split(np.arange(32), 4)[:3]:
        gradient = x[batch].T @ (x[batch] @ before - y[batch]) * 2 / (8 * 5)
        average = 0.5 * average + 0.5 * gradient**2
    with pruning_scope(PruningHParams(**FIELDS)) as scope:
        model.fit(x[:24], y[:24], batch_size=8, shuffle=False, verbose=0)
    np.testing.assert_array_equal(scope.prunings[0].masks[0].numpy(), largest(np.abs(before) * np.sqrt(average), 15))
    assert np.count_nonzero(model.layers[0].kernel.numpy()) == 15


def test_fit_follows_a_registered_schedule():
    sparsities = []

    class Sparsity(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            sparsities.append(logs["sparsity"])

    model = keras.Sequential([keras.layers.Input((10,)), keras.layers.Dense(8)])
    model.compile("sgd", "mse", jit_compile=False)
    hparams = PruningHParams(
        sparsity_function="stairs", target_sparsity=0.8, pruning_frequency=1, sparsity_function_end_step=8
    )
    with pruning_scope(hparams):
        x = np.random.default_rng(0).normal(size=(80, 10)).astype("f")
        model.fit(x, x[:, :8], batch_size=8, verbose=0, callbacks=[Sparsity()])
    assert sparsities == pytest.approx([0, 0.2, 0.2, 0.4, 0.4, 0.6, 0.6, 0.8, 0.8, 0.8])


class Overshooting(tfx_pruning.Schedule):
    def left(self, progress):
        return tf.cast(0.5 - 2.0 * progress, tf.float32)


def test_a_schedule_stays_between_its_ends_and_reaches_its_target():
    schedule = Overshooting(0.25, 0.75, 0, 8)
    assert [float(schedule(step)) for step in (0, 1, 4, 8, 9)] == [0.5, 0.625, 0.75, 0.75, 0.75]
    assert float(own_names.Stairs(0.0, 0.8, 0, 8)(8)) == 0.8


class ShareOfTensor(tfx_pruning.Criterion):
    """Not element by element: the largest weight of the tensor has the score 1."""

    def scores(self, weight, average):
        return tf.abs(weight) / tf.reduce_max(tf.abs(weight))


@pytest.mark.usefixtures("registered_before")
def test_a_criterion_of_whole_tensors_is_not_scored_in_parts():
    tfx_pruning.register_criterion("share_of_tensor", ShareOfTensor())
    rng = np.random.default_rng(0)
    # The parts of the first, scored by themselves, would all have a score of 1.
    values = [rng.normal(size=(2, PART)).astype("f") * [[1.0], [10.0]], rng.normal(size=(40, 30)) * 100]
    weights = [tf.Variable(value.astype("f")) for value in values]
    hparams = {"allocation": "global", "target_sparsity": 0.5, "sparsity_function": "constant"}
    pruning = Pruning(PruningHParams(prune_option="share_of_tensor", **hparams), weights)
    scores = np.concatenate([np.ravel(np.abs(w.numpy()) / np.abs(w.numpy()).max()) for w in weights])
    pruning.conditional_mask_update(10)
    kept = np.concatenate([mask.numpy().ravel() for mask in pruning.masks])
    assert kept.sum() == round(0.5 * scores.size)
    assert scores[kept].min() >= scores[~kept].max()


class ByHessian(tfx_pruning.HessianCriterion):
    def scores(self, weight, average):
        return tf.abs(average)


class ByChange(tfx_pruning.WeightChangeCriterion):
    variables = ("gradient", "old_weight", "old_old_weight")

    def sample(self, weight, *old_weights):
        return tf.abs(weight - old_weights[1])

    def scores(self, weight, average):
        return average


@pytest.mark.usefixtures("registered_before")
def test_gradient_estimator_chooses_among_the_criteria_of_a_name():
    tfx_pruning.register_criterion("mine", ByHessian(), ByChange())
    with pytest.raises(ValueError, match="takes gradient_estimator='hutchinson' or 'weight_delta', got 'backprop'"):
        PruningHParams(prune_option="mine")
    steps = {"pruning_frequency": 1, "sparsity_function": "constant"}
    hparams = PruningHParams(prune_option="mine", gradient_estimator="hutchinson", **steps)
    assert PruningHParams.parse(hparams.to_string()) == hparams
    weight = tf.Variable([3.0, 1.0, 2.0, 4.0])
    Pruning(hparams, [weight]).conditional_mask_update(1, loss=lambda: tf.reduce_sum(weight**3))
    assert weight.numpy().tolist() == [3, 0, 0, 4]

    weight = tf.Variable([3.0, 1.0, 2.0, 4.0])
    pruning = Pruning(dataclasses.replace(hparams, gradient_estimator="weight_delta"), [weight])
    for step in (1, 2, 3):
        weight.assign_add([0.0, 2.0, 1.0, 0.0])
        pruning.conditional_mask_update(step)
    state = pruning.states[0]
    # As they were before the masks of the second and the third step.
    assert state.old_old_weight.numpy().tolist()[1] == 5
    assert state.old_weight.numpy().tolist()[1] == 7


def test_regrowth_needs_no_more_of_a_criterion():
    weight = tf.Variable(np.arange(1.0, 9.0, dtype="f"))
    hparams = PruningHParams.parse(
        "prune_option=root_mean_square,regrow=gradient,regrow_fraction=0.5,target_sparsity=0.5,pruning_frequency=1,"
        "sparsity_function_end_step=2,end_pruning_step=8"
    )
    pruning = Pruning(hparams, [weight])
    for step in range(1, 9):
        weight.assign_add(np.full(8, 0.1, "f"))
        pruning.conditional_mask_update(step, [tf.constant(np.arange(-4.0, 4.0, dtype="f"))])
    assert int(np.count_nonzero(weight.numpy())) == 4


class NoCriterion:
    pass


@dataclasses.dataclass
class Unhashable(tfx_pruning.Criterion):
    def scores(self, weight, average):
        return weight


class WrongEstimator(own_names.RootMeanSquare):
    estimator = "hutchinson"


class WrongVariables(own_names.RootMeanSquare):
    variables = ("gradient", "momentum")


class AnotherDefinition(own_names.RootMeanSquare):
    pass


@pytest.mark.parametrize(
    ("name", "criteria", "kind", "words"),
    [
        (
            "weight",
            [ShareOfTensor()],
            ValueError,
            ["prune_option 'weight'", "is built in already", "another name"],
        ),
        ("root_mean_square", [AnotherDefinition()], ValueError, ["that of helpers.own_names.RootMeanSquare already"]),
        ("a,b", [ShareOfTensor()], ValueError, ["register_criterion needs a name of lower-case letters", "'a,b'"]),
        (3, [ShareOfTensor()], TypeError, ["register_criterion needs a string", "3", "int"]),
        ("mine", [], ValueError, ["needs a criterion"]),
        ("mine", [ShareOfTensor], TypeError, ["instances of tfx_pruning.Criterion", "ShareOfTensor"]),
        ("mine", [NoCriterion()], TypeError, ["instances of tfx_pruning.Criterion", "NoCriterion"]),
        ("mine", [Unhashable()], TypeError, ["Unhashable cannot be hashed", "frozen=True"]),
        ("mine", [WrongEstimator()], ValueError, ["WrongEstimator.estimator is 'hutchinson'"]),
        ("mine", [WrongVariables()], ValueError, ["WrongVariables.variables", "('gradient',)", "'momentum'"]),
        ("mine", [ByHessian(), ByHessian()], ValueError, ["Two criteria of 'mine'", "'hutchinson'"]),
    ],
)
@pytest.mark.usefixtures("registered_before")
def test_a_wrong_criterion_is_refused(name, criteria, kind, words):
    with pytest.raises(kind) as caught:
        tfx_pruning.register_criterion(name, *criteria)
    for word in words:
        assert word in str(caught.value)


class NotComplete(tfx_pruning.Schedule):
    pass


@pytest.mark.parametrize(
    ("name", "schedule", "kind", "words"),
    [
        (
            "cosine",
            own_names.Stairs,
            ValueError,
            ["sparsity_function 'cosine'", "is built in already"],
        ),
        ("stairs", Overshooting, ValueError, ["that of helpers.own_names.Stairs already"]),
        ("mine", Overshooting(0.0, 0.5, 0, 1), TypeError, ["class derived from tfx_pruning.Schedule", "Overshooting"]),
        ("mine", NoCriterion, TypeError, ["class derived from tfx_pruning.Schedule", "NoCriterion"]),
        ("mine", NotComplete, TypeError, ["NotComplete", "left"]),
    ],
)
@pytest.mark.usefixtures("registered_before")
def test_a_wrong_schedule_is_refused(name, schedule, kind, words):
    with pytest.raises(kind) as caught:
        tfx_pruning.register_schedule(name, schedule)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"prune_option": "root_mean_sqare"}, ["prune_option 'root_mean_sqare'", "Did you mean 'root_mean_square'?"]),
        (
            {"prune_option": "mine"},
            ["import the module that calls tfx_pruning.register_criterion('mine'", "MODULE:mine"],
        ),
        (
            {"sparsity_function": "other"},
            ["sparsity_function 'other'", "polynomial, constant, cosine, one_shot", "register_schedule('other'"],
        ),
        ({"granularity": "chanel"}, ["granularity 'chanel'", "Did you mean 'channel'?"]),
    ],
)
def test_an_unknown_name_is_refused_with_the_known_ones(fields, words):
    with pytest.raises(ValueError, match="Unknown") as caught:
        PruningHParams(**fields)
    for word in words:
        assert word in str(caught.value)


STRING = "prune_option=root_mean_square,sparsity_function=stairs"
FOLDER = pathlib.Path(own_names.__file__).parent
MODULE = "helpers.own_names:"
READ = f"""
from tfx_pruning import PruningHParams
hparams = PruningHParams.parse({STRING!r})
assert PruningHParams.parse(hparams.to_string()) == hparams
assert PruningHParams.from_json(hparams.to_json()) == hparams
from tfx_pruning.engine.ranking.criteria import criterion_of
assert type(criterion_of(hparams)).__name__ == "RootMeanSquare"
assert hparams.target_step == 100
"""


def fresh_interpreter(code, *path):
    return subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.path[:0] = {[str(each) for each in path]}\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_string_is_read_in_a_fresh_interpreter_that_imports_the_module():
    assert "register_criterion('root_mean_square', ...)" in fresh_interpreter(READ).stderr
    read = fresh_interpreter("import own_names" + READ, FOLDER)
    assert read.returncode == 0, read.stderr


@pytest.mark.slow
def test_a_string_that_names_the_module_is_read_in_a_fresh_interpreter():
    string = "prune_option=own_names:root_mean_square,sparsity_function=own_names:stairs"
    read = fresh_interpreter(READ.replace(STRING, string), FOLDER)
    assert read.returncode == 0, read.stderr


def test_a_criterion_is_the_same_with_its_module_and_without():
    """A gradient state that was saved under one of them means the same under the other."""
    alone, with_module = (PruningHParams(prune_option=f"{module}root_mean_square") for module in ("", MODULE))
    assert with_module.has_the_criterion_of(alone.to_string())
    assert alone.has_the_criterion_of(with_module.to_string())
    assert not with_module.has_the_criterion_of(PruningHParams().to_string())
    assert alone.has_the_criterion_of(alone.to_string().replace("=root_", "=of_nobody:root_"))


def installed(folder, *names, module="own_names"):
    """Puts the module into a folder, as a package of that many names is installed; returns the folder."""
    folder.mkdir()
    text = pathlib.Path(own_names.__file__).read_text()
    (folder / "own_names.py").write_text(text)
    (folder / "of_nothing.py").write_text("")
    metadata = folder / f"{folder.name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {folder.name}\nVersion: 1.0\n")
    groups = {"tfx_pruning.criteria": "root_mean_square", "tfx_pruning.schedules": "stairs"}
    lines = [f"[{group}]\n{name} = {module}\n" for group, name in groups.items() if name in names]
    (metadata / "entry_points.txt").write_text("".join(lines))
    return folder


@pytest.mark.slow
def test_the_entry_points_of_an_installed_package_need_no_import(tmp_path):
    read = fresh_interpreter(READ, installed(tmp_path / "package", "root_mean_square", "stairs"))
    assert read.returncode == 0, read.stderr


@pytest.mark.slow
def test_entry_points_that_clash_or_lead_nowhere_are_refused(tmp_path):
    first, second = (installed(tmp_path / name, "root_mean_square") for name in ("first", "second"))
    assert "is offered by the package first and the package second" in fresh_interpreter(READ, first, second).stderr
    nothing = installed(tmp_path / "nothing", "root_mean_square", module="of_nothing")
    error = fresh_interpreter(READ, nothing).stderr
    assert "Call tfx_pruning.register_criterion('root_mean_square', ...) there" in error
    own = textwrap.dedent(
        """
        import tfx_pruning

        class Mine(tfx_pruning.Criterion):
            def scores(self, weight, average):
                return weight

        tfx_pruning.register_criterion("root_mean_square", Mine())
        """
    )
    assert "is an entry point of the package first already" in fresh_interpreter(own, first).stderr


def test_the_same_definition_may_be_registered_again_from_a_copy(tmp_path):
    file = tmp_path / "copied.py"
    file.write_text(pathlib.Path(own_names.__file__).read_text())
    spec = importlib.util.spec_from_file_location("copied_own_names", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    assert type(CRITERIA.get("root_mean_square")["backprop"]()) is module.RootMeanSquare
