"""The examples of the README and of the pages in docs run, and what they say of names and defaults is so."""

import dataclasses
import pathlib
import re

import keras
import numpy as np
import pytest
from tfx import v1 as tfx

from tfx_pruning import PruningHParams
from tfx_pruning.pipelines.cli import run_command
from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.evaluation import eval_config
from tfx_pruning.pipelines.pipeline import create_pipeline

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {page.name: page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md")}


def _code(text: str, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


PIPELINE, KERAS = _code(README)


def test_pipeline_example_wires_a_pipeline() -> None:
    config = PipelineConfig(pipeline_root="artifacts", data_root="data", serving_dir="serving")
    nodes = {node.id: node for node in create_pipeline(config).components}
    names = {
        "module_file": config.module_file,
        "example_gen": nodes["CsvExampleGen"],
        "schema_gen": nodes["SchemaGen"],
        "transform": nodes["Transform"],
        "trainer": nodes["Trainer"],
        "eval_config": eval_config(config),
        "push_destination": tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory="serving")
        ),
    }
    exec(compile(PIPELINE, "README.md", "exec"), names)
    assert names["stripper"].inputs["trained_model"] is names["pruned"].outputs["model"]
    assert names["pusher"].inputs["model"] is names["stripper"].outputs["model"]
    hparams = PruningHParams.parse(names["pruned"].exec_properties["hparams"])
    assert (hparams.prune_option, hparams.target_sparsity) == ("first_order_gradient", 0.9)


def _kept(model: keras.Model) -> int:
    kernels = [weight.numpy() for weight in model.trainable_weights if weight.name == "kernel"]
    return sum(np.count_nonzero(kernel) for kernel in kernels)


@pytest.mark.slow
def test_example_without_tfx(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "readme"}
    exec(compile(KERAS, "README.md", "exec"), names)
    assert _kept(names["model"]) == 420
    # 20 of 100 units: their columns, biases and rows, and the bias of the last layer.
    assert capsys.readouterr().out.splitlines()[-1] == f"{2000 + 100 + 100 + 1} {20 * 20 + 20 + 20 + 1}"
    assert (tmp_path / "small" / "saved_model.pb").is_file()


@pytest.mark.slow
def test_examples_of_the_page_on_keras(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scope, taught, loop = _code(PAGES["keras.md"])
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "readme"}
    exec(compile(scope, "keras.md", "exec"), names)
    assert _kept(names["model"]) == 420
    report = names["report"]
    assert report.gzipped_bytes < report.stripped_bytes < report.source_bytes
    assert capsys.readouterr().out.startswith("0.8 {")
    assert (tmp_path / "stripped" / "saved_model.pb").is_file()
    exec(compile(taught, "keras.md", "exec"), names)
    assert _kept(names["model"]) == 210
    exec(compile(loop, "keras.md", "exec"), names)
    (mask,) = names["pruning"].masks
    assert sorted(mask.numpy().ravel()) == [0.0] * 10 + [1.0] * 10


def test_hyperparameters_and_their_defaults() -> None:
    page = PAGES["hyperparameters.md"]
    rows = re.findall(r"^\| `(\w+)` \| `(.+?)` \|", page, re.MULTILINE)
    defaults = {field.name: repr(field.default) for field in dataclasses.fields(PruningHParams)}
    assert len(rows) == len(defaults)
    assert dict(rows) == defaults
    (string,) = re.findall(r'PruningHParams\.parse\("(.+?)"\)', page)
    assert PruningHParams.parse(string).weight_sparsity_map == ("conv1:0.5",)


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{name}" for name in sorted(PAGES))])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]*)#?([^)]*)\)", text)
    assert page != "README.md" or len(links) > 20
    for link, heading in links:
        if not link.startswith("http"):
            target = (ROOT / page).parent / link if link else ROOT / page
            assert target.exists(), link
            assert not heading or heading in _anchors(target.read_text(encoding="utf-8")), (link, heading)


def _anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_is_short() -> None:
    assert README.count("\n") <= 200


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:`|^ {4})make ([a-z-]+)", README, re.MULTILINE))
    assert {"demo", "test", "venv", "test-quick", "lint", "clean", "lock"} <= targets
    assert [target for target in sorted(targets) if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


def test_settings_of_ones_own_data_are_a_configuration(tmp_path: pathlib.Path) -> None:
    (settings,) = _code(PAGES["run.md"], "yaml")
    (tmp_path / "houses.yaml").write_text(settings, encoding="utf-8")
    config = PipelineConfig.read(tmp_path / "houses.yaml", {"pipeline_root": "out", "serving_dir": "out/serving"})
    assert (config.data_root, config.module_file) == (str(tmp_path / "data"), str(tmp_path / "houses.py"))
    assert (config.pipeline_name, config.label_key) == ("houses_pruning", "price")
    assert (config.hparams.target_sparsity, config.hparams.exclude) == (0.95, ("head",))
    (metrics,) = eval_config(config).metrics_specs
    assert [metric.class_name for metric in metrics.metrics][:2] == ["MeanSquaredError", "MeanAbsoluteError"]


def test_calls_of_run_have_options_that_there_are() -> None:
    options = {name for parameter in run_command.command.params for name in parameter.opts}
    calls = re.findall(r"tfx-pruning run ([^`\n]*)", README + PAGES["run.md"])
    assert len(calls) >= 3
    used = {word.partition("=")[0] for call in calls for word in call.split() if word.startswith("--")}
    assert {"--root", "--config", "--hparams", "--json"} <= used - {"--help"} <= options
