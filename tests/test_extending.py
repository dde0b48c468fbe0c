"""docs/extending.md: its code does what the page says, in a process that has not imported it."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
from typing import Any, NamedTuple

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
NOT_SOURCE = shutil.ignore_patterns("__pycache__", "*.egg-info")

PROGRAM = '''
import json

import keras
import numpy as np
import tensorflow as tf
from click.testing import CliRunner

from tfx_pruning import PruningHParams, pruning_scope
from tfx_pruning.cli.main import cli
from tfx_pruning.stripper.export.formats import FORMATS
from tfx_pruning.stripper.export.model_export import export_model


class Sparsities(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        found["sparsities"].append(logs["sparsity"])


def fit(name, string, batch_size=8):
    """Fits a model whose weights do not move, so that its zeros are those of the mask."""
    hparams = PruningHParams.parse(string)
    assert PruningHParams.parse(hparams.to_string()) == hparams
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((10,)), keras.layers.Dense(8, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=False)
    kernels["before"] = model.layers[0].kernel.numpy()
    x = np.random.default_rng(0).normal(size=(64, 10)).astype("float32")
    found["sparsities"] = []
    with pruning_scope(hparams):
        model.fit(x, x[:, :8], batch_size=batch_size, verbose=0, callbacks=[Sparsities()])
    kernels[name] = model.layers[0].kernel.numpy()
    return model


def call(*arguments):
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


kernels, found = {}, {}
steps = "target_sparsity=0.5,pruning_frequency=1,sparsity_function=constant"
fit("column_share_by_name", f"prune_option=column_share,{steps}")
fit("row", f"granularity=row,{steps}")
fit("square_root", "sparsity_function=square_root,target_sparsity=0.8,pruning_frequency=1,sparsity_function_end_step=8")
found["by_step"] = found.pop("sparsities")
fit("root_mean_square", f"prune_option=root_mean_square,gradient_decay_rate=0,{steps}", batch_size=64)
model = fit("column_share", f"prune_option=my_criteria:column_share,{steps}")
tf.saved_model.save(model, "trained")
found["strip"] = json.loads(call("strip", "trained", "stripped", "--export", "my_formats:npz", "--json"))
found["portable"] = FORMATS.portable("npz")
(file,) = export_model("stripped", "exports", ["npz"])
found["by_name"] = [file.format, file.path]
found["zeros"] = json.loads(call("zeros", "stripped", "--json"))
found["help"] = call("--help")
np.savez("kernels.npz", **kernels)
with open("found.json", "w") as stream:
    json.dump(found, stream)
'''


def blocks(language: str) -> dict[str, str]:
    """The page's blocks of one language, by the file that their first line names."""
    found = re.findall(rf"^```{language}\n# ([^\n]+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(found) == PAGE.count(f"```{language}\n")
    return dict(found)


class Ran(NamedTuple):
    """What the program left.

    Attributes:
        folder: The folder that it ran in.
        kernels: The kernel of a layer, as each fit left it.
        found: What else it found.
    """

    folder: pathlib.Path
    kernels: dict[str, np.ndarray]
    found: dict[str, Any]


def write_repository(folder: pathlib.Path) -> None:
    """Copies the package, with the granularity of the page added as the page says."""
    package = folder / "tfx_pruning"
    shutil.copytree(ROOT / "components", package, ignore=NOT_SOURCE)
    shutil.copytree(ROOT / "pipelines", package / "pipelines", ignore=NOT_SOURCE)
    for name, text in blocks("python").items():
        if name.startswith("components/"):
            with open(package / name.removeprefix("components/"), "a", encoding="utf-8") as stream:
                stream.write(f"\n\n{text}")
    for name, text in blocks("diff").items():
        file = package / name.removeprefix("components/")
        old, new = ("".join(line[1:] for line in text.splitlines(True) if line[0] in kept) for kept in (" ", " +"))
        source = file.read_text(encoding="utf-8")
        assert source.count(old) == 1
        file.write_text(source.replace(old, new), encoding="utf-8")


def install_package(folder: pathlib.Path) -> None:
    """Writes the modules of the page, and the entry points as an installed package has them."""
    metadata = folder / "my_package-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    for name, text in blocks("python").items():
        if not name.startswith("components/"):
            (folder / name).write_text(text, encoding="utf-8")
    (declared,) = blocks("toml").values()
    entry_points = re.sub(r'\[project\.entry-points\."(.+)"\]', r"[\1]", declared)
    (metadata / "entry_points.txt").write_text(entry_points.replace('"', ""))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("extending")
    write_repository(folder / "repository")
    install_package(folder / "package")
    path = os.pathsep.join([str(folder / "repository"), str(folder / "package")])
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    with np.load(folder / "kernels.npz") as kernels:
        return Ran(folder, dict(kernels), json.loads((folder / "found.json").read_text()))


def largest(scores: np.ndarray, kept: int) -> np.ndarray:
    return scores >= np.sort(scores.ravel())[-kept]


def test_blocks_are_complete_modules() -> None:
    for name, text in blocks("python").items():
        compile(text, name, "exec")
    assert set(blocks("python")) == {
        *("my_criteria.py", "my_schedules.py", "my_formats.py", "my_commands.py"),
        "components/engine/ranking/granularity.py",
    }


@pytest.mark.slow
def test_the_criterion_prunes(ran: Ran) -> None:
    before = ran.kernels["before"]
    kept = largest(np.abs(before) / np.linalg.norm(before, axis=0), 40)
    for name in ("column_share", "column_share_by_name"):
        np.testing.assert_array_equal(ran.kernels[name], np.where(kept, before, 0))


@pytest.mark.slow
def test_the_criterion_of_gradients_prunes(ran: Ran) -> None:
    before = ran.kernels["before"]
    x = np.random.default_rng(0).normal(size=(64, 10)).astype("float32")
    gradient = x.T @ (x @ before - x[:, :8])  # of the one batch, but for a factor
    kept = largest(np.abs(before * gradient), 40)
    np.testing.assert_array_equal(ran.kernels["root_mean_square"], np.where(kept, before, 0))


@pytest.mark.slow
def test_the_schedule_is_followed(ran: Ran) -> None:
    asked = 0.8 * np.sqrt(np.arange(1, 9) / 8)
    assert ran.found["by_step"] == pytest.approx(1 - np.round(80 * (1 - asked)) / 80)
    assert np.count_nonzero(ran.kernels["square_root"]) == 16


@pytest.mark.slow
def test_the_granularity_prunes_rows(ran: Ran) -> None:
    before = ran.kernels["before"]
    kept = largest(np.abs(before).mean(axis=1, keepdims=True), 5)
    np.testing.assert_array_equal(ran.kernels["row"], np.where(kept, before, 0))


@pytest.mark.slow
def test_the_export_is_written_by_the_command_line_and_by_name(ran: Ran) -> None:
    (exported,) = ran.found["strip"]["exports"]
    assert (exported["format"], exported["checked_on"]) == ("npz", "variables")
    assert ran.found["by_name"] == ["npz", "exports/weights.npz"]
    assert ran.found["portable"] == "npz"  # the package has an entry point
    for folder in ("stripped_exports", "exports"):
        with np.load(ran.folder / folder / "weights.npz") as arrays:
            np.testing.assert_array_equal(arrays["arr_0"], ran.kernels["column_share"])


@pytest.mark.slow
def test_the_command_counts_zeros(ran: Ran) -> None:
    assert list(ran.found["zeros"].values()) == [40]
    assert re.search(r"^  zeros +Count the zeros in each weight of a SavedModel\.$", ran.found["help"], re.MULTILINE)
