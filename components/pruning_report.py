"""PruningReport: the type of artifact that holds a report, and how notebooks show it."""

import html

from tfx import types
from tfx.orchestration.experimental.interactive import visualizations

from .report.files import HTML_NAME, read_text


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

        page = html.escape(read_text(f"{artifact.uri}/{HTML_NAME}"))
        frame = f'<iframe srcdoc="{page}" title="Pruning report" sandbox width="100%" height="900" frameborder="0">'
        display.display(display.HTML(f"<div>{frame}</iframe></div>"))


visualizations.get_registry().register(PruningReportVisualization)
