"""Where each artifact of a lineage stands in a tree, though it may have several inputs."""

from collections.abc import Mapping, Sequence

from .artifacts import ArtifactRecord
from .store_reader import last_part

# Of inputs that are as far from the roots, that of the type named first is taken.
_TYPES = ("Model", "Examples")


def parents(
    artifacts: Mapping[int, ArtifactRecord],
    inputs: Mapping[int, Sequence[tuple[int, bool]]],
    relations: Mapping[int, str],
    selected: Mapping[int, int],
) -> dict[int, int | None]:
    """Chooses, of each artifact's inputs, the one that it stands under.

    That is, first of all, one that the artifact asked for leads to, if it leads to this one; then the one that it was
    selected from; then one of the same pipeline run; then the one with the longest way from a root.

    Args:
        artifacts: The artifacts of the lineage, by id.
        inputs: Ids of each one's inputs among them, and whether such an input came from another pipeline run.
        relations: Of each to the artifact asked for: 'source', 'self' or 'result'.
        selected: Of those that are one of their inputs, chosen among others, the id of that input.

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
    """The artifacts, each after its inputs; a circle is opened at its lowest id."""
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
