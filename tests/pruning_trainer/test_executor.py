import dataclasses
import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from helpers.executor_run import HPARAMS, MODULE, Run, fails
from helpers.store_builder import stored_properties
from tfx_pruning import PruningHParams, properties
from tfx_pruning.cli.main import cli
from tfx_pruning.engine.keras.delivered_sparsity import SparsityError
from tfx_pruning.engine.model_variables import model_variables
from tfx_pruning.report.files import HTML_NAME, read_report
from tfx_pruning.saved_model.variables import SavedVariables


def test_an_unchanged_run_fn_is_pruned_and_its_model_described(tmp_path):
    run = Run(tmp_path).do()
    saved = SavedVariables(run.saved)
    kernels = {v.name: saved.value(v) for v in model_variables(saved) if v.name.endswith("/kernel")}
    counts = {value.shape: np.count_nonzero(value) for value in kernels.values()}
    assert counts == {(10, 20): 30, (20, 1): 3}
    size = sum(file.stat().st_size for file in pathlib.Path(run.saved).rglob("*") if file.is_file())
    assert {key: run.model.get_custom_property(key) for key in properties.PRUNING} == {
        "prune_option": "second_order_gradient",
        "gradient_estimator": "backprop",
        "target_sparsity": 0.85,
        "sparsity": pytest.approx(1 - 33 / 220),
        "total_sparsity": pytest.approx((220 - 33) / 241),
        "prunable_parameters": 220,
        "nonzero_parameters": 33,
        "total_parameters": 241,
        "hparams": HPARAMS.to_string(),
        "trained_bytes": size,
    }
    report = read_report(run.report.uri)
    assert {weight.shape: weight.nonzero for weight in report.weights} == counts
    assert (report.sparsity, report.total_parameters) == (pytest.approx(1 - 33 / 220), 241)
    assert report.sizes == {"SavedModel as trained": size}
    assert report.hparams == HPARAMS.to_string()
    assert [step for each in report.training.mask_updates for step in each.steps()] == list(range(2, 11))
    assert [weight.after.total - weight.after.zeros for weight in report.training.weights] == [30, 3]
    assert report.lineage["input examples"] == f"Examples: {tmp_path / 'examples'}"
    assert report.lineage["output model"] == f"Model: {run.model.uri}"
    assert "hidden/kernel" in (pathlib.Path(run.report.uri) / HTML_NAME).read_text()


def test_multiply_adds_that_were_asked_for_and_delivered_are_told_everywhere(tmp_path):
    hparams = PruningHParams.for_steps(10, granularity="channel", cost="flops", target_sparsity=0.52)
    run = Run(tmp_path, hparams=hparams).do()
    # A hidden channel takes 10 of the first kernel's and one of the second's; 115 are to go.
    kept = 9 * 11
    expected = {
        "multiply_adds": 220,
        "multiply_adds_kept": kept,
        "multiply_adds_sparsity": 0.55,
        "target_sparsity": 0.52,
    }
    store = tmp_path / "metadata.sqlite"
    assert stored_properties(store, run.model).items() >= expected.items()
    assert read_report(run.report.uri).multiply_adds == (220, kept)
    assert "of 220, 55.00\N{NO-BREAK SPACE}% gone" in (pathlib.Path(run.report.uri) / HTML_NAME).read_text()
    shown = CliRunner().invoke(cli, ["metadata", "artifacts", "--db", str(store)]).output
    for line in (
        "target_sparsity 52.00%",
        "multiply_adds 220",
        f"multiply_adds_kept {kept}",
        "multiply_adds_sparsity 55.00%",
    ):
        assert line in " ".join(shown.split()), shown


def test_a_teacher_is_asked_and_is_not_in_the_model(tmp_path):
    dense = keras.Sequential([keras.Input((10,)), keras.layers.Dense(17), keras.layers.Dense(1)])
    dense.layers[1].bias.assign([10.0])
    tf.saved_model.save(dense, str(tmp_path / "dense" / "Format-Serving"))
    # Only a teacher whose answers are far from the labels can bring the bias there.
    module = MODULE.replace('"adam"', "keras.optimizers.SGD(0.02)").replace(
        "tf.saved_model.save(model,", "assert model.layers[1].bias.numpy() > 1\n    tf.saved_model.save(model,"
    )
    taught = dataclasses.replace(HPARAMS, distill_weight=1.0, prune_option="weight")
    run = Run(tmp_path, module=module, hparams=taught, teacher=tmp_path / "dense").do()
    assert run.model.get_custom_property("total_parameters") == 241
    assert all(17 not in variable.shape for variable in SavedVariables(run.saved))
    assert read_report(run.report.uri).lineage["input teacher"] == f"Model: {tmp_path / 'dense'}"


