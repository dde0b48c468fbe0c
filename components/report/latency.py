"""Latency: how long two models take to answer, measured by turns."""

import dataclasses

from ..call_times import CallTimes


@dataclasses.dataclass(frozen=True)
class Latency:
    """Calls of the dense and the pruned model with the same batch, one after the other by turns.

    Attributes:
        signature: The signature that was called.
        batch: Number of examples in the batch.
        dense: Of the dense model.
        pruned: Of the pruned model.
    """

    signature: str
    batch: int
    dense: CallTimes
    pruned: CallTimes

    @property
    def times_as_fast(self) -> float:
        """How many times as fast the pruned model is, by the medians."""
        return self.dense.median / self.pruned.median

    @property
    def is_clear(self) -> bool:
        """Whether the middle halves of both models' times lie apart."""
        return self.dense.lower > self.pruned.upper or self.pruned.lower > self.dense.upper
