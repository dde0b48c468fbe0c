"""PruningReport in ML Metadata, Kubeflow and notebooks."""

import builtins
import html
import re
import sys
import types as pytypes

import IPython.display
import pytest
import yaml
from tfx import types
from tfx.orchestration.kubeflow.v2 import compiler_utils
from tfx.utils import import_utils

from tfx_pruning import PruningReport, PruningTrainer, Stripper
from tfx_pruning.engine.report import WeightReport
from tfx_pruning.pruning_report import lineage
from tfx_pruning.report.document import ReportDocument
from tfx_pruning.report.files import HTML_NAME, write_report


@pytest.fixture
def artifact(tmp_path):
    """A report of two kernels, as a component leaves it."""
    report = PruningReport()
    report.uri = str(tmp_path / "report")
    write_report(ReportDocument("Model <1>", (WeightReport("first/kernel", (2, 3), 4),)), report.uri)
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
    # It needs nbformat, which is no dependency of tfx's, for the export of notebooks alone.
    monkeypatch.setitem(sys.modules, "nbformat", sys.modules.get("nbformat", pytypes.ModuleType("nbformat")))
    monkeypatch.setattr(builtins, "__IPYTHON__", True, raising=False)
    from tfx.orchestration.experimental.interactive.interactive_context import InteractiveContext

    return InteractiveContext(pipeline_root=str(tmp_path / "pipeline"))


def test_interactive_context_shows_the_page_in_a_frame(artifact, context, monkeypatch):
    shown = []
    monkeypatch.setattr(IPython.display, "display", shown.append)
    channel = types.Channel(type=PruningReport).set_artifacts([artifact])
    context.show(channel)
    (output,) = shown
    (frame,) = re.findall(r'<iframe srcdoc="([^"]*)"', output.data)
    with open(f"{artifact.uri}/{HTML_NAME}", encoding="utf-8") as page:
        assert html.unescape(frame) == page.read()
    assert " sandbox " in output.data


def test_lineage_names_every_artifact_with_its_id_and_place():
    first, second, model = types.standard_artifacts.Examples(), types.standard_artifacts.Examples(), PruningReport()
    first.uri, second.uri, model.uri, first.id = "/a", "/b", "/c", 7
    found = lineage({"examples": [first, second], "base_model": []}, {"report": [model]})
    version = found.pop("TensorFlow")
    assert re.fullmatch(r"2\.\d+\.\d+", version)
    assert found == {
        "input examples 1": "Examples 7: /a",
        "input examples 2": "Examples: /b",
        "output report": "tfx_pruning.PruningReport: /c",
    }