@pytest.mark.parametrize(
    ("saved", "fields", "words"),
    [
        (True, {}, ["teacher is given, but distill_weight is 0"]),
        (False, {"distill_weight": 0.5}, ["teacher: ", "holds no SavedModel"]),
        (None, {"distill_weight": 0.5}, ["distill_weight=0.5 needs a teacher"]),
    ],
)
def test_a_teacher_that_cannot_be_used_fails_before_training(saved, fields, words, tmp_path):
    module = "def run_fn(fn_args):\n    raise AssertionError('run_fn must not run')\n"
    folder = tmp_path / "dense" / "Format-Serving"
    folder.mkdir(parents=True)
    if saved:
        (folder / "saved_model.pb").touch()
    teacher = None if saved is None else tmp_path / "dense"
    hparams = dataclasses.replace(HPARAMS, **fields)
    fails(Run(tmp_path, module=module, hparams=hparams, teacher=teacher), ValueError, *words)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["tf_keras.optimizers.Adam()", "tf_keras.optimizers.legacy.Adam()"])
@pytest.mark.parametrize("save", ["tf.saved_model.save(model, {})", "model.save({}, save_format='tf')"])
def test_models_of_tf_keras_are_pruned_and_start_from_their_base(optimizer, save, tmp_path):
    module = (
        MODULE.replace("import keras", "import tf_keras")
        .replace("keras.", "tf_keras.")
        .replace('"adam"', optimizer)
        .replace("tf.saved_model.save(model, fn_args.serving_model_dir)", save.format("fn_args.serving_model_dir"))
    )
    warm = module.replace(
        "model.compile(", "import tfx_pruning\n    assert tfx_pruning.warm_start(model, fn_args)\n    model.compile("
    ).replace(optimizer, "tf_keras.optimizers.SGD(0.0)")
    kernels, base_model = [], None
    for name, text in (("first", module), ("second", warm)):
        (tmp_path / name).mkdir()
        run = Run(tmp_path / name, module=text, base_model=base_model).do()
        base_model = run.model.uri
        assert run.model.get_custom_property("nonzero_parameters") == 33
        assert run.model.get_custom_property("total_parameters") == 241
        saved = SavedVariables(run.saved)
        assert len(model_variables(saved)) == 4
        kernels.append({v.shape: saved.value(v) for v in model_variables(saved) if v.name.endswith("/kernel")})
    assert {shape: np.count_nonzero(value) for shape, value in kernels[0].items()} == {(10, 20): 30, (20, 1): 3}
    for shape, value in kernels[0].items():
        np.testing.assert_array_equal(kernels[1][shape], value)


@pytest.mark.slow
def test_model_run_holds_loss_and_sparsity(tmp_path):
    run = Run(tmp_path).do()
    (file,) = pathlib.Path(run.model_run.uri).iterdir()
    tags = {v.tag for event in tf.compat.v1.train.summary_iterator(str(file)) for v in event.summary.value}
    assert {"loss", "model_pruning/sparsity"} < tags
    assert any(tag.endswith("hidden/kernel/sparsity") for tag in tags)


