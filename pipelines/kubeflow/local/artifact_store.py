"""ArtifactStore: the artifacts of all runs of a pipeline, in place of the server's ML Metadata."""

import dataclasses
import json
import pathlib
import re

from tfx_pruning.pipelines.kubeflow.local.artifact import Artifact

_TERM = re.compile(r"""(?P<field>[\w.]+)\s*=\s*(?P<value>"[^"]*"|[\w.+-]+)""")
_METADATA = re.compile(r"metadata\.(?P<key>\w+)\.(?P<kind>number_value|string_value)")


class ArtifactStore:
    """A file of JSON lines, one an artifact, oldest first."""

    def __init__(self, path: pathlib.Path) -> None:
        """Opens the store; the file is made with the first artifact.

        Args:
            path: The file.

        Raises:
            ValueError: A line of the file is no artifact.
        """
        self._path = path
        self._artifacts: list[Artifact] = []
        if path.exists():
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                try:
                    self._artifacts.append(Artifact(**json.loads(line)))
                except (ValueError, TypeError) as error:
                    raise ValueError(f"{path}, line {number}, is no artifact ({error}): move the file away.") from error

    def add(self, artifact: Artifact) -> Artifact:
        """Stores an artifact, and returns it with its name."""
        stored = dataclasses.replace(artifact, name=str(len(self._artifacts) + 1))
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dataclasses.asdict(stored)) + "\n")
        self._artifacts.append(stored)
        return stored

    def latest(self, query: str) -> Artifact | None:
        """The newest artifact that a resolver's query finds.

        Args:
            query: Terms `field=value` joined by AND, over `schema_title`, `state`, `name`,
                `metadata.KEY.number_value` and `metadata.KEY.string_value`.

        Raises:
            ValueError: The query has another form.
        """
        terms = [_term(term) for term in query.split(" AND ")]
        found = (artifact for artifact in reversed(self._artifacts) if all(_holds(artifact, *term) for term in terms))
        return next(found, None)

    def equal(self, artifact: Artifact) -> Artifact | None:
        """A stored artifact of the same type, URI and metadata; None if there is none."""
        same = (one for one in self._artifacts if dataclasses.replace(one, name=artifact.name) == artifact)
        return next(same, None)


def _term(term: str) -> tuple[str, str]:
    match = _TERM.fullmatch(term.strip())
    if match is None:
        raise ValueError(f"{term!r} is no term of a resolver's query: expected FIELD=VALUE.")
    field, value = match["field"], match["value"].strip('"')
    if field not in ("schema_title", "state", "name") and _METADATA.fullmatch(field) is None:
        raise ValueError(f"A resolver's query has the field {field!r}, which this launcher does not know.")
    return field, value


def _holds(artifact: Artifact, field: str, value: str) -> bool:
    if field == "schema_title":
        return artifact.title == value
    if field == "state":
        return value == "LIVE"  # What is stored was made by a task that succeeded.
    if field == "name":
        return artifact.name == value
    match = _METADATA.fullmatch(field)
    found = artifact.metadata.get(match["key"])
    if match["kind"] == "number_value":
        return isinstance(found, (int, float)) and float(found) == float(value)
    return found == value
