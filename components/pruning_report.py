"""PruningReport: the type of artifact that holds a report, and how notebooks show it."""

import html
from collections.abc import Mapping, Sequence

import tensorflow as tf
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


def lineage(
    input_dict: Mapping[str, Sequence[types.Artifact]], output_dict: Mapping[str, Sequence[types.Artifact]]
) -> dict[str, str]:
    """What a component's report says of its inputs and outputs, by their names in the component.

    Args:
        input_dict: As an executor takes it.
        output_dict: As an executor takes it.

    Returns:
        For each artifact its type, its id in ML Metadata if it has one yet, and its URI; and TensorFlow's version.
    """
    found = {}
    for kind, artifacts_by_key in (("input", input_dict), ("output", output_dict)):
        for key, artifacts in artifacts_by_key.items():
            for index, artifact in enumerate(artifacts or ()):
                name = f"{kind} {key}" + (f" {index + 1}" if len(artifacts) > 1 else "")
                identity = f" {artifact.id}" if artifact.id else ""
                found[name] = f"{artifact.type_name}{identity}: {artifact.uri}"
    return {**found, "TensorFlow": tf.__version__}
