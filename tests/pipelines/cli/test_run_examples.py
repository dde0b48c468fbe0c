"""The folders that `tfx-pruning init` makes run, from the data to the pushed model and its export."""

import json
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf
from click.testing import CliRunner

from tfx_pruning.cli.strip_command import command as strip
from tfx_pruning.pipelines.cli.init_command import copy_template

STEPS = {"tabular": 300, "images": 200, "text": 150}
EXPORTED = {"tabular": ("score", [1, 1]), "images": ("classify", [1, 10]), "text": ("score", [1, 1])}
# Far from what the full trainings reach, and from what a model without a clue does.
GOOD = {
    "tabular": lambda metrics: metrics["MeanAbsoluteError"] < 2000,
    "images": lambda metrics: metrics["SparseCategoricalAccuracy"] > 0.6,
    "text": lambda metrics: metrics["AUC"] > 0.75,
}


@pytest.mark.e2e
@pytest.mark.parametrize("template", STEPS)
def test_an_example_runs_to_the_push_and_its_model_is_exported(template, tmp_path):
    folder = tmp_path / "mine"
    copy_template(template, folder)
    steps = str(STEPS[template])
    command = [pathlib.Path(sys.executable).with_name("tfx-pruning"), "run", "--json", "--no-try-module"]
    command += ["--root", folder / "out", "--config", folder / "pipeline.yaml", "--max-metric-drop", "10000"]
    command += ["--train-steps", steps, "--pruning-steps", steps]
    result = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    found = json.loads(result.stdout)
    assert GOOD[template](found["dense"])
    assert GOOD[template](found["pruned"])
    assert found["stripped_bytes"] < found["dense_bytes"]
    signature, shape = EXPORTED[template]
    phone = tmp_path / "phone"
    arguments = [found["pushed_to"], str(phone), "--export", "tflite", "--signature", signature]
    if template == "images":
        arguments += ["--verify", str(folder / "data" / "*.gz")]
    stripped = CliRunner().invoke(strip, arguments)
    assert stripped.exit_code == 0, stripped.output
    (file,) = (tmp_path / "phone_exports").glob("*.tflite")
    interpreter = tf.lite.Interpreter(str(file))
    (output,) = interpreter.get_output_details()
    assert output["shape"].tolist() == shape
