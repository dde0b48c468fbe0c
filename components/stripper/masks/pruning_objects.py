"""PruningObjects: which objects of a SavedModel are variables of pruning."""

import dataclasses

from ...saved_model.object_graph import ObjectGraph
from .pruning_names import is_mask_name, is_pruning_name


@dataclasses.dataclass(frozen=True)
class PruningObjects:
    """The objects of a SavedModel that are variables of pruning.

    Attributes:
        variables: Masks, thresholds, gradients, old weights, last update steps and pruning steps.
        masks: The masks among them.
    """

    variables: frozenset[int]
    masks: frozenset[int]

    @classmethod
    def of(cls, graph: ObjectGraph) -> "PruningObjects":
        """Finds them by the variables' names and keys."""
        names = {node: (graph.variable(node).name, graph.key(node)) for node in graph.variables}
        return cls(
            frozenset(node for node, both in names.items() if any(map(is_pruning_name, both))),
            frozenset(node for node, both in names.items() if any(map(is_mask_name, both))),
        )
