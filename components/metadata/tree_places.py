"""The place of each artifact of a lineage in a tree, where an artifact with several inputs stands under one of them."""

from collections.abc import Mapping, Sequence

from .artifacts import ArtifactRecord
from .store_reader import last_part

# Among inputs that are equally far from the roots, the type named first decides.
_TYPES = ("Model", "Examples")


def parents(
    artifacts: Mapping[int, ArtifactRecord],
    inputs: Mapping[int, Sequence[tuple[int, bool]]],
    relations: Mapping[int, str],
    selected: Mapping[int, int],
) -> dict[int, int | None]:
    """Chooses, of each artifact's inputs, the one that it stands under.

    The first of these rules that tells the inputs apart decides: an input on the way from the artifact asked for to
    this one; the model that this one was selected from; an input of the same pipeline run; the input that is farthest
    from a root.

    Args:
        artifacts: The artifacts of the lineage, by id.
        inputs: Of each artifact, the ids of its inputs among `artifacts`, and whether the input came from another run.
        relations: Of each to the artifact asked for: 'source', 'self' or 'result'.
        selected: Of each artifact that is a copy of one of its inputs, the id of that input.

    Returns:
        The chosen input of each artifact; None for a root.
    """
    depths: dict[int, int] = {}
    chosen: dict[int, int | None] = {}

    def rank(child: int, parent: int, other_run: bool) -> tuple[bool, bool, bool, int, int, int]:
        leads_here = relations[child] == "result" and relations[parent] != "source"
        name = last_part(artifacts[parent].type)
        order = _TYPES.index(name) if name in _TYPES else len(_TYPES)
        return leads_here, selected.get(child) == parent, not other_run, depths[parent], -order, parent

    for child in _sources_first(inputs):
        placed = [(parent, other) for parent, other in inputs[child] if parent in depths]
        depths[child] = 1 + max((depths[parent] for parent, _ in placed), default=-1)
        best = max(placed, key=lambda link: rank(child, *link), default=None)
        chosen[child] = best and best[0]
    return chosen


def _sources_first(inputs: Mapping[int, Sequence[tuple[int, bool]]]) -> list[int]:
    """The artifacts, each after its inputs; a cycle is opened at its lowest id."""
    waiting = {id: {parent for parent, _ in links} for id, links in inputs.items()}
    users: dict[int, list[int]] = {id: [] for id in inputs}
    for id, links in waiting.items():
        for parent in links:
            users[parent].append(id)
    ordered: list[int] = []
    ready = sorted(id for id, links in waiting.items() if not links)
    while waiting:
        if not ready:
            ready = [min(waiting)]
        id = ready.pop(0)
        if waiting.pop(id, None) is None:
            continue
        ordered.append(id)
        for user in users[id]:
            if user in waiting:
                waiting[user].discard(id)
                if not waiting[user]:
                    ready.append(user)
    return ordered
