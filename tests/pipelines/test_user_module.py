import pathlib
import subprocess
import sys

import pytest

from helpers import own_names
from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.sweep.plan import SweepPlan


def config(folder, suffix, text=None, **pruning):
    """A configuration with a module of the user's, whose names have a suffix."""
    text = text or pathlib.Path(own_names.__file__).read_text()
    for name in ("RootMeanSquare", "Stairs", "root_mean_square", "stairs"):
        text = text.replace(name, name + suffix)
    (folder / "users_module.py").write_text(text)
    return PipelineConfig.from_values(
        {
            **{name: str(folder / name) for name in ("pipeline_root", "data_root", "serving_dir")},
            "module_file": str(folder / "users_module.py"),
            "label_key": "y",
            "metric": "MeanSquaredError",
            "metric_direction": "lower",
            "max_metric_drop": 1.0,
            "pruning": pruning,
        }
    )


def test_hyperparameters_may_name_what_the_module_registers(tmp_path):
    names = {"prune_option": "root_mean_square_of_config", "sparsity_function": "stairs_of_config"}
    hparams = config(tmp_path, "_of_config", **names).hparams
    assert (hparams.prune_option, hparams.sparsity_function) == tuple(names.values())


def test_so_may_the_options_of_a_sweep(tmp_path):
    plan = SweepPlan(config(tmp_path, "_of_sweep"), options=("root_mean_square_of_sweep",))
    candidate = plan.candidate("root_mean_square_of_sweep", plan.max_sparsity)
    assert candidate.hparams.prune_option == "root_mean_square_of_sweep"


def test_a_name_that_the_module_does_not_register_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Unknown prune_option 'of_nobody'\. There are weight, "):
        config(tmp_path, "_unused", prune_option="of_nobody")


def test_a_module_that_fails_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"users_module.py was imported for prune_option='mine', and failed: Zero"):
        config(tmp_path, "", text="1 / 0", prune_option="mine")
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize("name", ["weight", "helpers.own_names:root_mean_square"])
def test_a_module_is_not_run_for_names_that_are_known(tmp_path, name):
    assert config(tmp_path, "", text="1 / 0", prune_option=name).hparams.prune_option == name


@pytest.mark.slow
def test_the_command_line_takes_names_of_the_module(tmp_path):
    module = tmp_path / "users_module.py"
    module.write_text(pathlib.Path(own_names.__file__).read_text())
    code = "import sys; from tfx_pruning.cli.main import main; main()"
    command = [sys.executable, "-c", code, "run", "--root", str(tmp_path / "out"), "--module-file", str(module)]
    command += ["--data-root", str(tmp_path), "--label-key", "y", "--min-metric", "0"]
    errors = {}
    for name in ("root_mean_square", "root_mean_cube"):
        run = subprocess.run([*command, "--hparams", f"prune_option={name}"], capture_output=True, text=True)
        assert run.returncode == 2
        errors[name] = run.stderr
    # The first goes as far as the checks of the module.
    assert "does not define preprocessing_fn" in errors["root_mean_square"]
    assert "Did you mean 'root_mean_square'?" in errors["root_mean_cube"]
