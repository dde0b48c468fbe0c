"""The outputs of the nodes of one run, wherever it ran."""

import dataclasses
from collections.abc import Mapping
from typing import Protocol


@dataclasses.dataclass(frozen=True)
class NodeOutput:
    """An artifact that a node put out.

    Attributes:
        uri: Where its files are.
        properties: Its custom properties.
    """

    uri: str
    properties: Mapping[str, int | float | str]


class RunOutputs(Protocol):
    """The outputs of one run.

    Attributes:
        name: Name of the run.
        pipeline_name: Name of the pipeline.
        record: The file that the outputs are recorded in.
    """

    name: str
    pipeline_name: str
    record: str

    def output(self, node: str, key: str) -> NodeOutput:
        """The artifact that a node put out under `key`; raises ValueError if there is none."""
