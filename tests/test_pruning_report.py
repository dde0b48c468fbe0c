"""PruningReport in ML Metadata, Kubeflow and notebooks."""

import builtins
import html
import os
import re

import IPython.display
import pytest
import yaml
from tfx import types
from tfx import v1 as tfx
from tfx.orchestration.kubeflow.v2 import compiler_utils
from tfx.utils import import_utils

from helpers import regression_module
from helpers.page_text import PageText
from tfx_pruning import PruningReport, PruningTrainer, Stripper, properties
from tfx_pruning.engine.keras.delivered_sparsity import WeightSparsity
from tfx_pruning.report.document import ReportDocument
from tfx_pruning.report.files import HTML_NAME, write_report


@pytest.fixture
def artifact(tmp_path):
    """A report of two kernels, as a component leaves it."""
    report = PruningReport()
    report.uri = str(tmp_path / "report")
    write_report(ReportDocument("Model <1>", (WeightSparsity("first/kernel", (2, 3), 4),)), report.uri)
    return report


def test_kubeflow_takes_the_type_and_finds_its_class_again():
    title = yaml.safe_load(compiler_utils.get_artifact_schema(PruningReport))["title"]
    assert import_utils.import_class_by_path(title) is PruningReport
    assert PruningReport.PROPERTIES is None


def test_both_components_put_out_a_report():
    examples = types.Channel(type=types.standard_artifacts.Examples)
    trainer = PruningTrainer(hparams="target_sparsity=0.5", examples=examples, run_fn="module.run_fn")
    stripper = Stripper(model=trainer.outputs["model"])
    assert [component.outputs["report"].type for component in (trainer, stripper)] == [PruningReport] * 2


@pytest.fixture
def context(tmp_path, monkeypatch):
    """A notebook's InteractiveContext."""
    monkeypatch.setattr(builtins, "__IPYTHON__", True, raising=False)
    from tfx.orchestration.experimental.interactive.interactive_context import InteractiveContext

    return InteractiveContext(pipeline_root=str(tmp_path / "pipeline"))


@pytest.fixture
def framed(context, monkeypatch):
    """Has the context show a channel; the page in the frame that a cell then has, and the HTML around it."""

    def show(channel):
        shown = []
        monkeypatch.setattr(IPython.display, "display", shown.append)
        context.show(channel)
        (output,) = shown
        (frame,) = re.findall(r'<iframe srcdoc="([^"]*)"', output.data)
        return html.unescape(frame), output.data

    return show


def test_interactive_context_shows_the_page_in_a_frame(artifact, framed):
    frame, around = framed(types.Channel(type=PruningReport).set_artifacts([artifact]))
    with open(f"{artifact.uri}/{HTML_NAME}", encoding="utf-8") as page:
        assert frame == page.read()
    assert " sandbox " in around


def test_interactive_context_says_why_there_is_no_page(artifact, context, monkeypatch):
    os.remove(f"{artifact.uri}/{HTML_NAME}")
    artifact.set_string_custom_property(properties.MISSING, "OSError: <disk> full")
    shown = []
    monkeypatch.setattr(IPython.display, "display", shown.append)
    context.show(types.Channel(type=PruningReport).set_artifacts([artifact]))
    (output,) = shown
    assert "The page is missing: OSError: &lt;disk&gt; full" in output.data


@pytest.mark.slow
def test_interactive_context_runs_both_components_and_shows_their_reports(context, framed, tmp_path):
    for split in ("train", "eval"):
        regression_module.write_examples(tmp_path / "data" / split / "data.tfrecord.gz", 40, seed=1)
    splits = [tfx.proto.Input.Split(name=split, pattern=f"{split}/*") for split in ("train", "eval")]
    example_gen = tfx.components.ImportExampleGen(
        input_base=str(tmp_path / "data"), input_config=tfx.proto.Input(splits=splits)
    )
    trainer = PruningTrainer(
        run_fn="helpers.regression_module.run_fn",
        examples=example_gen.outputs["examples"],
        train_args=tfx.proto.TrainArgs(num_steps=20),
        eval_args=tfx.proto.EvalArgs(),
        hparams=regression_module.HPARAMS,
    )
    stripper = Stripper(model=trainer.outputs["model"], examples=example_gen.outputs["examples"])
    for component in (example_gen, trainer, stripper):
        context.run(component)
    for component in (trainer, stripper):
        (report,) = component.outputs["report"].get()
        frame, _ = framed(component.outputs["report"])
        with open(f"{report.uri}/{HTML_NAME}", encoding="utf-8") as page:
            assert frame == page.read()
        assert PageText(frame).tiles["Weights not zero"] == "44 of 88 pruned"
