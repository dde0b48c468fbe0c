"""Lineage of an artifact: what it came from and what came of it."""

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any, Literal

from .. import properties
from .artifacts import ArtifactRecord, check_recorded, records
from .store_reader import StoreReader
from .tree_places import parents

Relation = Literal["source", "self", "result"]


@dataclasses.dataclass(frozen=True)
class Input:
    """An input of the execution that made an artifact.

    Attributes:
        artifact_id: The artifact that went in.
        key: Name of the input, such as 'base_model'; '' if none is recorded.
        other_run: Whether it came from another pipeline run, such as a model that a training starts from.
    """

    artifact_id: int
    key: str
    other_run: bool


@dataclasses.dataclass(frozen=True)
class LineageNode:
    """An artifact in the lineage of another.

    Attributes:
        artifact: The artifact.
        relation: 'self' for the artifact asked for, 'source' or 'result' for the others.
        parent_id: The one of its inputs that it stands under in the tree; None at a root.
        inputs: All inputs of the execution that made it, also those unrelated to the artifact asked for.
        followed: Whether the lineage goes on from here: to the sources of a source, or to the results of a result. It
            stops where it enters another pipeline run.
    """

    artifact: ArtifactRecord
    relation: Relation
    parent_id: int | None
    inputs: tuple[Input, ...]
    followed: bool

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            **self.artifact.to_json(),
            "relation": self.relation,
            "parent_id": self.parent_id,
            "inputs": [dataclasses.asdict(each) for each in self.inputs],
            "followed": self.followed,
        }


@dataclasses.dataclass(frozen=True)
class Lineage:
    """Sources and results of an artifact, each once, as a tree with the sources on top.

    Of several inputs an artifact stands under the one with the longest way from a root, so the path to a pushed model
    goes through the data, the dense, the pruned and the stripped model and the blessing.

    Attributes:
        artifact_id: The artifact asked for.
        nodes: All artifacts of the lineage, by their ids.
    """

    artifact_id: int
    nodes: tuple[LineageNode, ...]

    def children(self, parent_id: int | None) -> tuple[LineageNode, ...]:
        """Nodes directly under another, by their ids; the roots for None."""
        return self._by_parent.get(parent_id, ())

    @functools.cached_property
    def _by_parent(self) -> dict[int | None, tuple[LineageNode, ...]]:
        found: dict[int | None, list[LineageNode]] = {}
        for node in self.nodes:
            found.setdefault(node.parent_id, []).append(node)
        return {parent: tuple(nodes) for parent, nodes in found.items()}

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {"artifact_id": self.artifact_id, "nodes": [node.to_json() for node in self.nodes]}


def lineage(reader: StoreReader, artifact_id: int, across_runs: bool = False) -> Lineage:
    """Finds what an artifact came from and what came of it.

    A step leads from an input to an output of the execution that made the output. The outputs of a cached execution
    belong to its pipeline run and to that of the execution that made them.

    Args:
        reader: Reader of the store.
        artifact_id: The artifact asked for.
        across_runs: Whether steps from one pipeline run to another are followed: the model that a training starts from
            then brings in the run that made it, and the runs before.

    Raises:
        StoreError: The artifact is not in the store.
    """
    check_recorded(reader, artifact_id)
    walk = _Walk(reader, artifact_id, across_runs)
    walk.up()
    walk.down()
    found = records(reader, sorted({artifact_id, *walk.sources, *walk.results}))
    relations = {id: walk.relation(id) for id in found}
    links = {
        id: [(each.artifact_id, each.other_run) for each in walk.inputs.get(id, ()) if each.artifact_id in found]
        for id in found
    }
    selected = {id: _selected(artifact, walk.inputs.get(id, ())) for id, artifact in found.items()}
    places = parents(found, links, relations, {id: source for id, source in selected.items() if source in found})
    return Lineage(
        artifact_id,
        tuple(
            LineageNode(artifact, relations[id], places[id], walk.inputs.get(id, ()), id in walk.followed)
            for id, artifact in found.items()
        ),
    )


def _selected(artifact: ArtifactRecord, inputs: Iterable[Input]) -> int | None:
    """The model that an output of SparsitySelector was chosen from; None for all else."""
    name = artifact.properties.get(properties.CANDIDATE)
    return next((each.artifact_id for each in inputs if name and each.key == f"model_{name}"), None)


class _Walk:
    """Walks breadth first from one artifact to its sources and its results, with few calls of the store a level."""

    def __init__(self, reader: StoreReader, artifact_id: int, across_runs: bool) -> None:
        self._reader = reader
        self._start = artifact_id
        self._across_runs = across_runs
        self.sources: set[int] = set()
        self.results: set[int] = set()
        self.followed = {artifact_id}
        self.inputs: dict[int, tuple[Input, ...]] = {}

    def relation(self, artifact_id: int) -> Relation:
        """The relation of a found artifact to the one asked for; 'source' if it is source and result."""
        if artifact_id == self._start:
            return "self"
        return "source" if artifact_id in self.sources else "result"

    def up(self) -> None:
        """Finds the sources."""
        level = {self._start}
        while level:
            self._read_inputs(level)
            found = [each for id in level for each in self.inputs.get(id, ())]
            self.sources.update(each.artifact_id for each in found)
            self.sources.discard(self._start)
            level = self._newly_followed(each.artifact_id for each in found if self._follows(each))

    def down(self) -> None:
        """Finds the results."""
        level = {self._start}
        while level:
            outputs = self._reader.outputs(self._reader.users(level))
            # Outputs of cached executions too: what made them had the same inputs.
            made = {use.artifact_id for uses in outputs.values() for use in uses}
            self._read_inputs(made)
            found = [(id, each) for id in made for each in self.inputs.get(id, ()) if each.artifact_id in level]
            self.results.update(id for id, _ in found)
            self.results.discard(self._start)
            level = self._newly_followed(id for id, each in found if self._follows(each))

    def _follows(self, step: Input) -> bool:
        return self._across_runs or not step.other_run

    def _newly_followed(self, ids: Iterable[int]) -> set[int]:
        new = set(ids) - self.followed
        self.followed |= new
        return new

    def _read_inputs(self, artifact_ids: Iterable[int]) -> None:
        """Fills in the inputs of the executions that made artifacts."""
        producers = self._reader.producers(id for id in artifact_ids if id not in self.inputs)
        used = self._reader.inputs(producers.values())
        contexts = self._reader.contexts(producers.values())
        runs = self._reader.runs(use.artifact_id for uses in used.values() for use in uses)
        for id, execution in producers.items():
            run = contexts[execution].run
            self.inputs[id] = tuple(
                Input(
                    use.artifact_id,
                    use.key,
                    # No run is recorded in some stores, or for an artifact that was put in by hand.
                    other_run=run is not None and bool(of := runs.get(use.artifact_id)) and run not in of,
                )
                for use in used[execution]
                if use.artifact_id != id
            )
