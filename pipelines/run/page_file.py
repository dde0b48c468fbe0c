"""PageFile: the page on a run, or why there is none."""

import contextlib
import dataclasses
import os
import pathlib
import traceback
from collections.abc import Callable

from tfx_pruning import properties
from tfx_pruning.pipelines.run.outputs import RunOutputs
from tfx_pruning.report.document import ReportDocument
from tfx_pruning.report.files import read_report
from tfx_pruning.report.page import page
from tfx_pruning.staging import write_file


@dataclasses.dataclass(frozen=True)
class PageFile:
    """The page on a run, if it could be written.

    Attributes:
        path: The page; None if there is none.
        missing: Why there is none, one sentence; '' if there is one.
    """

    path: str | None
    missing: str = ""

    @classmethod
    def write(cls, path: pathlib.Path, make: Callable[[], ReportDocument]) -> "PageFile":
        """Writes the page. An error in it fails no run: it is printed, and an earlier run's page goes.

        Args:
            path: The file.
            make: Makes the page's content.
        """
        try:
            write_file(path, page(make()).encode())
        except Exception as error:
            traceback.print_exc()
            with contextlib.suppress(OSError):
                os.unlink(path)
            return cls(None, " ".join(str(error).split()) or type(error).__name__)
        return cls(str(path))


def report_of(run: RunOutputs, node: str) -> ReportDocument:
    """Reads the report that a node put out.

    Raises:
        ValueError: The node has no report, could not write it, or wrote one that cannot be read.
        FileNotFoundError: The report's files are gone.
    """
    report = run.output(node, "report")
    if missing := report.properties.get(properties.MISSING):
        raise ValueError(f"The report of {node} in the run {run.name} is incomplete: {missing}.")
    return read_report(report.uri)
