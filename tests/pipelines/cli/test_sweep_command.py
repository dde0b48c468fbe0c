"""What `tfx-pruning sweep` refuses before anything runs; whole sweeps are in sweep/test_local_runner."""

import json
import pathlib

import pytest
from click.testing import CliRunner

from tfx_pruning.cli.main import cli

HERE = pathlib.Path(__file__).parent


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tolerance", "-1"], "Error: max_metric_drop must not be negative, got -1.0."),
        (["--tolerance", "1", "--max-metric-drop", "1"], "--tolerance and --max-metric-drop are the same"),
        (["--option", "wieght"], "Unknown prune_option 'wieght'. Did you mean 'weight'?"),
        (["--option", "weight", "--option", "prune_option=weight"], "The option 'prune_option=weight' is given twice."),
        (["--option", "target_sparsity=0.5"], "sets target_sparsity, which is what a sweep looks for"),
        (["--hparams", "target_sparsity=0.5"], "--hparams sets target_sparsity, which is what a sweep looks for"),
        (["--min-sparsity", "90"], "min_sparsity must be in [0, 1], got 90.0."),
        (["--min-sparsity", "0.9", "--max-sparsity", "0.8"], "the first no larger than the second, got 0.9 and 0.8."),
        (["--resolution", "0.00001"], "resolution must be a multiple of 0.0001"),
        (["--no-cache"], "enable_cache must be True"),
        (["--max-bytes", "1MB", "--option", "n_of_m=2:4"], "n_of_m"),
        (["--data-root", str(HERE / "nowhere")], "nowhere: name the folder of the data with --data-root"),
        (["--metric", "AUCC"], "There is no metric 'AUCC' in TFMA or Keras. Did you mean 'AUC'?"),
    ],
)
def test_wrong_call_is_refused_before_anything_is_written(tmp_path, arguments, message):
    root = tmp_path / "root"
    result = CliRunner().invoke(cli, ["sweep", "--root", str(root), *arguments])
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert not root.exists()


def test_help_tells_every_exit_status():
    text = " ".join(CliRunner().invoke(cli, ["sweep", "--help"]).stdout.split())
    assert "0 pushed, 1 failed, 2 wrong call or input, nothing was run, 3 no candidate is within the tolerance" in text


def test_help_names_the_keys_of_the_json():
    from tfx_pruning.pipelines.run.page_file import PageFile
    from tfx_pruning.pipelines.sweep.outcome import SweepOutcome
    from tfx_pruning.sweep import MetricGoal, Sweep, SweepBaseline, SweepCandidate

    sweep = Sweep(MetricGoal("auc", 0.1), SweepBaseline(0.9), (SweepCandidate("s", 0.5, 0.9, 1, 1),))
    found = json.loads(json.dumps(SweepOutcome(sweep, None, "metadata.sqlite", PageFile("report.html")).to_dict()))
    text = CliRunner().invoke(cli, ["sweep", "--help"]).stdout
    names = {*found, *found["goal"], *found["baseline"], *found["candidates"][0]}
    assert [name for name in sorted(names) if f'"{name}"' not in text] == []
