"""One call of PruningTrainer's executor, and what must hold if it fails."""

import pathlib
import textwrap

import keras
import pytest
from tfx.types import artifact_utils, standard_artifacts

from tfx_pruning import PruningHParams, PruningReport, properties
from tfx_pruning.pruning_trainer.executor import Executor

# An ordinary TFX module: it knows nothing of pruning.
MODULE = """
import keras
import numpy as np
import tensorflow as tf


def run_fn(fn_args):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(160, 10)).astype("float32")
    model = keras.Sequential([keras.layers.Input((10,)), keras.layers.Dense(20, name="hidden"), keras.layers.Dense(1)])
    model.compile("adam", "mse", jit_compile=False)
    model.fit(x, x[:, :1], batch_size=16, steps_per_epoch=fn_args.train_steps, epochs=1, verbose=0)
    tf.saved_model.save(model, fn_args.serving_model_dir)
"""

HPARAMS = PruningHParams.parse(
    "prune_option=second_order_gradient,target_sparsity=0.85,pruning_frequency=1,begin_pruning_step=2,"
    "sparsity_function_begin_step=2,sparsity_function_end_step=8"
)


class Run:
    """One call of the executor."""

    def __init__(
        self,
        root,
        module=MODULE,
        hparams=HPARAMS,
        steps=10,
        base_model=None,
        hyperparameters=None,
        backup_steps=None,
        teacher=None,
    ):
        self.model, self.model_run = standard_artifacts.Model(), standard_artifacts.ModelRun()
        self.model.uri, self.model_run.uri = str(root / "model"), str(root / "model_run")
        self.report = PruningReport()
        self.report.uri = str(root / "report")
        examples = standard_artifacts.Examples()
        examples.uri = str(root / "examples")
        examples.split_names = artifact_utils.encode_split_names(["train", "eval"])
        module_file = root / "module.py"
        module_file.write_text(textwrap.dedent(module))
        self._inputs = {"examples": [examples]}
        for key, uri in (("base_model", base_model), ("teacher", teacher)):
            if uri is not None:
                artifact = standard_artifacts.Model()
                artifact.uri = str(uri)
                self._inputs[key] = [artifact]
        if hyperparameters is not None:
            artifact = standard_artifacts.HyperParameters()
            artifact.uri = str(root / "hyperparameters")
            (root / "hyperparameters").mkdir()
            (root / "hyperparameters" / "best.json").write_text(hyperparameters)
            self._inputs["hyperparameters"] = [artifact]
        self._properties = {
            "module_file": str(module_file),
            "train_args": f'{{"num_steps": {steps}}}',
            "eval_args": "{}",
            "custom_config": "null",
            "hparams": str(hparams),
        }
        if backup_steps is not None:
            self._properties["backup_steps"] = backup_steps

    def do(self):
        outputs = {"model": [self.model], "model_run": [self.model_run], "report": [self.report]}
        Executor().Do(self._inputs, outputs, self._properties)
        return self

    @property
    def saved(self):
        return str(pathlib.Path(self.model.uri) / "Format-Serving")


def fails(run, kind, *words):
    """Asserts that a run raises an error with these words, and leaves nothing."""
    original = keras.Model.fit
    with pytest.raises(kind) as caught:
        run.do()
    for word in words:
        assert word in str(caught.value)
    assert not run.model.has_custom_property(properties.SPARSITY)
    assert not pathlib.Path(run.saved).exists()
    report = pathlib.Path(run.report.uri)
    assert not report.exists() or list(report.iterdir()) == []
    assert keras.Model.fit is original
