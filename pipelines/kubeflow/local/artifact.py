"""Artifact: an output of a task, which is an input of others."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Artifact:
    """An artifact as the server of KFP keeps it.

    Attributes:
        name: Its id in the store, digits; '' until it is stored.
        type: Its type as the compiled pipeline has it: `{'instanceSchema': YAML}` or `{'schemaTitle': title}`.
        uri: Where its files are.
        metadata: Its properties. Numbers are floats, as everywhere in KFP.
    """

    name: str
    type: dict[str, str]
    uri: str
    metadata: dict[str, Any]

    @property
    def title(self) -> str:
        """The title of its type, such as 'tfx.Model'."""
        for line in self.type.get("instanceSchema", "").splitlines():
            if line.startswith("title:"):
                return line.removeprefix("title:").strip()
        return self.type.get("schemaTitle", "")

    def merged(self, output: dict[str, Any]) -> "Artifact":
        """The artifact with the URI and metadata that its task reports, a RuntimeArtifact of KFP as JSON."""
        return dataclasses.replace(
            self, uri=output.get("uri") or self.uri, metadata=self.metadata | output.get("metadata", {})
        )

    def runtime_artifact(self, typed: bool) -> dict[str, Any]:
        """RuntimeArtifact of KFP, as JSON; with an empty type unless `typed`."""
        kind = self.type if typed else {"instanceSchema": ""}
        return {"name": self.name, "uri": self.uri, "type": kind, "metadata": self.metadata}
