import pathlib

import pytest

from tfx_pruning import properties
from tfx_pruning.pipelines.run.outputs import NodeOutput
from tfx_pruning.pipelines.run.page_file import PageFile, report_of
from tfx_pruning.report.document import ReportDocument
from tfx_pruning.report.files import write_report

DOCUMENT = ReportDocument("Pruned model", ())


class Outputs:
    """RunOutputs of one report."""

    name, pipeline_name, record = "run1", "houses", "/root/metadata.sqlite"

    def __init__(self, folder: pathlib.Path, **of_report: str) -> None:
        self._report = NodeOutput(str(folder), of_report)

    def output(self, node: str, key: str) -> NodeOutput:
        assert (node, key) == ("Stripper", "report")
        return self._report


def test_page_is_written(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "report.html"
    assert PageFile.write(path, lambda: DOCUMENT) == PageFile(str(path), "")
    assert "<title>Pruned model</title>" in path.read_text(encoding="utf-8")


def test_error_gives_the_reason_and_leaves_no_page_of_an_earlier_run(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "report.html"
    PageFile.write(path, lambda: DOCUMENT)

    def fail() -> ReportDocument:
        raise RuntimeError("no\ndisk")

    assert PageFile.write(path, fail) == PageFile(None, "no disk")
    assert list(tmp_path.iterdir()) == []
    assert "RuntimeError: no\ndisk" in capsys.readouterr().err


def test_report_that_a_node_could_not_write_is_named_with_its_reason(tmp_path: pathlib.Path) -> None:
    outputs = Outputs(tmp_path, **{properties.MISSING: "OSError: disk full"})
    page = PageFile.write(tmp_path / "report.html", lambda: report_of(outputs, "Stripper"))
    assert page == PageFile(None, "The report of Stripper in the run run1 is incomplete: OSError: disk full.")


def test_report_is_read(tmp_path: pathlib.Path) -> None:
    write_report(DOCUMENT, tmp_path)
    assert report_of(Outputs(tmp_path), "Stripper") == DOCUMENT


def test_report_whose_files_are_gone_fails_no_run(tmp_path: pathlib.Path) -> None:
    page = PageFile.write(tmp_path / "report.html", lambda: report_of(Outputs(tmp_path), "Stripper"))
    assert page.path is None
    assert page.missing.startswith(f"{tmp_path} holds no pruning_report.json")
