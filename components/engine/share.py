"""Share: what some weights keep of what their sparsity counts, and what is asked for."""

import dataclasses

MULTIPLY_ADDS = "multiply-adds"


@dataclasses.dataclass(frozen=True)
class Share:
    """How far the masks of some weights, which share a sparsity, have come.

    Attributes:
        members: Indices of the weights.
        counted: What the sparsity counts: 'units' (weights, blocks, runs), 'weights' or MULTIPLY_ADDS.
        total: How many there are.
        kept: How many the masks keep.
        least: The least number of them that is what was asked for.
        most: The largest such number. Channels go as a whole, so that there may be several.
    """

    members: tuple[int, ...]
    counted: str
    total: int
    kept: int
    least: int
    most: int

    @property
    def is_delivered(self) -> bool:
        """Whether the masks keep what was asked for."""
        return self.least <= self.kept <= self.most