@pytest.mark.slow
def test_a_base_model_is_loaded_by_warm_start(tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    first = Run(tmp_path / "first").do()
    warm = MODULE.replace(
        "model.compile(", "import tfx_pruning\n    assert tfx_pruning.warm_start(model, fn_args)\n    model.compile("
    ).replace('"adam"', "keras.optimizers.SGD(0.0)")
    second = Run(tmp_path / "second", module=warm, base_model=first.model.uri).do()
    values = []
    for run in (first, second):
        saved = SavedVariables(run.saved)
        values.append(next(saved.value(v) for v in model_variables(saved) if v.name.endswith("hidden/kernel")))
    np.testing.assert_array_equal(*values)


def test_hyperparameters_without_kerastuners_form_reach_pruning_and_run_fn(tmp_path):
    given = {"learning_rate": 0.25, "pruning/target_sparsity": 0.5, "pruning/exclude": "[hidden]"}
    module = MODULE.replace("    rng =", f"    assert fn_args.hyperparameters == {given}\n    rng =")
    run = Run(tmp_path, module=module, hyperparameters=json.dumps(given)).do()
    effective = dataclasses.replace(HPARAMS, target_sparsity=0.5, exclude=["hidden"])
    assert run.model.get_custom_property(properties.HPARAMS) == effective.to_string()
    assert run.model.get_custom_property(properties.NONZERO_PARAMETERS) == 10
    assert run.model.get_custom_property(properties.PRUNABLE_PARAMETERS) == 20
    assert read_report(run.report.uri).hparams == effective.to_string()


def test_the_sparsity_of_a_budget_is_none_of_run_fns_hyperparameters(tmp_path):
    given = {"space": [], "values": {"pruning/target_sparsity": 0.5}, "budget_plan": {}}
    module = MODULE.replace("    rng =", "    assert fn_args.hyperparameters is None\n    rng =")
    run = Run(tmp_path, module=module, hyperparameters=json.dumps(given)).do()
    assert run.model.get_custom_property(properties.TARGET_SPARSITY) == 0.5


@pytest.mark.parametrize(
    ("hyperparameters", "words"),
    [
        ('{"space": [], "values": {"pruning/target_sparsty": 0.5}}', ["pruning/target_sparsty", "Did you mean"]),
        ('{"pruning/target_sparsity": 1.0}', ["pruning/target_sparsity=1.0", "must be in [0, 1)"]),
        ("[1]", ["best_hyperparameters", "[1]"]),
        ("{", ["hyperparameters", "best.json", "JSON"]),
    ],
)
def test_wrong_hyperparameters_fail_before_training(hyperparameters, words, tmp_path):
    module = "def run_fn(fn_args):\n    raise AssertionError('run_fn must not run')\n"
    fails(Run(tmp_path, module=module, hyperparameters=hyperparameters), ValueError, *words)


def test_nothing_that_is_only_shown_ends_a_training(tmp_path, monkeypatch):
    def fail(*_, **unused):
        raise ArithmeticError("it cannot be shown")

    for name in ("engine.history.recorder.Histogram.of", "engine.summaries.write_scalars", "report.files.page"):
        monkeypatch.setattr(f"tfx_pruning.{name}", fail)
    run = Run(tmp_path).do()
    assert run.model.get_custom_property(properties.NONZERO_PARAMETERS) == 33
    assert run.report.get_custom_property(properties.MISSING) == "ArithmeticError: it cannot be shown"
    training = read_report(run.report.uri).training
    assert training.weights == ()
    assert training.last_step == 10


@pytest.mark.slow
def test_a_training_too_short_fails_and_says_what_to_change(tmp_path):
    fails(Run(tmp_path, steps=4), SparsityError, "hidden/kernel", "85.0000%", "4 steps", "step 8", "for_steps(4")


def test_a_run_fn_that_fits_nothing_fails(tmp_path):
    module = MODULE.replace("model.fit(", "(lambda *args, **kwargs: None)(")
    fails(Run(tmp_path, module=module), RuntimeError, "Nothing was pruned")


@pytest.mark.slow
def test_a_run_fn_that_saves_nothing_fails(tmp_path):
    module = MODULE.replace("tf.saved_model.save(model, fn_args.serving_model_dir)", "")
    fails(Run(tmp_path, module=module), RuntimeError, "run_fn saved no model", "serving_model_dir")


@pytest.mark.slow
def test_a_run_fn_that_saves_another_model_fails(tmp_path):
    module = MODULE.replace(
        "tf.saved_model.save(model,",
        "tf.saved_model.save(keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)]),",
    )
    fails(Run(tmp_path, module=module), SparsityError, "not the one that was pruned")


@pytest.mark.slow
def test_a_frequency_that_lets_no_update_happen_fails(tmp_path):
    hparams = dataclasses.replace(HPARAMS, pruning_frequency=100)
    fails(Run(tmp_path, hparams=hparams), SparsityError, "No mask was updated in 10 steps", "pruning_frequency=100")


@pytest.mark.slow
def test_metrics_that_are_no_scalars_do_no_harm(tmp_path):
    module = MODULE.replace("x[:, :1]", "x[:, :2]").replace("keras.layers.Dense(1)", "keras.layers.Dense(2)")
    module = module.replace('"mse", jit', '"mse", metrics=[keras.metrics.F1Score()], jit')
    run = Run(tmp_path, module=module).do()
    assert run.model.get_custom_property(properties.PRUNABLE_PARAMETERS) == 240


@pytest.mark.slow
def test_the_best_checkpoint_of_the_training_may_be_saved(tmp_path):
    keep = f"keras.callbacks.ModelCheckpoint('{tmp_path}/{{epoch}}.keras')"
    module = MODULE.replace("steps_per_epoch=fn_args.train_steps, epochs=1", f"epochs=2, callbacks=[{keep}]")
    module = module.replace("    tf.saved", f"    model = keras.models.load_model('{tmp_path}/1.keras')\n    tf.saved")
    assert Run(tmp_path, module=module).do().model.get_custom_property(properties.NONZERO_PARAMETERS) == 33


def test_an_include_that_matches_nothing_fails(tmp_path):
    hparams = PruningHParams(include=["conv"], sparsity_function_end_step=8)
    fails(Run(tmp_path, hparams=hparams), ValueError, "'conv'", "hidden/kernel")


def test_a_base_model_that_is_missing_or_empty_fails_before_training(tmp_path):
    module = "def run_fn(fn_args):\n    raise AssertionError('run_fn must not run')\n"
    fails(Run(tmp_path, module=module, base_model=tmp_path / "nowhere"), ValueError, "base_model", "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    fails(Run(tmp_path, module=module, base_model=empty), ValueError, "base_model", "no SavedModel")


def test_an_output_that_tensorflow_cannot_read_fails_before_training(tmp_path):
    module = "def run_fn(fn_args):\n    raise AssertionError('run_fn must not run')\n"
    (tmp_path / "root[1]").mkdir()
    fails(Run(tmp_path / "root[1]", module=module), ValueError, "root[1]", "takes brackets")


def test_an_output_that_cannot_be_written_fails(tmp_path):
    run = Run(tmp_path)
    (tmp_path / "model").write_text("a file where the directory should be")
    fails(run, ValueError, str(tmp_path / "model"), "cannot be written")


def test_a_training_that_broke_off_goes_on_in_the_next_execution_with_the_same_inputs(tmp_path):
    module = MODULE.replace("verbose=0", "verbose=0, callbacks=[Watch()]").replace(
        "def run_fn",
        """
class Watch(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        with open(WATCH, "a") as file:
            file.write(f"{int(self.model.optimizer.iterations)} ")
        if int(self.model.optimizer.iterations) == 7 and not os.path.exists(WATCH + ".again"):
            open(WATCH + ".again", "w").close()
            raise RuntimeError("broken off")


def run_fn""",
    )
    module = module.replace("    rng =", "    keras.utils.set_random_seed(1)\n    rng =")
    module = f"import os\nWATCH = {str(tmp_path / 'watch')!r}\n{module}"
    run = Run(tmp_path, module, backup_steps=3)
    with pytest.raises(RuntimeError, match="broken off"):
        run.do()
    assert [path.name for path in tmp_path.glob(".training_backup_*/*")] == ["fit_0.weights.h5"]
    run.do()
    assert (tmp_path / "watch").read_text().split() == [str(step) for step in (*range(1, 8), *range(7, 11))]
    assert list(tmp_path.glob(".*")) == []
    (tmp_path / "whole").mkdir()
    whole = Run(tmp_path / "whole", module, backup_steps=0).do()
    found, expected = (SavedVariables(each.saved) for each in (run, whole))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(found.value(one), expected.value(other))


def test_other_hyperparameters_begin_anew_and_remove_the_backup(tmp_path):
    failing = MODULE.replace("    tf.saved_model.save", "    raise RuntimeError('broken off')\n    tf.saved_model.save")
    with pytest.raises(RuntimeError, match="broken off"):
        Run(tmp_path, failing, backup_steps=3).do()
    (left,) = tmp_path.glob(".training_backup_*")
    with pytest.raises(RuntimeError, match="broken off"):
        Run(tmp_path, failing, HPARAMS.tuned({"pruning/target_sparsity": 0.5}), backup_steps=3).do()
    (other,) = tmp_path.glob(".training_backup_*")
    assert left != other


def test_without_backups_nothing_is_left(tmp_path):
    failing = MODULE.replace("    tf.saved_model.save", "    raise RuntimeError('broken off')\n    tf.saved_model.save")
    with pytest.raises(RuntimeError, match="broken off"):
        Run(tmp_path, failing, backup_steps=0).do()
    assert list(tmp_path.glob(".*")) == []
