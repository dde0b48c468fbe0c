"""PruningReport: the type of artifact that holds a report, and how notebooks show it."""

import html
import traceback
from collections.abc import Callable

import tensorflow as tf
from absl import logging
from tfx import types
from tfx.orchestration.experimental.interactive import visualizations

from . import properties
from .engine.shown import escaped
from .report.document import ReportDocument
from .report.files import HTML_NAME, read_text, write_report


class PruningReport(types.Artifact):
    """A report on a pruned or stripped model: `pruning_report.html` for people, `pruning_report.json` for programs."""

    # Kubeflow takes no other form, and imports the class by it.
    TYPE_NAME = "tfx_pruning.PruningReport"


class PruningReportVisualization(visualizations.ArtifactVisualization):
    """What `InteractiveContext.show` shows of a PruningReport: its page."""

    ARTIFACT_TYPE = PruningReport

    def display(self, artifact: types.Artifact) -> None:
        """Shows the page in the output of a notebook's cell, in a frame of its own."""
        from IPython import display  # InteractiveContext brings it, nothing else needs it

        if not tf.io.gfile.exists(f"{artifact.uri}/{HTML_NAME}"):
            reason = artifact.get_custom_property(properties.MISSING) or "there is none"
            display.display(display.HTML(f"<div>The page is missing: {html.escape(reason)}</div>"))
            return
        page = html.escape(read_text(f"{artifact.uri}/{HTML_NAME}"))
        frame = f'<iframe srcdoc="{page}" title="Pruning report" sandbox width="100%" height="900" frameborder="0">'
        display.display(display.HTML(f"<div>{frame}</iframe></div>"))


def publish(artifact: types.Artifact, make: Callable[[], ReportDocument]) -> None:
    """Writes a report. An error in it fails no component, since a model must not be lost for what is only shown.

    The error is logged with its traceback, and named in the artifact's custom property `missing`. Files that were
    written before it stay.

    Args:
        artifact: The PruningReport.
        make: Makes the report's content.
    """
    try:
        write_report(make(), artifact.uri)
    except Exception as error:
        reason = escaped(f"{type(error).__name__}: {error}")
        logging.warning("The report in %s is incomplete: %s\n%s", artifact.uri, reason, traceback.format_exc())
        artifact.set_string_custom_property(properties.MISSING, reason)


visualizations.get_registry().register(PruningReportVisualization)
