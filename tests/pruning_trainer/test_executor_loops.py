"""Training loops of the user's own in run_fn."""

import pathlib
import re

import numpy as np
import pytest

from helpers.executor_run import Run, fails
from helpers.store_builder import stored_properties
from tfx_pruning import PruningHParams
from tfx_pruning.engine.keras.delivered_sparsity import SparsityError
from tfx_pruning.engine.model_variables import model_variables
from tfx_pruning.report.files import read_report
from tfx_pruning.saved_model.variables import SavedVariables

LOOP = re.search(
    r"## In PruningTrainer\n.*?```python\n(.*?)```",
    (pathlib.Path(__file__).parents[2] / "docs" / "guides" / "training_loops.md").read_text(encoding="utf-8"),
    re.DOTALL,
)[1]
LOOP_HPARAMS = PruningHParams.for_steps(30, target_sparsity=0.75)


def test_a_loop_of_ones_own_is_pruned_counted_and_reported(tmp_path):
    run = Run(tmp_path, module=LOOP, hparams=LOOP_HPARAMS, steps=30).do()
    saved = SavedVariables(run.saved)
    kernels = [saved.value(v) for v in model_variables(saved) if v.name.endswith("/kernel")]
    assert sum(np.count_nonzero(kernel) for kernel in kernels) == 72 == 0.25 * (8 * 32 + 32)
    assert (
        stored_properties(tmp_path / "metadata.sqlite", run.model).items()
        >= {
            "sparsity": 0.75,
            "prunable_parameters": 288,
            "nonzero_parameters": 72,
            "total_parameters": 288 + 33,
        }.items()
    )
    report = read_report(run.report.uri)
    assert sum(weight.nonzero for weight in report.weights) == 72
    assert (report.training.last_step, [point.step for point in report.training.metrics]) == (30, [10, 20, 30])
    assert list(pathlib.Path(run.model_run.uri).rglob("events*"))
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize(
    ("old", "new", "kind", "words"),
    [
        ("scope.pruning_of(model)", "tfx_pruning.Pruning(scope.hparams, model)", RuntimeError, ["pruning_of(model)"]),
        ("pruning.finish(fn_args.train_steps)", "pass", RuntimeError, ["not finished", "finish was never called"]),
        ("range(fn_args.train_steps)", "range(10)", ValueError, ["finish got step 30", "is 10"]),
    ],
)
def test_a_loop_of_ones_own_that_is_not_right_fails(old, new, kind, words, tmp_path):
    module = LOOP.replace(old, new).replace("pruning.log(", "print(")
    assert module != LOOP
    fails(Run(tmp_path, module=module, hparams=LOOP_HPARAMS, steps=30), kind, *words)


def test_a_loop_of_ones_own_that_is_too_short_fails(tmp_path):
    hparams = PruningHParams.for_steps(60, target_sparsity=0.75)
    fails(Run(tmp_path, module=LOOP, hparams=hparams, steps=30), SparsityError, "30 steps", "at step 36")


def test_a_loop_of_ones_own_goes_on_from_its_checkpoint_in_the_next_execution(tmp_path):
    module = LOOP.replace(
        "    @tf.function",
        """    optimizer.build(model.trainable_variables)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
    backups = None
    if scope.backup_dir:
        backups = tf.train.CheckpointManager(checkpoint, scope.backup_dir, max_to_keep=1)
        backups.restore_or_initialize()
    first = int(optimizer.iterations)

    @tf.function""",
    ).replace("range(fn_args.train_steps)", "range(first, fn_args.train_steps)")
    module = module.replace(
        "        if batch % 10",
        """        if backups and batch == 14 and first == 0:
            backups.save()
        if backups and batch == 17 and first == 0:
            raise RuntimeError("broken off")
        if batch % 10""",
    )
    run = Run(tmp_path, module=module, hparams=LOOP_HPARAMS, steps=30)
    with pytest.raises(RuntimeError, match="broken off"):
        run.do()
    assert list(tmp_path.glob(".training_backup_*/*.index"))
    run.do()
    assert list(tmp_path.glob(".*")) == []
    report = read_report(run.report.uri)
    assert (report.training.first_step, report.training.last_step) == (15, 30)
    (tmp_path / "whole").mkdir()
    whole = Run(tmp_path / "whole", module=module, hparams=LOOP_HPARAMS, steps=30, backup_steps=0).do()
    found, expected = (SavedVariables(each.saved) for each in (run, whole))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(found.value(one), expected.value(other))
